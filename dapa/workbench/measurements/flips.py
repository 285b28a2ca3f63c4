"""Single layers: each unit transplanted alone, and each left out of the full transplant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapa.core.measurement import Call, Measurement, Shown, Table, measurements
from dapa.prompts.settings import ContrastSettings
from dapa.workbench.measurements.asking import NOTHING, against, effect, openers_note, origin
from dapa.writing.unit_names import unit_name, units_text

if TYPE_CHECKING:
    from dapa.localize.causes.flips import Effects


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


def _measure(call: Call) -> Flips:
    units = call.bench.pair.units(call.kind)
    progress = call.counted("prompts, alone and then left out")
    how = call.settings.format()
    bad, good, twins = against(call)
    return Flips(
        *call.bench.flips(
            bad, units, how=how, harmless=good, twins=twins, progress=progress, stop=call.stop
        )
    )


def _describe(found: Flips) -> Shown:
    if not found.left_out.whole.n:
        return NOTHING
    alone = dict(zip(found.alone.units, found.alone.effects, strict=True))
    left_out = dict(zip(found.left_out.units, found.left_out.effects, strict=True))
    ranked, whole = found.left_out.ranked, found.left_out.whole
    rows = [(unit, effect(alone[unit]), effect(left_out[unit])) for unit in ranked]
    count = found.left_out.harmless
    less = f" less {count} harmless ones" if count else ", harmless ones not subtracted"
    return Shown(
        f"All units together bring {whole.value:+.1f} refusal log-odds. Left out one at a "
        f"time, {units_text(ranked[:3])} cost{'s' * (len(ranked) == 1)} most.",
        (Table(("unit", "alone", "left out"), rows),),
        (
            "Refusal log-odds. Alone: gained by the student with that unit. Left out: lost by the "
            "full transplant without it. Where only all together refuse, alone tells little. "
            f"n = {whole.n} prompts{less}, 95 % intervals.",
            openers_note(found.alone.openers),
        ),
    )


def _figures(found: Flips, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures.effects import TOGETHER, effects_chart

    rows = [
        (unit_name(unit), {"alone": a, "left out": b})
        for unit, a, b in zip(
            found.alone.units, found.alone.effects, found.left_out.effects, strict=True
        )
    ]
    return [("by layer", effects_chart(rows, found.alone.whole, dark, whole_name=TOGETHER))]


measurements.add("flips", "single layers")(
    Measurement(
        "Single layers",
        "What each layer does alone, and what is lost without it",
        "Measure what each unit does alone, and what is lost without it, in refusal log-odds.\n\n"
        "Ctrl-C stops with the prompts measured so far.",
        "One unit of a kind of site at a time, in refusal log-odds over harmful prompts.",
        "pair",
        ContrastSettings,
        _measure,
        _describe,
        _figures,
        origin=origin,
        by_kind=True,
    )
)
