"""Log-odds read as refusals: prompt by prompt where they follow verdicts, else set by set.

On real models log-odds say little of one prompt (a reply can open with regret and go on to answer),
while their mean over prompts follows the DSR of whole sets closely. Either reading serves to
choose, which claims nothing; neither ever decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from scipy.optimize import isotonic_regression

from dapa.core.records import Rate
from dapa.core.statistics import mean_interval
from dapa.search.confidence.questions import Floats

TRUST = 0.65
"""Correlation with verdicts, over prompts, from which log-odds choose prompt by prompt."""
TRUST_SETS = 0.85
"""Correlation of mean log-odds with DSR, over sets, from which they choose set by set."""
WIDTH = 0.25
"""Width of the logistic step, in standard deviations of the log-odds over prompts."""


class Reader(Protocol):
    """What log-odds of a set foretell, beside those of all units on the same prompts."""

    def losses(self, odds: Floats) -> Floats:
        """What the set loses on each of the first prompts; in the reader's own unit."""

    def allowed(self, loss: float) -> float:
        """The mean of `losses` that foretells this loss of DSR."""

    def rate(self, odds: Floats) -> Rate:
        """The DSR that is foretold, with an interval over prompts."""


class StepReader:
    """Each prompt by a logistic step whose edge is fitted to the DSR of all units."""

    def __init__(self, heard: Floats, rate: float) -> None:
        """Fit to the log-odds and the DSR of all units."""
        self.edge = float(np.quantile(heard, 1 - rate))
        self.width = max(WIDTH * float(heard.std()), 1e-6)
        self._whole = self._each(heard)

    def losses(self, odds: Floats) -> Floats:
        """In refusals."""
        return self._whole[: len(odds)] - self._each(odds)

    def allowed(self, loss: float) -> float:
        """The loss itself."""
        return loss

    def rate(self, odds: Floats) -> Rate:
        """With Student's t interval over prompts, cut to 0 and 1."""
        value, low, high = (float(end) for end in mean_interval(self._each(odds)))
        ends = (max(low, 0.0), min(high, 1.0)) if len(odds) > 1 else (0.0, 1.0)
        return Rate(value, *ends, len(odds))

    def _each(self, odds: Floats) -> Floats:
        step = np.clip((odds - self.edge) / self.width, -30, 30)
        return np.asarray(1 / (1 + np.exp(-step)))


class CurveReader:
    """Mean log-odds by a rising curve through sets whose verdicts are known."""

    def __init__(self, heard: Floats, means: Sequence[float], rates: Sequence[float]) -> None:
        """Fit, by isotonic regression, straight between the points.

        Args:
            heard: Log-odds of all units, one of the points.
            means: Mean log-odds of each set.
            rates: Its DSR.
        """
        self._heard = heard
        place = np.argsort(means, kind="stable")
        self._x = np.asarray(means, float)[place]
        self._y = np.asarray(isotonic_regression(np.asarray(rates, float)[place]).x)
        self._whole = float(np.interp(heard.mean(), self._x, self._y))

    def losses(self, odds: Floats) -> Floats:
        """In log-odds."""
        return np.asarray(self._heard[: len(odds)] - odds)

    def allowed(self, loss: float) -> float:
        """How far the mean may fall until the curve has lost so much."""
        wanted, x, y = self._whole - loss, self._x, self._y
        right = int(np.argmax(y >= wanted - 1e-12))  # the point of all units is among them
        at = float(x[right])
        if right:
            rise = float(y[right] - y[right - 1])
            at -= float(y[right] - wanted) / rise * float(x[right] - x[right - 1])
        return max(0.0, float(self._heard.mean()) - at)

    def rate(self, odds: Floats) -> Rate:
        """The curve at the mean, and at the ends of its t interval over prompts."""
        value, low, high = (float(end) for end in mean_interval(odds))
        ends = (low, high) if len(odds) > 1 else (-math.inf, math.inf)
        at, below, above = np.interp([value, *ends], self._x, self._y)
        return Rate(float(at), float(below), float(above), len(odds))


def correlation(odds: Floats, said: Floats) -> float | None:
    """Pearson's; None where one of the two never changes."""
    if odds.std() == 0 or said.std() == 0:
        return None
    return float(np.corrcoef(odds, said)[0, 1])


def upper(r: float, n: int) -> float:
    """Upper end of a correlation's one-sided 95 % interval (Fisher's z); 1 of three or fewer."""
    if n <= 3:
        return 1.0
    z = math.atanh(min(max(r, -0.999999), 0.999999)) + 1.645 / math.sqrt(n - 3)
    return math.tanh(z)
