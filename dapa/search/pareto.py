"""Which masks are worth their price: the front of DSR, size and utility.

Only masks that were judged in full stand here; a curtailed outcome has bounds and no DSR.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from dapa.core.records import Mask, Outcome, Rate, Trial
from dapa.core.statistics import wilson

PHASES = ("opening", "search", "certificate", "superset")
"""Phases of a search that judge openings on the search split; the others are not comparable."""


@dataclass(frozen=True)
class Point:
    """One mask that was judged in full."""

    mask: Mask
    dsr: Rate
    size: float
    """What it moves: a share of the parameters, or a count of units."""
    phase: str
    utility: float | None = None
    """KL(student || patched) on harmless prompts, bits per token; lower is better."""
    on_front: bool = False
    """Is no other mask at least as good in every respect that was measured, and better in one?"""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; utility is null where it was not measured."""
        return {
            "units": [str(unit) for unit in self.mask],
            "layers": list(self.mask.layers),
            "mask": self.mask.key,
            "dsr": self.dsr.as_dict(),
            "size": self.size,
            "utility": self.utility,
            "phase": self.phase,
            "on_front": self.on_front,
        }


def full_outcomes(trials: Iterable[Trial]) -> dict[Mask, tuple[Outcome, str]]:
    """The masks of a search's log that were judged in full, with the phase that did."""
    seen: dict[Mask, tuple[Outcome, str]] = {}
    for trial in trials:
        if trial.phase in PHASES and trial.outcome.full and trial.outcome.asked:
            seen.setdefault(trial.outcome.mask, (trial.outcome, trial.phase))
    return seen


def pareto(
    trials: Iterable[Trial],
    size: Callable[[Mask], float] = lambda mask: float(len(mask)),
    utility: Callable[[Mask], float] | None = None,
) -> tuple[Point, ...]:
    """Every fully judged mask of a log, smallest first, the front marked.

    Args:
        trials: A search's log.
        size: What a mask moves, such as its share of the parameters; a count of units by default.
        utility: What it costs on harmless prompts, lower is better; not weighed if None.
    """
    points = [
        Point(
            mask,
            wilson(outcome.defended, outcome.asked),
            size(mask),
            phase,
            None if utility is None else utility(mask),
        )
        for mask, (outcome, phase) in full_outcomes(trials).items()
    ]
    points.sort(key=lambda point: (point.size, -point.dsr.value, point.mask.key))
    return tuple(
        replace(point, on_front=not any(_beats(other, point) for other in points))
        for point in points
    )


def _beats(other: Point, point: Point) -> bool:
    """Is it at least as good everywhere, and better somewhere?"""
    ours = (-point.dsr.value, point.size, point.utility or 0.0)
    theirs = (-other.dsr.value, other.size, other.utility or 0.0)
    return theirs != ours and all(a <= b for a, b in zip(theirs, ours, strict=True))
