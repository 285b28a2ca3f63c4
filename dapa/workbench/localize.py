"""See where two models differ, and what that causes: the wing of `dapa.localize`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dapa.core.records import DapaError, Mask, Prompt, Unit
from dapa.localize.causes.flips import (
    Effects,
    WhatIfs,
    left_out_effects,
    single_effects,
    what_if,
)
from dapa.localize.causes.gradients import GradientMap, integrated_gradients
from dapa.localize.causes.interaction import Interactions, interactions
from dapa.localize.causes.patching import PatchMap, patching
from dapa.localize.causes.trace import causal_trace, token_trace
from dapa.localize.causes.trace_records import TokenTrace, TraceMap
from dapa.localize.directions import DirectionMap, refusal_directions
from dapa.localize.divergence.divergence import DivergenceMap, TokenMap, divergence, token_map
from dapa.localize.gap import GapBudget, gap_budget
from dapa.localize.projection import Projection, project
from dapa.localize.summary import Summary, summary
from dapa.localize.weights import WeightMap, weight_map
from dapa.model.adapted import open_checkpoint
from dapa.model.spec import PairSpec
from dapa.prompts.format import PromptFormat, Turn
from dapa.search.priors import opening_ids, weight_distance
from dapa.store.database import FILE as RUN_FILE
from dapa.workbench.holding import Holding

FEW_TIMED = 20
"""Replies that a search must have judged for its time to tell how long one takes."""


class Seeing(Holding):
    """Every view of the loaded pair."""

    def divergence(self, prompts: Sequence[str], **options: Any) -> DivergenceMap:
        """Where the two models part; options as in `localize.divergence.divergence`."""
        return divergence(self.pair, prompts, options.pop("how", PromptFormat()), **options)

    def token_map(self, prompt: str, **options: Any) -> TokenMap:
        """Where the two models part along one prompt; options as in `localize.divergence`."""
        return token_map(self.pair, prompt, options.pop("how", PromptFormat()), **options)

    def weights(
        self, spec: PairSpec | None = None, seed: int = 0, *how: Any, ranks: bool = True
    ) -> WeightMap:
        """How far the weights are apart, read from the files; the loaded pair's if none is named.

        `how` is the listener and the stop event of `localize.weights.weight_map`.
        """
        spec = spec or self.pair.spec
        sides = (open_checkpoint(spec.student), open_checkpoint(spec.teacher))
        return weight_map(*sides, spec.title, seed, *how, ranks=ranks)

    def gap(self, prompts: Sequence[str], **options: Any) -> GapBudget:
        """Where the refusal gap sits at all; options as in `localize.gap.gap_budget`."""
        return gap_budget(self.pair, prompts, options.pop("how", PromptFormat()), **options)

    def gradients(
        self, prompts: Sequence[str], units: Sequence[Unit], **options: Any
    ) -> GradientMap:
        """Each unit's share of the whole effect on refusal log-odds; `localize.gradients`."""
        ids = self.opening_ids(prompts, units, options.pop("how", None))
        return integrated_gradients(self.pair, ids, units, **options)

    def flips(
        self, prompts: Sequence[str], units: Sequence[Unit], **options: Any
    ) -> tuple[Effects, Effects]:
        """True single flips: each unit alone, and each left out; options as in `localize`."""
        how = options.pop("how", None)
        ids = self.opening_ids(prompts, units, how)
        if harmless := options.pop("harmless", ()):
            options["harmless"] = self.opening_ids(harmless, units, how)
        options.setdefault("openers", self._openers(self.pair, "student"))
        return (
            single_effects(self.pair, ids, units, **options),
            left_out_effects(self.pair, ids, units, **options),
        )

    def interaction(
        self, prompts: Sequence[str], units: Sequence[Unit], **options: Any
    ) -> Interactions:
        """How far each two units' effects do not add up; options as in `localize.effects`."""
        ids = self.opening_ids(prompts, units, options.pop("how", None))
        return interactions(self.pair, ids, units, **options)

    def trace(self, prompts: Sequence[Prompt], **options: Any) -> TraceMap:
        """Which of the teacher's layers bring refusal back; options as in `localize.tracing`."""
        return causal_trace(self.pair, prompts, options.pop("how", PromptFormat()), **options)

    def token_trace(self, prompt: Prompt, **options: Any) -> TokenTrace:
        """The same along one prompt; options as in `localize.tracing.token_trace`."""
        return token_trace(self.pair, prompt, options.pop("how", PromptFormat()), **options)

    def patching(self, prompts: Sequence[str], **options: Any) -> PatchMap:
        """The teacher's activations in the student; options as in `localize.patching`."""
        return patching(self.pair, prompts, options.pop("how", PromptFormat()), **options)

    def directions(
        self, harmful: Sequence[str], harmless: Sequence[str], **options: Any
    ) -> DirectionMap:
        """Each pane along the refusal direction; options as in `localize.directions`."""
        how = options.pop("how", PromptFormat())
        return refusal_directions(self.pair, harmful, harmless, how, **options)

    def projection(
        self, harmful: Sequence[str], harmless: Sequence[str], **options: Any
    ) -> Projection:
        """Prompts in two dimensions, layer by layer; options as in `localize.projection`."""
        how = options.pop("how", PromptFormat())
        return project(self.pair, harmful, harmless, how, **options)

    def likely_mask(self, kind: str = "gate") -> Mask:
        """What the newest stored search of this pair found, else every unit that differs."""
        found = self.newest_found(kind)
        return Mask.of(found[1] if found else self.pair.units(kind))

    def what_if(
        self,
        prompt: str,
        mask: Mask,
        kind: str = "gate",
        how: PromptFormat | None = None,
        before: Sequence[Turn] = (),
    ) -> WhatIfs:
        """Refusal probability if just one unit of `kind` were flipped, in one batch.

        `before` are the turns of a conversation that the prompt goes on with.
        """
        pair = self.pair
        units = pair.units(kind)
        pair.validate(mask)
        (ids,) = opening_ids(pair, [prompt], how or PromptFormat(), units, before)
        return what_if(pair, ids, mask, units, self._openers(pair, "student"))

    def summary(self, prompts: Sequence[Prompt], kind: str = "gate", **options: Any) -> Summary:
        """Every measure by layer, beside what the newest stored search of this pair found."""
        how = options.pop("how", PromptFormat())
        found = self.newest_found(kind)
        return summary(self.pair, prompts, how, kind, weigh=weight_distance, found=found, **options)

    def newest_found(self, kind: str = "") -> tuple[str, tuple[Unit, ...]] | None:
        """The newest stored search of the loaded pair over these sites: its run and its units.

        Without a kind, the newest that found a set, of whatever kind. None where there is no such
        run, or none that can be read; reading makes no run folder.
        """
        if not (self.run_dir / RUN_FILE).is_file():
            return None
        mine = _models(self.pair.spec.student, self.pair.spec.teacher)
        for run in self.store.runs():
            try:
                spec, units = run.settings.get("pair") or {}, (run.result or {}).get("units")
                theirs = _models(str(spec.get("student")), str(spec.get("teacher")))
                wanted = bool(units) if not kind else run.settings.get("kind") == kind
                if units is not None and theirs == mine and wanted and self.made(run):
                    return run.id, tuple(map(Unit.parse, units))
            except (DapaError, ValueError, TypeError, AttributeError):  # a damaged row is no search
                continue
        return None

    def reply_pace(self) -> float | None:
        """Seconds a reply took in the newest stored search of the pair; None where none tells."""
        if not (self.run_dir / RUN_FILE).is_file():
            return None
        for run in self.store.runs():
            told = run.result or {}
            judged, spent = told.get("prompts_judged"), told.get("seconds")
            if not isinstance(judged, int) or not isinstance(spent, float) or judged < FEW_TIMED:
                continue
            if run.kind == "search" and self.made(run):
                return spent / judged
        return None


def _models(*names: str) -> tuple[str, ...]:
    """Two models' names such that one folder has one name."""
    return tuple(str(Path(name).resolve()) if Path(name).is_dir() else name for name in names)
