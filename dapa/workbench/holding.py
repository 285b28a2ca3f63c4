"""What the workbench holds: one pair, one store, the prompt sets that suit the pair.

A pair is swapped whole: a load that fails or is cancelled leaves the previous pair in place.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from dapa.core.records import Mask, PairError, Unit
from dapa.core.resident import give_back
from dapa.model.adapted import open_checkpoint
from dapa.model.compatibility import Report, check
from dapa.model.decode.openers import Openers, Role, find_openers
from dapa.model.files import Progress
from dapa.model.machine import choose_device, choose_dtype
from dapa.model.memory import MemoryEstimate, estimate_memory, parse_memory
from dapa.model.pair import Pair, Share
from dapa.model.pair_loading import load_pair
from dapa.model.presets import DEFAULT, preset, presets, released_layers
from dapa.model.spec import PairSpec
from dapa.prompts.format import PromptFormat
from dapa.prompts.sets import PromptSet, bundled, read_prompts
from dapa.prompts.settings import BothSettings, HarmfulSettings
from dapa.search.priors import opening_ids
from dapa.store.runs import Run, Store

RUN_DIR = Path("runs")
TOY_SETS = {
    "harmful": "toy_harmful",
    "harmless": "toy_twins",
    "borderline": "toy_borderline",
    "skill": "toy_skill",
}
GENERAL_SETS = {
    "harmful": "general_harmful",
    "harmless": "general_twins",
    "borderline": "general_borderline",
}


class Holding:
    """One pair and one store."""

    def __init__(self, run_dir: Path | str = RUN_DIR, pair: Pair | None = None) -> None:
        """Remember where the run store is; `store` opens it."""
        self.run_dir = Path(run_dir)
        self._pair = pair
        self._loading = threading.Lock()
        self._known_openers: WeakKeyDictionary[Pair, dict[Role, Openers]] = WeakKeyDictionary()

    @cached_property
    def store(self) -> Store:
        """The run store in `run_dir`, made if missing; StoreError if it cannot be used."""
        return Store(self.run_dir)

    @property
    def pair(self) -> Pair:
        """The loaded pair; PairError if there is none yet."""
        if self._pair is None:
            raise PairError("no pair is loaded; choose one first")
        return self._pair

    @property
    def loaded(self) -> bool:
        """Is there a pair?"""
        return self._pair is not None

    @staticmethod
    def spec(
        name: str | None = None,
        student: str | None = None,
        teacher: str | None = None,
        dtype: str = "auto",
        device: str = "auto",
        memory: str = "auto",
    ) -> PairSpec:
        """What to load, from a preset's name or from two models; DapaError if neither is whole."""
        parse_memory(memory)
        if student is not None or teacher is not None:
            if name:
                raise PairError("give a pair's name or a student and a teacher, not both")
            if not (student and teacher):
                missing = "teacher" if student else "student"
                raise PairError(f"a pair needs two models; name the {missing} too")
            return PairSpec(student, teacher, "", dtype, device, memory)
        return preset(DEFAULT if name is None else name).spec(dtype, device, memory)

    @staticmethod
    def presets() -> Mapping[str, Any]:
        """Every named pair."""
        return presets()

    @staticmethod
    def get(name: str, progress: Progress | None = None) -> Path:
        """The folder of what `python -m dapa get NAME` fetches, once; PairError says why not."""
        from dapa.model.getting import get

        return get(name, progress)

    @staticmethod
    def trust_structure(spec: PairSpec) -> list[str]:
        """Take what `check` finds of unknown architectures for true, until this process ends.

        Returns:
            A line for each that was learnt.
        """
        from dapa.model.discovery import learn

        found = (learn(open_checkpoint(name)) for name in (spec.student, spec.teacher))
        return [structure.told for structure in found if structure is not None]

    def check(self, spec: PairSpec) -> Report:
        """The compatibility report, before any model is built."""
        return check(open_checkpoint(spec.student), open_checkpoint(spec.teacher))

    def memory(self, spec: PairSpec) -> MemoryEstimate | None:
        """What the pair would take, from headers; None for two models that make no pair."""
        device = choose_device(spec.device)
        ours, theirs = open_checkpoint(spec.student), open_checkpoint(spec.teacher)
        dtype = choose_dtype(spec.dtype, device, ours.parameters)
        return estimate_memory(ours, theirs, spec.memory, dtype, device)

    def load(self, spec: PairSpec, progress: Progress | None = None, workers: int = 1) -> Pair:
        """Load a pair and put it in the previous one's place once it is whole.

        `workers`: how many other processes of this machine are to hold it too, if two or more.
        """
        with self._loading:
            try:
                pair = self._pair = load_pair(spec, progress, workers)
            finally:
                give_back()  # models hold themselves in circles; the previous pair goes now
        return pair

    def load_again(self, told: Mapping[str, Any], workers: int = 1) -> Pair:
        """Load the pair of a stored run, whose structure somebody confirmed if it has no row."""
        spec = PairSpec(**told)
        self.trust_structure(spec)
        return self.load(spec, workers=workers)

    def made(self, run: Run) -> bool:
        """May the loaded pair's very models have made a stored run, as far as it kept digests?

        Names are not asked. Newer libraries leave a pair what it is.
        """
        made = run.settings.get("made")
        made, parts = made if isinstance(made, dict) else {}, self.pair.parts
        return all(made.get(part, now) == now for part, now in parts.items() if part != "libraries")

    def share(self, mask: Mask) -> Share:
        """How much of the student the mask replaces."""
        self.pair.validate(mask)
        return self.pair.share(mask)

    def released(self) -> tuple[tuple[int, ...], bool]:
        """The released scripts' layers for this pair, and whether they were scaled by depth."""
        pair = self.pair
        return released_layers(pair.family.model_type, pair.spec.student, pair.n_layers)

    @property
    def is_toy(self) -> bool:
        """Does the loaded pair live in the toy world?"""
        return is_toy(self.pair)

    def sets(self) -> Mapping[str, str]:
        """Role -> the bundled set that suits this pair: the toy world's or the general one."""
        return TOY_SETS if self.is_toy else GENERAL_SETS

    def prompts(
        self,
        source: str | Path | None = None,
        role: str = "harmful",
        column: str | None = None,
    ) -> PromptSet:
        """A prompt set: a bundled one by name, a file, or this pair's default for the role.

        Args:
            source: A name, a file, a hub dataset, or None for the default.
            role: harmful, harmless, borderline or skill.
            column: A file's prompt column, where the usual names do not tell. The harmful file must
                have it; one of another role that stands beside it may lack it.
        """
        if source is None:
            source = self.sets()[role]
        known = bundled()
        if str(source) in known:
            return known[str(source)]
        return read_prompts(source, role, column, else_usual=role != "harmful")

    def named_set(self, asked: HarmfulSettings, role: str = "harmful") -> PromptSet:
        """The set that settings name for a role, in full; this pair's own where they name none."""
        other = isinstance(asked, BothSettings) and role == "harmless"
        source = asked.harmless if other else asked.prompts  # type: ignore[attr-defined]
        return self.prompts(source, role, asked.prompt_column)

    def search_set(self, asked: HarmfulSettings, role: str = "harmful") -> PromptSet:
        """The same without its held-out part, which chooses nothing; sampled down to the limit."""
        whole = self.named_set(asked, role)
        rest = replace(whole, prompts=tuple(whole.split(asked.seed).search))
        return rest if asked.prompt_limit is None else rest.sample(asked.prompt_limit, asked.seed)

    def library(self) -> list[PromptSet]:
        """The bundled sets that suit this pair."""
        known = bundled()
        return [known[name] for name in self.sets().values() if name in known]

    def _find(self, source: str | None, role: str, column: str | None = None) -> PromptSet | None:
        """A set for a role, None where nothing stands for it."""
        if source is None and role not in self.sets():
            return None
        return self.prompts(source, role, column)

    def opening_ids(
        self, prompts: Sequence[str], units: Sequence[Unit], how: PromptFormat | None = None
    ) -> list[tuple[int, ...]]:
        """Prompts as tokens up to a reply's first word: what refusal log-odds are read behind."""
        return opening_ids(self.pair, prompts, how or PromptFormat(), units)

    def _openers(self, pair: Pair, role: Role) -> Openers:
        """A model's refusal openers, found once per loaded pair: a vocabulary takes a moment."""
        known = self._known_openers.setdefault(pair, {})
        if role not in known:
            known[role] = find_openers(pair, role)
        return known[role]


def is_toy(pair: Pair) -> bool:
    """Does this pair live in the toy world?"""
    return pair.spec.name.startswith("toy-")
