"""What the rows on a real pair run on: the pair as the product loads it, and plain models beside.

Several threads compute, as they do for whoever uses the pair, so all seconds are on the wall, and
the machine's load stands beside them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from dapa.core.cache import fetched
from dapa.core.records import Unit
from dapa.model.adapted import open_checkpoint
from dapa.model.loading import load_weights
from dapa.model.machine import cores
from dapa.model.pair import Pair
from dapa.model.pair_loading import load_pair
from dapa.model.presets import presets
from dapa.prompts.sets import PromptSet, bundled
from dapa.search.algorithms import algorithms
from dapa.search.engine.predicate import play
from dapa.search.engine.report import SearchReport
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.store.runs import Store

KIND = "mlp"
Tests = list[frozenset[int]]
"""The layers of every test, in order."""


def seconds(work: Callable[[], Any]) -> float:
    """Of one run, by the wall's clock."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def absent_because(name: str) -> str | None:
    """What keeps a real pair from being measured here, if anything."""
    known = presets().get(name)
    if known is None:
        return f"the adapter of {name} is not in assets/real"
    if fetched(known.student) is None:
        return f"{known.student} is not fetched; run `python -m dapa get {known.student}`"
    return None


@dataclass
class Searched:
    """One search of ours, as it ended."""

    report: SearchReport
    seconds: float
    prompts: tuple[str, ...]
    """Those that chose, on which a rival searches."""
    limit: int
    """New tokens of a reply."""


@dataclass
class RealScene:
    """One real pair; whatever is loaded is loaded once."""

    name: str
    claim: str = "confidence"
    """Of the search: confidence, quick or exact."""
    kind: str = KIND
    settings: SearchSettings = field(default_factory=SearchSettings)

    @cached_property
    def pair(self) -> Pair:
        """As the product loads it: precision and threads by measurement."""
        return load_pair(presets()[self.name].spec())

    @cached_property
    def harmful(self) -> PromptSet:
        """What is asked."""
        return bundled()["general_harmful"]

    @cached_property
    def plain(self) -> tuple[Any, Any]:
        """Student and teacher that no pair has wrapped, in the pair's precision."""
        spec, dtype = self.pair.spec, self.pair.student.dtype
        return tuple(  # type: ignore[return-value]
            load_weights(open_checkpoint(name), dtype, str(self.pair.device))
            for name in (spec.student, spec.teacher)
        )

    @cached_property
    def searched(self) -> Searched:
        """The whole search, once, with nothing remembered of earlier ones."""
        settings = replace(self.settings, kind=self.kind, claim=self.claim)
        if self.claim == "exact":  # as rivals know a search: without the checks behind it
            settings = replace(settings, check_supersets=False, full_length=False)
        with TemporaryDirectory() as folder:
            job = SearchJob(self.pair, self.harmful, settings, Store(Path(folder)))
            start = time.perf_counter()
            report = job.run()
            took = time.perf_counter() - start
        texts = tuple(prompt.text for prompt in job.prompts)
        return Searched(report, took, texts, settings.max_new_tokens)

    def ddmin(self, found: frozenset[Unit]) -> Tests:
        """Every test of sequential ddmin with memo where exactly this set is needed, in order."""
        units = self.pair.units(self.kind)
        log = [frozenset[int](), frozenset(unit.layer for unit in units)]

        def satisfies(some: frozenset[Unit]) -> bool:
            log.append(frozenset(unit.layer for unit in some))
            return found <= some

        play(algorithms["ddmin"](seed=0), units, satisfies, memo=True)
        return log

    @classmethod
    def given(cls, pair: Pair, harmful: PromptSet, claim: str, kind: str, tokens: int) -> RealScene:
        """A pair that is in memory already, in the place of a fetched one."""
        made = cls(pair.spec.name, claim, kind, SearchSettings(max_new_tokens=tokens))
        made.__dict__.update(pair=pair, harmful=harmful)
        return made

    @property
    def title(self) -> str:
        """For people."""
        pair = self.pair
        return (
            f"{self.name}: {pair.parameters / 1e6:.0f} M parameters, {pair.n_layers} layers, "
            f"{str(pair.student.dtype).removeprefix('torch.')}, {torch.get_num_threads()} threads"
        )


def every_thread() -> None:
    """Both sides compute with all that the machine gives."""
    torch.set_num_threads(cores())


__all__ = ["KIND", "RealScene", "Searched", "absent_because", "every_thread", "seconds"]
