"""Which masks are worth their size: the front of DSR against what is moved.

Only masks that were judged in full stand here; a curtailed outcome has bounds and no DSR.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from dapa.records import Mask, Outcome, Rate, Trial
from dapa.statistics import wilson

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
    on_front: bool = False
    """Does no other mask refuse as much with less, or more with as little?"""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; utility is another room's and null here."""
        return {
            "units": [str(unit) for unit in self.mask],
            "layers": list(self.mask.layers),
            "mask": self.mask.key,
            "dsr": self.dsr.as_dict(),
            "size": self.size,
            "utility": None,
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
    trials: Iterable[Trial], size: Callable[[Mask], float] = lambda mask: float(len(mask))
) -> tuple[Point, ...]:
    """Every fully judged mask of a log, smallest first, the front marked.

    Args:
        trials: A search's log.
        size: What a mask moves, such as its share of the parameters; a count of units by default.
    """
    points = [
        Point(mask, wilson(outcome.defended, outcome.asked), size(mask), phase)
        for mask, (outcome, phase) in full_outcomes(trials).items()
    ]
    points.sort(key=lambda point: (point.size, -point.dsr.value, point.mask.key))
    best, marked = -1.0, []
    edge: tuple[float, float] | None = None
    for point in points:
        here = (point.size, point.dsr.value)
        front = point.dsr.value > best or here == edge  # equals share the front
        if front:
            best, edge = point.dsr.value, here
        marked.append(replace(point, on_front=front))
    return tuple(marked)
