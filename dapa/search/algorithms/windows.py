"""Baselines that look at masks alone: windows, random sets, the top of a ranking.

Coroutines like the searches, but none ends 1-minimal: they stand beside a found set of the same
size and show what its size alone, its place alone or a ranking alone would have given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import comb
from random import Random
from typing import Any

from dapa.core.records import Mask, Outcome, SearchResult, Unit
from dapa.search.algorithms.questions import First, Score, Search, Steps, algorithms, masks_of

MASK_ONLY = ("random-k", "windows", "top-k")
"""The algorithms that end without a certificate."""
DRAWS = 8
"""Random sets of one size, where size itself is searched."""


def best_of(masks: Sequence[Mask], reason: str) -> Steps:
    """Judge every mask in full; the one with the most defended prompts, the first of equals."""
    outcomes: tuple[Outcome, ...] = yield Score(tuple(masks))
    best = max(outcomes, key=lambda outcome: outcome.defended)
    return SearchResult(best.mask.units, one_minimal=False, reason=reason)


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the places 0 to count - 1, evenly spaced, both ends among them."""
    if count <= most:
        return list(range(count))
    if most == 1:
        return [count // 2]
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


def windows(units: tuple[Unit, ...], size: int, tests: int) -> Steps:
    """The best run of `size` neighbouring units; evenly spaced starts where tests do not suffice.

    Fixed runs of layers are what the method's released scripts use.
    """
    starts = spread(len(units) - size + 1, tests)
    told = f"the best of {len(starts)} windows"
    return (yield from best_of([Mask.of(units[start : start + size]) for start in starts], told))


def random_masks(units: tuple[Unit, ...], size: int, tests: int, seed: int) -> list[Mask]:
    """`tests` different sets of `size` units; every one where there are no more."""
    if comb(len(units), size) <= tests:
        return list(masks_of(list(combinations(units, size))))
    random, drawn = Random(seed), dict[Mask, None]()
    while len(drawn) < tests:
        drawn[Mask.of(random.sample(units, size))] = None
    return list(drawn)


def random_sets(units: tuple[Unit, ...], size: int, tests: int, seed: int) -> Steps:
    """The best of random sets: what the same oracle finds without a method."""
    masks = random_masks(units, size, tests, seed)
    return (yield from best_of(masks, f"the best of {len(masks)} random sets"))


def ranked(units: Sequence[Unit], prior: Mapping[Unit, float]) -> list[Unit]:
    """Highest first, ties in the units' order; units that the prior lacks come last."""
    return sorted(units, key=lambda unit: -prior.get(unit, float("-inf")))


def top(units: tuple[Unit, ...], prior: Mapping[Unit, float], tests: int) -> Steps:
    """Grow the ranking's top until it satisfies; all units where nothing less does."""
    order = ranked(units, prior)
    sizes = [1 + place for place in spread(len(order) - 1, tests)]
    found = yield First(tuple(Mask.of(order[:size]) for size in sizes))
    count = len(order) if found is None else sizes[found]
    kept = set(order[:count])
    told = "nothing less than all of it satisfies" if found is None else f"its first {count}"
    return SearchResult(tuple(u for u in units if u in kept), one_minimal=False, reason=told)


def least(units: tuple[Unit, ...], tries: Callable[[int], Sequence[Mask]], what: str) -> Steps:
    """The least size of which one of `tries(size)` satisfies, by halving; all units at worst.

    Halving takes it that a larger size satisfies where a smaller one does, which nobody certifies.
    """
    low, high, best = 0, len(units), units
    while high - low > 1:
        size = (low + high) // 2
        masks = tuple(tries(size))
        steps = max(1, (high - low).bit_length())
        found = yield First(masks, left=(1, 2 + steps * (len(units) + DRAWS)))
        if found is None:
            low = size
        else:
            high, kept = size, set(masks[found])
            best = tuple(unit for unit in units if unit in kept)
    return SearchResult(best, one_minimal=False, reason=f"done: the least {what} that satisfies")


@algorithms.add("random-k", "Baseline: random sets")
def _random_k(seed: int = 0, **_: Any) -> Search:
    return lambda units: least(
        units, lambda size: random_masks(units, size, DRAWS, seed), f"of {DRAWS} random sets"
    )


@algorithms.add("windows", "Baseline: windows of neighbouring units")
def _windows(**_: Any) -> Search:
    def search(units: tuple[Unit, ...]) -> Steps:
        def runs(size: int) -> Sequence[Mask]:
            return [Mask.of(units[i : i + size]) for i in range(len(units) - size + 1)]

        return least(units, runs, "window")

    return search


@algorithms.add("top-k", "Baseline: the top of a prior")
def _top_k(prior: Mapping[Unit, float] | None = None, **_: Any) -> Search:
    def search(units: tuple[Unit, ...]) -> Steps:
        order = ranked(units, prior or {})
        return least(units, lambda size: [Mask.of(order[:size])], "top of the ranking")

    return search
