"""Do two maps rank the same units alike? Spearman's rank correlation with its doubt.

This module knows plain numbers only; NaN marks what one of the maps does not define.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from dapa.core.statistics import LEVEL

Floats = NDArray[np.float64]
_DRAWS = 9999


@dataclass(frozen=True)
class RankAgreement:
    """Spearman's correlation of two rankings of the same units."""

    rho: float
    """-1 to 1; NaN where a side is constant or fewer than two units are left."""
    low: float
    high: float
    p: float
    """Two-sided, by permutation; 1 where rho is not defined."""
    n: int
    """Units that both sides define."""
    of: int = 1
    """Chosen as the best of so many; interval and p then hold for the choice."""

    def as_dict(self) -> dict[str, float | int | None]:
        """The JSON form, None for what is not defined."""
        rho = self.rho if math.isfinite(self.rho) else None
        return {"rho": rho, "low": self.low, "high": self.high, "p": self.p, "n": self.n}


def rank_agreement(a: ArrayLike, b: ArrayLike, seed: int = 0) -> RankAgreement:
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
        return RankAgreement(math.nan, -1.0, 1.0, 1.0, n)
    x, y = _standard(x), _standard(y)
    rho = float(np.clip(x @ y / n, -1, 1))
    drawn = _shuffled(y, seed)
    extreme = int((np.abs(drawn @ x / n) >= abs(rho) - 1e-9).sum())
    p = (1 + extreme) / (1 + _DRAWS)
    return RankAgreement(rho, *_interval(rho, n, LEVEL), p, n)


def best_agreement(
    of: Mapping[str, ArrayLike], against: ArrayLike, seed: int = 0
) -> tuple[str, RankAgreement] | None:
    """The map that ranks most like `against`, with the doubt that choosing it brings.

    The best of k maps that say nothing looks good by luck. Its p is that of the largest of k
    correlations: `against` is permuted, the maps are left as they lie, so that their likeness to
    one another counts (Westfall and Young 1993, the single-step maxT). Its interval is at
    0.05 / k (Bonferroni).

    Args:
        of: Name -> one number a unit.
        against: The same units' numbers in the map to predict.
        seed: Of the permutations.

    Returns:
        (name, agreement with `of` = k); None where no correlation is defined.
    """
    met = {name: rank_agreement(values, against, seed) for name, values in of.items()}
    told = {name: agreement for name, agreement in met.items() if math.isfinite(agreement.rho)}
    if not told:
        return None
    name, best = max(told.items(), key=lambda pair: pair[1].rho)
    k = len(told)
    ends = _interval(best.rho, best.n, 1 - (1 - LEVEL) / k)
    return name, replace(best, low=ends[0], high=ends[1], p=_luck([of[n] for n in told], against,
                                                                  best, k, seed), of=k)  # fmt: skip


def _luck(
    maps: Sequence[ArrayLike], against: ArrayLike, best: RankAgreement, k: int, seed: int
) -> float:
    """How often the largest of the maps' correlations is this large under permutation."""
    rows = [np.asarray(values, dtype=float) for values in (*maps, against)]
    here = np.all(np.isfinite(rows), axis=0)
    ranks = [stats.rankdata(row[here]) for row in rows]
    if int(here.sum()) < best.n or any(np.ptp(row) == 0 for row in ranks):
        return min(1.0, k * best.p)  # they do not define the same units: Bonferroni
    *x, y = map(_standard, ranks)
    most = (_shuffled(y, seed) @ np.array(x).T / len(y)).max(axis=1)
    return (1 + int((most >= best.rho - 1e-9).sum())) / (1 + _DRAWS)


def _standard(ranks: Floats) -> Floats:
    return (ranks - ranks.mean()) / ranks.std()


def _shuffled(y: Floats, seed: int) -> Floats:
    """Permutations of a row, (draws, units)."""
    return np.random.default_rng(seed).permuted(np.tile(y, (_DRAWS, 1)), axis=1)


def _interval(rho: float, n: int, level: float) -> tuple[float, float]:
    """Fisher's interval; all there is for fewer than four units."""
    if n < 4:
        return -1.0, 1.0
    most = 1 - 6 / (n**3 - n)  # half a step below 1, as rho moves in steps of 12 / (n^3 - n)
    z = math.atanh(min(max(rho, -most), most))
    reach = float(stats.norm.ppf(0.5 + level / 2)) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return min(math.tanh(z - reach), rho), max(math.tanh(z + reach), rho)
