"""Do two maps rank the same units alike? Spearman's rank correlation with its doubt.

This module knows plain numbers only; NaN marks what one of the maps does not define.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from dapa.core.statistics import LEVEL

_DRAWS = 9999


@dataclass(frozen=True)
class Agreement:
    """Spearman's correlation of two rankings of the same units."""

    rho: float
    """-1 to 1; NaN where a side is constant or fewer than two units are left."""
    low: float
    high: float
    p: float
    """Two-sided, by permutation; 1 where rho is not defined."""
    n: int
    """Units that both sides define."""

    def as_dict(self) -> dict[str, float | int | None]:
        """The JSON form, None for what is not defined."""
        rho = self.rho if math.isfinite(self.rho) else None
        return {"rho": rho, "low": self.low, "high": self.high, "p": self.p, "n": self.n}


def rank_agreement(a: ArrayLike, b: ArrayLike, seed: int = 0) -> Agreement:
    """Spearman's rho, a 95 % interval and a permutation p-value.

    The interval is Fisher's with the variance of Bonett and Wright (Psychometrika 65:23-28, 2000);
    a perfect rho is moved half a step inwards, so that few units do not make it certain. Units are
    not drawn from a population, so read it as how much the ranking could hang on single units.

    Args:
        a: One number a unit.
        b: The same units' numbers in another map.
        seed: Of the permutations.

    Raises:
        ValueError: If the lengths differ.
    """
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"maps of shapes {x.shape} and {y.shape} do not name the same units")
    here = np.isfinite(x) & np.isfinite(y)
    x, y = stats.rankdata(x[here]), stats.rankdata(y[here])
    n = len(x)
    if n < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Agreement(math.nan, -1.0, 1.0, 1.0, n)
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    rho = float(np.clip(x @ y / n, -1, 1))
    drawn = np.random.default_rng(seed).permuted(np.tile(y, (_DRAWS, 1)), axis=1)
    extreme = int((np.abs(drawn @ x / n) >= abs(rho) - 1e-9).sum())
    p = (1 + extreme) / (1 + _DRAWS)
    if n < 4:
        return Agreement(rho, -1.0, 1.0, p, n)
    most = 1 - 6 / (n**3 - n)  # half a step below 1, as rho moves in steps of 12 / (n^3 - n)
    z = math.atanh(min(max(rho, -most), most))
    reach = float(stats.norm.ppf(0.5 + LEVEL / 2)) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    low, high = math.tanh(z - reach), math.tanh(z + reach)
    return Agreement(rho, min(low, rho), max(high, rho), p, n)
