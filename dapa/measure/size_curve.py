"""Size against refusals: what a curve over nested sets says, with intervals over prompts.

Plain arithmetic on verdicts, (sizes, prompts); no model, no judge. A curve's first size is 0, the
student, and its last is n, the full set. Its faithfulness at size k is

    f(k) = (DSR(k) - DSR(0)) / (DSR(n) - DSR(0))

Two areas are those of MIB, the Mechanistic Interpretability Benchmark (Mueller et al. 2025, ICML,
arXiv 2504.13151): the integrated circuit performance ratio, CPR = integral of f(k) over the share
of units k / n from 0 to 1, and the integrated circuit-model distance, CMD = integral of |1 - f(k)|,
both by the trapezoid rule over measured sizes, as in the benchmark's code. There the curve begins
at a thousandth of the edges; here at 0, where f is 0. A CPR of 1 would need everything at size 0; a
straight line gives one half; what needs all n units gives 1 / 2n, if every size is measured.

Numbers of units are read off the curve's isotonic fit (least squares, never falling), so that one
lucky size among larger, worse ones does not count. Intervals are percentiles of a bootstrap that
draws prompts, the same for every size; a size's lower end is one more than the measured size before
it, since no size between was asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapa.core.records import SettingError
from dapa.core.statistics import paired_gain

Floats = NDArray[np.float64]
Hits = NDArray[np.bool_]
SHARES = (0.5, 0.8, 0.9, 0.95)
"""Of the full set's gain."""
MARGIN = 0.05
"""A loss of refusals up to this counts as kept."""
DRAWS = 1000
_CLOSE = 1e-9
_FINE = 4


@dataclass(frozen=True)
class Needed:
    """How many units something takes."""

    value: int
    """The smallest measured size."""
    low: int
    high: int
    """95 % bootstrap over prompts."""
    before: int
    """The largest measured size below it."""

    def as_dict(self) -> dict[str, int]:
        """The JSON form."""
        return {"value": self.value, "low": self.low, "high": self.high, "before": self.before}


@dataclass(frozen=True)
class Area:
    """An area with its 95 % bootstrap interval over prompts."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """The JSON form."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Return:
    """The point of best return: where the curve stands highest above its chord."""

    size: int
    kept: float
    """f there."""
    above: float
    """f less the share of units: the height above the straight line from student to full set."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"size": self.size, "kept": self.kept, "above": self.above}


@dataclass(frozen=True)
class CurveFigures:
    """What one curve says on one list of prompts."""

    needed: dict[float, Needed]
    """Share of the gain -> the units that keep it."""
    enough: Needed
    """The units that lose at most `MARGIN` of refusals against the full set."""
    floor: int
    """The largest size such that it and every smaller one lose more than `MARGIN`; -1 for none."""
    cpr: Area
    cmd: Area
    best: Return | None
    """None where no size stands above the chord."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "needed": {f"{share:g}": one.as_dict() for share, one in self.needed.items()},
            "enough": self.enough.as_dict(),
            "floor": self.floor,
            "cpr": self.cpr.as_dict(),
            "cmd": self.cmd.as_dict(),
            "best": None if self.best is None else self.best.as_dict(),
        }


def sizes_of(count: int, own: Sequence[int] = ()) -> tuple[int, ...]:
    """The sizes to measure: 0, 1, 2, 3, 4, 6, 8, 12, 16 ... n, or one's own with both ends.

    Steps grow, up to an eighth of n: what is spread needs fine steps among large sizes too.

    Args:
        count: n, all units.
        own: Sizes that were asked for.

    Raises:
        SettingError: One of them is no size.
    """
    for size in own:
        if not 0 <= size <= count:
            raise SettingError(f"size {size} is outside 0 to {count}, the units that differ")
    if own:
        return tuple(sorted({0, *own, count}))
    found, most = [0], ceil(count / 8)
    while found[-1] < count:
        last = found[-1]
        grown = 2 ** max(0, last.bit_length() - 2)  # 1 below 4, 2 below 8, 4 below 16 ...
        found.append(min(count, last + (1 if last < _FINE else min(grown, most))))
    return tuple(found)


def isotonic(values: Floats) -> Floats:
    """The least-squares fit that never falls along the last axis, (..., sizes); equal weights.

    By its max-min formula: the highest mean over stretches that begin at or before a place, of the
    lowest over those that end at or behind it.
    """
    count = values.shape[-1]
    sums = np.concatenate([np.zeros((*values.shape[:-1], 1)), values.cumsum(-1)], -1)
    fit = np.empty_like(values, dtype=float)
    for at in range(count):
        begins, ends = np.arange(at + 1)[:, None], np.arange(at, count)[None]
        means = (sums[..., ends + 1] - sums[..., begins]) / (ends + 1 - begins)
        fit[..., at] = means.min(-1).max(-1)
    return fit


