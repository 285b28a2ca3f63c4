"""Where is the last needed unit of a row? A belief that learns as units are found.

Under one hypothesis each unit is needed independently with its own probability, and then the rest
of the row stays independent once its last needed unit is known. A mixture of such hypotheses (how
many units are needed; is the prior to be trusted) keeps that form, and Bayes' rule moves the
weights. So a wrong hypothesis costs the search a few tests in all, not a share of every step.
It knows positions, not units.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

Row = Sequence[float]
"""One hypothesis: for each position, how likely it is that its unit is needed."""


class Belief:
    """Weighted hypotheses over the positions 0 .. count - 1."""

    def __init__(self, rows: Sequence[Row], weights: Sequence[float]) -> None:
        """Args: the hypotheses, each of equal length, and how much each is believed at first."""
        self._rows = [tuple(min(max(p, 1e-6), 1 - 1e-6) for p in row) for row in rows]
        self._weights = list(weights)

    def _of_row(self, row: Row, end: int) -> list[float]:
        """P(last needed position + 1 = j) for j = 0 (none) .. end."""
        tails = list(accumulate((1 - p for p in reversed(row[:end])), lambda a, b: a * b))
        tails = [1.0, *tails]  # tails[k]: the k positions before `end` are all not needed
        return [tails[end], *(row[j - 1] * tails[end - j] for j in range(1, end + 1))]

    def last(self, end: int) -> list[float]:
        """P(j) that exactly the first j of the first `end` positions hold all needed ones."""
        columns = [0.0] * (end + 1)
        for row, weight in zip(self._rows, self._weights, strict=True):
            for j, p in enumerate(self._of_row(row, end)):
                columns[j] += weight * p
        return columns

    def found(self, last: int, end: int) -> None:
        """Learn that of the first `end` positions, number `last` (from 1; 0: none) is the last."""
        for i, row in enumerate(self._rows):
            self._weights[i] *= self._of_row(row, end)[last]
        total = sum(self._weights)
        self._weights = [weight / total for weight in self._weights]


def halfway(column: Sequence[float], low: int, high: int) -> int:
    """Where to cut low < j <= high so that both sides are about equally likely; low <= cut < high.

    Weight-balanced search asks at most entropy + 2 questions (Horibe 1977); a plain middle asks
    log2 of the width whatever is known.
    """
    total = sum(column[low + 1 : high + 1])
    best, cut, below = float("inf"), low + 1, 0.0
    for j in range(low + 1, high):
        below += column[j]
        gap = abs(2 * below - total)
        if gap < best:
            best, cut = gap, j
    return cut
