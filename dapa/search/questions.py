"""The contract of a search: a coroutine with two questions.

An algorithm yields `First` or `Score` and is sent the answer; it owns no model, no judge and no
prompts, so it is tested with plain predicates. Whoever answers decides what to batch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from dapa.records import Mask, SearchResult, Unit
from dapa.registry import Registry


@dataclass(frozen=True)
class First:
    """Which of these masks, in this order, is the first that satisfies? Answer: index or None."""

    masks: tuple[Mask, ...]
    granularity: int | None = None
    """How many chunks the algorithm cuts now; for the eye only."""


@dataclass(frozen=True)
class Score:
    """Judge each of these masks in full. Answer: a tuple of Outcomes in the same order."""

    masks: tuple[Mask, ...]
    phase: str = "search"


Question = First | Score
Steps = Generator[Question, Any, SearchResult]
"""A running search: yields questions, is sent answers, returns the result."""
Search = Callable[[tuple[Unit, ...]], Steps]
"""An algorithm: units in, a coroutine out. The full mask over `units` is known to satisfy."""

algorithms: Registry[Callable[..., Search]] = Registry("search algorithm")
"""Name -> factory(seed=..., prior=...) -> Search; a factory ignores options it has no use for."""


def masks_of(groups: Sequence[Sequence[Unit]]) -> tuple[Mask, ...]:
    """Each group of units as a mask at full strength."""
    return tuple(Mask.of(group) for group in groups)
