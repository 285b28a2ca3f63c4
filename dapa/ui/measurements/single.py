"""Layers one by one: transplanted alone, left out, and their share by mask gradients."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dapa.figures.effects import effects_chart
from dapa.localize.causes.flips import Effects
from dapa.localize.causes.gradients import GradientMap
from dapa.ui.measurements.view import Ask, View, counted, effect, harmful, views
from dapa.ui.parts import esc, note, percent, table, unit_name
from dapa.ui.tasks import Progress
from dapa.workbench import Workbench


@dataclass(frozen=True, eq=False)
class Flips:
    """Every unit alone, and every unit left out."""

    alone: Effects
    left_out: Effects

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""
        return self.alone.provenance.replace(", alone", ", alone and left out")

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows, for a file."""
        head = ("unit", "layer", "case", "value", "low", "high", "n")
        return head, [
            (str(unit), unit.layer, side.kind, e.value, e.low, e.high, e.n)
            for side in (self.alone, self.left_out)
            for unit, e in zip(side.units, side.effects, strict=True)
        ]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"alone": self.alone.as_dict(), "left_out": self.left_out.as_dict()}


def _flips(bench: Workbench, ask: Ask, told: Progress, stop: threading.Event) -> Flips:
    texts = [prompt.text for prompt in harmful(bench, ask)]
    units = bench.pair.units(ask.kind)
    progress = counted(told, "prompts, alone and then left out")
    return Flips(*bench.flips(texts, units, progress=progress, stop=stop))


def _draw_flips(found: Flips) -> str:
    both = {unit: i for i, unit in enumerate(found.left_out.units)}
    rows = [
        (
            unit_name(unit),
            effect(found.alone.effects[found.alone.units.index(unit)]),
            effect(found.left_out.effects[both[unit]]),
        )
        for unit in found.left_out.ranked
    ]
    most = [unit_name(unit) for unit in found.left_out.ranked[:3]]
    whole = found.left_out.whole
    return (
        f'<p class="finding">All units together bring {whole.value:+.1f} refusal log-odds. Leaving '
        f"out {', '.join(most)} costs most.</p>"
        f"{table(('unit', 'alone', 'left out'), rows)}"
        + note(
            "Refusal log-odds. Alone: gained by the student with that unit. Left out: lost by the "
            f"full transplant without it. Where only all together refuse, alone tells little. "
            f"n = {whole.n} prompts, 95 % intervals."
        )
    )


def _flip_figures(found: Flips, dark: bool) -> Sequence[tuple[str, Any]]:
    rows = [
        (unit_name(unit), {"alone": a, "left out": b})
        for unit, a, b in zip(
            found.alone.units, found.alone.effects, found.left_out.effects, strict=True
        )
    ]
    return [("by layer", effects_chart(rows, found.alone.whole, dark))]


views.add("flips", "single layers")(
    View(
        "Single layers",
        "What each layer does alone, and what is lost without it",
        "The strip’s kind of site, one unit at a time, in refusal log-odds over harmful prompts.",
        _flips,
        _draw_flips,
        _flip_figures,
        by_layer=False,
    )
)


def _gradients(bench: Workbench, ask: Ask, told: Progress, stop: threading.Event) -> GradientMap:
    texts = [prompt.text for prompt in harmful(bench, ask)]
    units = bench.pair.units(ask.kind)
    return bench.gradients(texts, units, progress=counted(told, "prompts"), stop=stop)


def _draw_gradients(found: GradientMap) -> str:
    rows = [
        (
            unit_name(unit),
            effect(found.effects[found.units.index(unit)]),
            esc(", ".join(f"{n} ({v:+.2f})" for _, n, v in found.strongest(unit, 3))),
        )
        for unit in found.ranked
    ]
    return (
        f'<p class="finding">The shares sum to {found.values.sum():+.2f} of a whole effect of '
        f"{found.whole.value:+.2f} refusal log-odds: a residual of {percent(found.error)}.</p>"
        f"{table(('unit', 'share of the effect', 'strongest neurons'), rows)}"
        + note(
            f"Mask gradients integrated over {found.points} strengths from 0 to 1. A prior and a "
            f"map, not a verdict. n = {found.whole.n} prompts, 95 % intervals."
        )
    )


def _gradient_figures(found: GradientMap, dark: bool) -> Sequence[tuple[str, Any]]:
    rows = [
        (unit_name(unit), {"share of the effect": e})
        for unit, e in zip(found.units, found.effects, strict=True)
    ]
    return [("by layer", effects_chart(rows, found.whole, dark))]


views.add("gradients", "mask gradients")(
    View(
        "Mask gradients",
        "Each layer’s share of the whole effect",
        "One backward pass through the row-masked student for each of a few strengths.",
        _gradients,
        _draw_gradients,
        _gradient_figures,
        by_layer=False,
    )
)
