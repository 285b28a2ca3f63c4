"""The smallest 1-minimal set that a search meets in several orders of the units.

A 1-minimal set need not be a smallest one, and which one is met hangs on the order. A search in
several orders is itself a search: same questions, answered from one memory, so that a set that is
met again costs nothing. Whoever measures the result held out measures one set, whose size was
chosen on the search prompts alone.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from dapa.core.records import SearchResult, Unit
from dapa.search.algorithms.questions import Question, Search, Steps


def smallest(search: Search, orders: int, seed: int = 0) -> Search:
    """The search in the units' own order and `orders - 1` drawn ones; the first of equals.

    It ends 1-minimal where one order did, and says how many sets it chose from.
    """
    return search if orders < 2 else lambda units: _in_orders(search, units, orders, seed)


def _in_orders(search: Search, units: tuple[Unit, ...], orders: int, seed: int) -> Steps:
    results: list[SearchResult] = []
    for number, row in enumerate(drawn(units, orders, seed)):
        results.append((yield from _longer(search(row), orders - number - 1)))
    ended = [one for one in results if one.one_minimal]
    best = min(ended or results, key=lambda one: len(one.units))
    kept, sets = set(best.units), len({one.mask for one in ended})
    told = f"the smallest of {sets} 1-minimal sets" if sets > 1 else "the one set that was found"
    return SearchResult(
        tuple(unit for unit in units if unit in kept),
        best.one_minimal,
        f"{told} in {orders} orders" if ended else best.reason,
    )


def drawn(units: tuple[Unit, ...], orders: int, seed: int) -> list[tuple[Unit, ...]]:
    """The units' own order, then others by seed, none of them twice where there are enough."""
    random, found = Random(f"best of/{seed}"), {units: None}
    for _ in range(20 * orders):
        if len(found) >= orders:
            break
        found[tuple(random.sample(units, len(units)))] = None
    return list(found)


def _longer(steps: Steps, more: int) -> Steps:
    """A search whose questions tell of `more` like it: at best they cost nothing new."""
    answer, most = None, 0
    while True:
        try:
            question: Question = steps.send(answer)
        except StopIteration as end:
            result: SearchResult = end.value
            return result
        left = getattr(question, "left", None)
        if left is not None and more:
            most = max(most, left[1])
            question = replace(question, left=(left[0], left[1] + more * most))  # type: ignore[arg-type]
        answer = yield question
