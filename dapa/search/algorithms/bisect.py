"""Prefix bisection: the needed units one by one, each at the cost of a binary search.

As QuickXplain (Junker, "QUICKXPLAIN: preferred explanations and relaxations for over-constrained
problems", AAAI 2004) for a monotone oracle, in its prefix form: with the found units F and the row
of candidates, the shortest prefix that satisfies together with F ends with a needed unit. Where
that prefix may end is weighed by what the units found so far say about how many there are
(`belief`). The row begins in the middle of the units and goes outward: where nothing is known any
order costs the same, of several sets that would do the one nearest to the middle is found, and in
what is published refusal sits in middle layers (arXiv 2406.01514). Whatever the oracle, the set at
hand was seen to satisfy at every moment; only 1-minimality leans on monotonicity, and the
certificate tests it. Where the certificate fails, ddmin goes on.
"""

from __future__ import annotations

from math import ceil, log2
from typing import Any

from dapa.core.records import Mask, Unit
from dapa.search.algorithms.belief import Belief, halfway
from dapa.search.algorithms.certificate import certified
from dapa.search.algorithms.ddmin import ddmin_complement
from dapa.search.algorithms.questions import First, Search, Steps, algorithms

DENSITIES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Hypotheses about the share of units that are needed."""


def outward(units: tuple[Unit, ...]) -> tuple[Unit, ...]:
    """The middle one first, then its neighbours, by their distance in the units' order."""
    middle = (len(units) - 1) / 2
    order = sorted(range(len(units)), key=lambda place: abs(place - middle))
    return tuple(units[place] for place in order)


def prefixes(row: tuple[Unit, ...], belief: Belief) -> Steps:
    """Find needed units from the end of `row` towards its start.

    Args:
        row: The units in the order in which prefixes are taken.
        belief: Over the positions of `row`.
    """
    found: tuple[Unit, ...] = ()
    end = len(row)
    low = 0  # found + row[:low] is known to fail: at first it is the student itself
    while end:
        column, high = belief.last(end), end
        while high - low > 1:
            cut = halfway(column, low, high)
            ahead = _ahead(found, row, column, low, cut, high)
            mask = Mask.of(found + row[:cut])
            left = (1 + len(found), _most(low, high, end) + len(found))
            answer = yield First((mask,), ahead=ahead, left=left)
            low, high = (low, cut) if answer == 0 else (cut, high)
        belief.found(high, end)
        end = high - 1 if high else 0
        found = (*found, row[high - 1]) if high else found
        low = -1  # found alone may satisfy by now
    return (yield from certified(tuple(u for u in row if u in set(found)), ddmin_complement))


def _ahead(
    found: tuple[Unit, ...], row: tuple[Unit, ...], column: list[float], *at: int
) -> tuple[Mask, ...]:
    """The two questions that may follow the one at `cut`, where `at` is (low, cut, high)."""
    low, cut, high = at
    halves = [(a, b) for a, b in ((low, cut), (cut, high)) if b - a > 1]
    return tuple(Mask.of(found + row[: halfway(column, a, b)]) for a, b in halves)


def _most(low: int, high: int, end: int) -> int:
    """About the most tests to come: every position needed, each found by halving what is left."""
    rest = sum(ceil(log2(k + 1)) for k in range(1, end))
    return high - low - 1 + rest + end


@algorithms.add("bisect", "Prefix bisection (QuickXplain)")
def _bisect(**_: Any) -> Search:
    def search(units: tuple[Unit, ...]) -> Steps:
        rows = [[density] * len(units) for density in DENSITIES]
        return prefixes(outward(units), Belief(rows, [1.0] * len(rows)))

    return search
