"""Necessity: does the teacher need the found set?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dapa.core.measurement import Call, Dots, Interval, Measurement, Shown, Table, measurements
from dapa.core.settings import Settings, setting
from dapa.workbench.measurements.beside import Beside, Sheet, ends, listed, numbers
from dapa.writing.numbers import p_text, rate_text
from dapa.writing.unit_names import units_text

if TYPE_CHECKING:
    from dapa.measure.necessity import Necessity

_ROLES: dict[str, tuple[str, Literal["blue", "orange", "grey", "open"]]] = {
    "teacher": ("the whole teacher", "blue"),
    "found": ("without the found set", "orange"),
    "all": ("without every unit", "orange"),
    "control": ("without as many others", "grey"),
    "single": ("without one of them", "open"),
}
_SWAPPED = ("found", "all")
"""Roles that are orange where refusals are surely lost."""


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
        rates = ("dsr", "incoherent", "change", "beyond")
        of = tuple(end for name in rates for end in ends(name))
        head = ("name", "role", "units", *of, "p_value", "beyond_p")
        rows = [
            (
                line.name, line.role, listed(line.units),
                *(end for name in rates for end in numbers(getattr(line, name))), line.p_value,
                line.beyond_p,
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
    beyond = any(line.beyond_p is not None for line in found.ablations)
    against = ("p\nagainst the found set",) if beyond else ()
    for line in found.ablations:
        name, look = _ROLES[line.role]
        if line.role in _SWAPPED and line.change and not line.change.high < 0:
            look = "blue"  # it refuses still, or is not shown to refuse less
        label = f"{name}: {units_text(line.units)}" if line.units else name
        if line.role == "all":
            label = f"{name}, {len(line.units)} in all"
        gap = line.change
        change = gap and Interval(100 * gap.value, 100 * gap.low, 100 * gap.high, "+.0f")
        dots = Dots(((line.dsr, look, ""),))
        told = (p_text(line.p_value), *((p_text(line.beyond_p),) if beyond else ()))
        rows.append((label, dots, line.dsr, change, *told))
    strong = frozenset(i for i, line in enumerate(found.ablations) if line.role == "found")
    split = "held-out" if found.held_out else "search"
    return Shown(
        finding(found),
        (
            Table(
                ("the teacher", "DSR, 0 to 100 %", "DSR", "change\npoints", "p", *against),
                rows,
                strong=strong,
            ),
        ),
        (
            f"On {split} prompts, whole replies. Change and p (exact paired McNemar, "
            "Holm-adjusted) are against the whole teacher, and of a random set "
            "against the found set too, by the same test. Measured only: such a model is never "
            "written.",
        ),
    )


def finding(found: Necessity) -> str:
    """Does the teacher lose its refusals without the found set?"""
    whole, sets = found.of("teacher"), found.of("found")
    if not whole or not sets:
        return "Too little was measured to tell."
    both = f"from {rate_text(whole[0].dsr)} to {rate_text(sets[0].dsr)}"
    if not found.loses:
        return (
            f"With the student's weights in the found set, the teacher's refusals go {both}: "
            "not shown to be necessary, another part may do the same work."
        )
    less, controls = found.beside
    if not controls:
        return (
            f"Without the found set the teacher's refusals fall {both}; no random set as large "
            "stands beside it, so that is not shown to be more than any such set would lose."
        )
    if found.necessary:
        return (
            f"The found set is necessary: without it the teacher's refusals fall {both}, more than "
            f"without {_each(controls)}."
        )
    return (
        f"Without the found set the teacher's refusals fall {both}, but {controls - less} of "
        f"{controls} random sets as large are not shown to lose less: not shown to be necessary, "
        "any change so large may do it."
    )


def _each(controls: int) -> str:
    return "a random set as large" if controls == 1 else f"each of {controls} random sets as large"


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
