"""Every named pair through search and table, beside the published figures.

A pair is loaded, searched, measured on held-out prompts, written down, and let go before the next.
What is written down is not measured again; a search that was cut off goes on from its verdicts. A
pair that cannot be had (gated, missing, offline) is listed with the reason. One in which the full
mask brings nothing counts as a gain of 0, so that the mean does not flatter.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from dapa.core.records import (
    EMPTY,
    DapaError,
    NothingToLocalize,
    PairError,
)
from dapa.judges.rules.judge import rules
from dapa.measure.evaluating import TablePlan, evaluate
from dapa.measure.evaluation import Evaluation
from dapa.measure.reproduce_records import PairLine, Reproduced, State
from dapa.model.pair import Pair
from dapa.model.presets import Preset
from dapa.model.spec import PairSpec
from dapa.prompts.sets import PromptSet
from dapa.search.engine.control import Halted
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.store.database import digest
from dapa.store.replies import ReplyStore
from dapa.store.runs import Store

KIND = "reproduced"
"""Under what the store keeps the lines."""
_KEPT = ("done", "nothing")


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions:
    """How the pairs are loaded and measured."""

    text: Callable[[Pair], tuple[str, str] | None] = lambda pair: None
    """(name, text) for perplexity."""
    dtype: str = "auto"
    device: str = "auto"
    again: bool = False
    """Measure what is written down, too."""
    progress: Callable[[str, float | None], None] | None = None
    """Told the pair and how far the whole is."""
    stop: threading.Event | None = None
    """Set it, and the lines so far are returned."""


def reproduce(
    presets: Sequence[Preset],
    load: Callable[[PairSpec], Pair],
    prompts: Callable[[Pair], PromptSet],
    store: Store,
    settings: SearchSettings,
    **options: Any,
) -> Reproduced:
    """Measure every pair that is not written down yet.

    Args:
        presets: The pairs, in order.
        load: Loads one.
        prompts: Harmful prompts for a pair.
        store: Where searches, replies and lines are kept.
        settings: How each is searched, the same for all.
        options: Of `ReproduceOptions`.
    """
    asked = ReproduceOptions(**options)
    text, dtype, device, again = asked.text, asked.dtype, asked.device, asked.again
    progress, stop = asked.progress, asked.stop
    kept = store.ratings(KIND)
    lines: list[PairLine] = []
    for number, preset in enumerate(presets):
        if stop is not None and stop.is_set():
            return Reproduced(tuple(lines), False)
        spec = preset.spec(dtype, device)
        key = digest(preset.name, spec.student, spec.teacher, dtype, settings.decisive())
        if key in kept and not again:
            lines.append(PairLine.from_dict(kept[key]))
            continue

        def tell(what: str, share: float | None, number: int = number) -> None:
            if progress:
                done = (number + (share or 0.0)) / len(presets)
                progress(f"{presets[number].name}: {what}", done)

        try:
            line = _line(preset, spec, load, prompts, store, settings, text, tell, stop)
        except Halted:
            return Reproduced(tuple(lines), False)
        if line.state in _KEPT:
            store.rate(KIND, key, line.as_dict())
        lines.append(line)
    return Reproduced(tuple(lines), True)


def _line(
    preset: Preset,
    spec: PairSpec,
    load: Callable[[PairSpec], Pair],
    prompts: Callable[[Pair], PromptSet],
    store: Store,
    settings: SearchSettings,
    text: Callable[[Pair], tuple[str, str] | None],
    tell: Callable[[str, float | None], None],
    stop: threading.Event | None,
) -> PairLine:
    """One pair: load, search, measure, let go."""
    start = time.monotonic()
    blank = PairLine(preset.name, spec.student, spec.teacher, "missing")
    tell("loading", None)
    try:
        pair = load(spec)
    except PairError as error:
        return replace(blank, note=str(error))
    try:
        on_gpu = pair.device.type == "cuda"
        line = _measured(blank, pair, prompts(pair), store, settings, text(pair), tell, stop)
    except DapaError as error:
        return replace(blank, state="failed", note=str(error))
    finally:
        del pair
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    took = time.monotonic() - start
    return replace(line, seconds=took, gpu_seconds=took if on_gpu else 0.0)


def _measured(
    blank: PairLine,
    pair: Pair,
    harmful: PromptSet,
    store: Store,
    settings: SearchSettings,
    text: tuple[str, str] | None,
    tell: Callable[[str, float | None], None],
    stop: threading.Event | None,
) -> PairLine:
    job = SearchJob(pair, harmful, settings, store)
    tell("searching", 0.1)
    state: State = "done"
    note, mask = "", EMPTY
    try:
        with _stopping(job, stop):
            report = job.run()
        if report.stop_reason.startswith("stopped"):
            raise Halted("stopped")
        mask = report.mask
    except NothingToLocalize as error:
        state, note = "nothing", str(error)
    tell("measuring", 0.7)
    asked = job.held_out or job.prompts
    plan = TablePlan(
        mask,
        text=text,
        how=settings.format(),
        max_new_tokens=settings.max_new_tokens,
    )
    found = evaluate(
        pair, {"dsr": asked}, mask, rules(), plan=plan, kept=ReplyStore(store), stop=stop
    )
    if not found.complete:
        raise Halted("stopped")
    return replace(
        blank,
        state=state,
        note=note,
        layers=mask.layers,
        mask=mask.key,
        share=pair.share(mask).fraction,
        tests=job.progress().costs.tests,
        run=job.id,
        **_figures(found),
    )


def _figures(found: Evaluation) -> dict[str, Any]:
    """Rates, paired gain and perplexities of a table."""
    pairs = {(row.a, row.b): row for row in found.paired() if row.measure == "dsr"}
    row = pairs["student", "patched"]
    told = {model: found.perplexity.get(model) for model in found.models}
    values = {model: p.value if p else None for model, p in told.items()}
    before, after = values["student"], values["patched"]
    return {
        "dsr": {model: found.rate(model, "dsr") for model in found.models},
        "gain": row.gain,
        "p_value": row.p_value,
        "perplexity": values,
        "change": None if before is None or after is None else after - before,
    }


class _stopping:
    """While it is open, an event stops the job too."""

    def __init__(self, job: SearchJob, stop: threading.Event | None) -> None:
        self._job, self._stop = job, stop
        self._ended = threading.Event()

    def __enter__(self) -> None:
        if self._stop is not None:
            threading.Thread(target=self._watch, daemon=True, name="reproduce stop").start()

    def _watch(self) -> None:
        assert self._stop is not None, "started only where there is an event"
        while not self._ended.wait(0.1):
            if self._stop.is_set():
                self._job.control.stop()
                return

    def __exit__(self, *_: object) -> None:
        self._ended.set()