def faithfulness(rates: Floats) -> Floats:
    """The share of the gain at each size, (..., sizes) as the rates; NaN where there is no gain."""
    gain = rates[..., -1:] - rates[..., :1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gain > _CLOSE, (rates - rates[..., :1]) / gain, np.nan)


def area(sizes: Sequence[int], values: Floats) -> Floats:
    """Trapezoids of values, (..., sizes), over the share of units; (...)."""
    share = np.asarray(sizes, dtype=float) / sizes[-1]
    return np.asarray(((values[..., 1:] + values[..., :-1]) / 2 * np.diff(share)).sum(-1))


def cpr(sizes: Sequence[int], f: Floats) -> Floats:
    """MIB's integrated circuit performance ratio; higher is more concentrated."""
    return area(sizes, f)


def cmd(sizes: Sequence[int], f: Floats) -> Floats:
    """MIB's integrated circuit-model distance; lower is nearer to the full set at every size."""
    return area(sizes, np.abs(1 - f))


def first_reaching(rates: Floats, goal: Floats) -> NDArray[np.int64]:
    """Place of the first size whose isotonic fit reaches the goal, (...); the last at the worst.

    Args:
        rates: (..., sizes).
        goal: (...).
    """
    reached = isotonic(rates) >= goal[..., None] - _CLOSE
    reached[..., -1] = True
    return np.asarray(reached.argmax(-1))


def best_return(sizes: Sequence[int], f: Floats) -> Return | None:
    """The largest height of f above the chord (0, 0) to (n, 1), f against the share of units."""
    above = f - np.asarray(sizes) / sizes[-1]
    at = int(np.argmax(above))
    if not above[at] > _CLOSE:
        return None
    return Return(int(sizes[at]), float(f[at]), float(above[at]))


def floor_of(sizes: Sequence[int], hits: Hits, margin: float = MARGIN) -> int:
    """The largest size such that it and all smaller ones lose more than `margin`; -1 for none.

    Each by Tango's paired interval of the loss against the full set, one-sided at 0.05, the
    smallest first; the first that fails ends it, so that nothing is spent on the next.
    """
    found = -1
    for size, row in zip(sizes[:-1], hits[:-1], strict=True):
        _, low, _ = paired_gain(row.tolist(), hits[-1].tolist(), level=0.90)
        if not low > margin:
            break
        found = int(size)
    return found


def read_curve(
    sizes: Sequence[int],
    hits: Hits,
    *,
    shares: Sequence[float] = SHARES,
    margin: float = MARGIN,
    draws: int = DRAWS,
    seed: int = 0,
) -> CurveFigures:
    """Everything that one curve says.

    Args:
        sizes: From 0 to n, ascending.
        hits: Which prompts are refused at each size, (sizes, prompts), at least one prompt. The
            full set must refuse more of them than the student does.
        shares: Of the gain, for which the units are counted.
        margin: What may be lost.
        draws: Resamples of the prompts.
        seed: Of the resamples.
    """
    prompts = hits.shape[1]
    counts = np.random.default_rng(seed).multinomial(prompts, np.full(prompts, 1 / prompts), draws)
    rates = hits.mean(1)
    again = counts @ hits.T.astype(float) / prompts  # (draws, sizes)
    gains = again[:, -1] - again[:, 0]
    told = again[gains > _CLOSE]  # a resample without a gain has no share of one
    every = np.concatenate([rates[None], told])

    def units(goals: Floats) -> Needed:
        places = first_reaching(every, goals)
        at, low, high = int(places[0]), 0, len(sizes) - 1
        if len(told):
            ends = np.quantile(places[1:], [0.025, 0.975], method="inverted_cdf")
            low, high = min(int(ends[0]), at), max(int(ends[1]), at)
        return Needed(
            int(sizes[at]), _above(sizes, low), int(sizes[high]), int(sizes[max(0, at - 1)])
        )

    start, end = every[:, 0], every[:, -1]
    f = faithfulness(every)
    return CurveFigures(
        {share: units(start + share * (end - start)) for share in shares},
        units(end - margin),
        floor_of(sizes, hits, margin),
        _area(cpr(sizes, f)),
        _area(cmd(sizes, f)),
        best_return(sizes, f[0]),
    )


def _above(sizes: Sequence[int], at: int) -> int:
    """The smallest number of units that the measured size stands for."""
    return int(sizes[at - 1]) + 1 if at else int(sizes[0])


def _area(values: Floats) -> Area:
    """The first value, and percentiles of the others."""
    low, high = np.quantile(values[1:], [0.025, 0.975]) if len(values) > 1 else (0.0, 1.0)
    return Area(float(values[0]), float(min(low, values[0])), float(max(high, values[0])))
