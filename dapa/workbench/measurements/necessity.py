"""Necessity: does the teacher need the found set?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dapa.core.measurement import Call, Dots, Interval, Measurement, Shown, Table, measurements
from dapa.core.settings import Settings, setting
from dapa.workbench.measurements.beside import Beside, Sheet, ends, listed, numbers
from dapa.writing.sentences import p_text, rate_text, units_text

if TYPE_CHECKING:
    from dapa.measure.necessity import Ablation, Necessity

_ROLES: dict[str, tuple[str, Literal["blue", "orange", "grey", "open"]]] = {
    "teacher": ("the whole teacher", "blue"),
    "found": ("without the found set", "orange"),
    "all": ("without every unit", "orange"),
    "control": ("without as many others", "grey"),
    "single": ("without one of them", "open"),
}


@dataclass(frozen=True, kw_only=True)
class NecessitySettings(Settings):
    """What stands beside the found set."""

    controls: int = setting(
        3,
        "random sets",
        "Random sets of the same size beside it.",
        low=0,
        high=10_000,
        told=lambda controls: f"{controls:,} random sets beside it",
    )


@dataclass(frozen=True, eq=False)
class Ablated(Beside["Necessity"]):
    """The teacher with the student's weights, set by set."""

    def table(self) -> Sheet:
        """Headers and rows of the CSV: a row an ablation."""
        rates = ("dsr", "incoherent", "change")
        head = ("name", "role", "units", *(end for name in rates for end in ends(name)), "p_value")
        rows = [
            (
                line.name, line.role, listed(line.units),
                *(end for name in rates for end in numbers(getattr(line, name))), line.p_value,
            )
            for line in self.found.ablations
        ]  # fmt: skip
        return head, rows


def _measure(call: Call) -> Ablated:
    found = call.bench.necessity(
        call.job, controls=call.settings.controls, progress=call.progress, stop=call.stop
    )
    return Ablated.of(call, found)


def _describe(record: Ablated) -> Shown:
    found = record.found
    if not found.ablations:
        return Shown("Nothing was measured.")
    rows: list[tuple[Any, ...]] = []
    for line in found.ablations:
        name, look = _ROLES[line.role]
        label = f"{name}: {units_text(line.units)}" if line.units else name
        change = line.change and Interval(line.change.value, line.change.low, line.change.high)
        rows.append((label, Dots(((line.dsr, look, ""),)), line.dsr, change, p_text(line.p_value)))
    strong = frozenset(i for i, line in enumerate(found.ablations) if line.role == "found")
    split = "held-out" if found.held_out else "search"
    return Shown(
        finding(found),
        (Table(("the teacher", "DSR, 0 to 1", "DSR", "change", "p"), rows, strong=strong),),
        (
            f"On {split} prompts, whole replies. Change and p (exact paired McNemar, "
            "Holm-adjusted) are against the whole teacher. Measured only: such a model is never "
            "written.",
        ),
    )


def finding(found: Necessity) -> str:
    """Does the teacher lose its refusals without the found set?"""
    whole, sets = found.of("teacher"), found.of("found")
    if not whole or not sets:
        return "Too little was measured to tell."
    both = f"from {rate_text(whole[0].dsr)} to {rate_text(sets[0].dsr)}"
    if not found.necessary:
        return (
            f"With the student's weights in the found set, the teacher's refusals go {both}: "
            "not shown to be necessary, another part may do the same work."
        )
    controls: Sequence[Ablation] = found.of("control")
    as_much = [c for c in controls if c.dsr.low <= sets[0].dsr.high]
    beside = ""
    if as_much:
        beside = f" {len(as_much)} of {len(controls)} random sets as large do as much."
    elif controls:
        beside = f" None of {len(controls)} random sets as large does as much."
    return f"The found set is necessary: without it the teacher's refusals fall {both}.{beside}"


measurements.add("necessity")(
    Measurement(
        "Necessity",
        "Does the teacher need it?",
        "Put the student's weights of the found set into the teacher: does it still refuse? "
        "Measured only: such a model is never written.",
        "Roles swapped: the student's weights of the found set, put into the teacher.",
        "search",
        NecessitySettings,
        _measure,
        _describe,
    )
)
