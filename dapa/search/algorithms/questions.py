"""The contract of a search: a coroutine with two questions.

An algorithm yields `First` or `Score` and is sent the answer; it owns no model, no judge and no
prompts, so it is tested with plain predicates. Whoever answers decides what to batch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dapa.core.records import Mask, SearchResult, Unit
from dapa.core.registry import Registry


@dataclass(frozen=True)
class First:
    """Which of these masks, in this order, is the first that satisfies? Answer: index or None."""

    masks: tuple[Mask, ...]
    granularity: int | None = None
    """How many chunks the algorithm cuts now; for the eye only."""
    ahead: tuple[Mask, ...] = ()
    """What may be asked next, likeliest first: food for rows that would stand idle, never counted
    and never an answer. A bisection asks one mask at a time and would starve a batch without."""
    left: tuple[int, int] | None = None
    """Fewest tests still to come and about the most, this question's included, certificate too."""


@dataclass(frozen=True)
class Score:
    """Judge each of these in full. Answer: a tuple of Outcomes in the same order."""

    masks: tuple[Mask, ...]
    phase: str = "search"
    left: tuple[int, int] | None = None
    """As in `First`."""


@dataclass(frozen=True)
class Settle:
    """Does each of these satisfy? Answer: a tuple of Outcomes, which may be curtailed.

    For the driver's own checks (supersets): each answer matters, none of their DSRs does.
    """

    masks: tuple[Mask, ...]
    phase: str = "superset"


Question = First | Score | Settle
Steps = Generator[Question, Any, SearchResult]
"""A running search: yields questions, is sent answers, returns the result."""
Search = Callable[[tuple[Unit, ...]], Steps]
"""An algorithm: units in, a coroutine out. The full mask over `units` is known to satisfy, the
empty one not to."""

NEED_ONE = ("weighted", "top-k")
"""Algorithms that follow a ranking of the units."""
PRIORS = {
    "divergence": "local divergence",
    "gradient": "mask gradients",
    "single": "single units' log-odds",
    "weights": "weight distance",
}
"""The rankings they may follow, by their names; how each is made is `search.priors`'s."""
algorithms: Registry[Callable[..., Search]] = Registry("search algorithm")
"""Name -> factory(seed=..., prior=...) -> Search; a factory ignores options it has no use for."""


def masks_of(groups: Sequence[Sequence[Unit]]) -> tuple[Mask, ...]:
    """Each group of units as a mask at full strength."""
    return tuple(Mask.of(group) for group in groups)


def without(units: Sequence[Unit], dropped: Iterable[Unit]) -> tuple[Unit, ...]:
    """`units` in their order, less the dropped ones."""
    gone = set(dropped)
    return tuple(unit for unit in units if unit not in gone)
