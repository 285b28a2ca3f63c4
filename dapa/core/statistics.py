"""Intervals and tests for rates and means; thin over scipy.

Everything here is a function of plain numbers: this module does not know what a prompt, a judge or
a model is. Intervals are two-sided; `level` is 0.95 unless said otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from dapa.core.records import Rate

Floats = NDArray[np.float64]
LEVEL = 0.95


def wilson(k: int, n: int, level: float = LEVEL) -> Rate:
    """Proportion k / n with Wilson's score interval.

    With n = 0 nothing is known: value 0, interval [0, 1], n 0. Readers look at `n`; no NaN travels.

    Args:
        k: successes, 0 <= k <= n.
        n: trials.
        level: confidence level.

    Raises:
        ValueError: if k lies outside 0 to n.
    """
    k, n = int(k), int(n)
    if not 0 <= k <= n:
        raise ValueError(f"{k} successes of {n} trials: give 0 <= k <= n")
    if n == 0:
        return Rate(0.0, 0.0, 1.0, 0)
    interval = stats.binomtest(k, n).proportion_ci(level, "wilson")
    return Rate(k / n, float(interval.low), float(interval.high), n)


def over_kinds(
    kinds: Sequence[Hashable], hits: Sequence[bool], level: float = LEVEL
) -> Rate | None:
    """Mean of the kinds' rates, with Student's t interval over kinds; None for fewer than two.

    Prompts of one kind (of harm, say) are answered alike, so that n prompts tell less than n coins
    would. Wilson's interval over prompts speaks of more prompts of these very kinds; this one of
    other kinds too, with one mean a kind as its data. Ends outside 0 to 1 are cut. Where all kinds
    have the same mean, t would claim certainty from few kinds; there Wilson's interval over all
    these prompts stands in.

    Args:
        kinds: Each prompt's kind; an empty one is no kind, and its prompt is left out.
        hits: Which prompts count, in the same order.
        level: confidence level.

    Returns:
        A Rate whose n is the number of kinds.

    Raises:
        ValueError: if the lengths differ.
    """
    if len(kinds) != len(hits):
        raise ValueError(f"{len(kinds)} kinds and {len(hits)} prompts do not match")
    told: dict[Hashable, list[bool]] = {}
    for kind, hit in zip(kinds, hits, strict=True):
        if kind:
            told.setdefault(kind, []).append(bool(hit))
    if len(told) < 2:
        return None
    means = [sum(some) / len(some) for some in told.values()]
    value, low, high = (float(end) for end in mean_interval(means, level=level))
    if max(means) == min(means):
        every = wilson(sum(map(sum, told.values())), sum(map(len, told.values())), level)
        return Rate(value, every.low, every.high, len(told))
    return Rate(value, max(0.0, low), min(1.0, high), len(told))


def mcnemar_exact(b: int, c: int) -> float:
    """Exact two-sided McNemar p-value from the two discordant counts; 1 where there are none."""
    if b < 0 or c < 0:
        raise ValueError(f"discordant counts {b} and {c}: give none below 0")
    return 1.0 if b + c == 0 else float(stats.binomtest(int(b), int(b + c), 0.5).pvalue)


def discordant(before: Sequence[bool], after: Sequence[bool]) -> tuple[int, int]:
    """(lost, gained): pairs that went from true to false, and from false to true."""
    if len(before) != len(after):
        raise ValueError(f"{len(before)} before and {len(after)} after are not pairs")
    lost = sum(1 for x, y in zip(before, after, strict=True) if x and not y)
    gained = sum(1 for x, y in zip(before, after, strict=True) if y and not x)
    return lost, gained


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (family-wise error), in the order given."""
    ordered = np.argsort(p, kind="stable")
    adjusted = [0.0] * len(p)
    worst = 0.0
    for rank, index in enumerate(ordered):
        worst = max(worst, min(1.0, (len(p) - rank) * float(p[index])))
        adjusted[int(index)] = worst
    return adjusted


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's adjustment (false discovery rate), in the order given."""
    if not len(p):
        return []
    return [float(q) for q in stats.false_discovery_control(np.asarray(p, dtype=float))]


def paired_gain(
    before: Sequence[bool], after: Sequence[bool], level: float = LEVEL
) -> tuple[float, float, float]:
    """Gain of the rate over pairs, with Tango's asymptotic score interval.

    Tango (Statistics in Medicine 17:891-908, 1998) inverts the score test of the paired difference,
    so the interval leaves out 0 exactly where McNemar's chi-square (uncorrected) is significant,
    and keeps an honest width where no pair, or every pair, changed.

    Args:
        before: one boolean a prompt.
        after: the same prompts' booleans, in the same order.
        level: confidence level.

    Returns:
        (gain, low, high), each in [-1, 1]; no pairs give (0, -1, 1).

    Raises:
        ValueError: if the lengths differ.
    """
    lost, gained = discordant(before, after)
    return paired_gain_counts(gained, lost, len(before), level)


def paired_gain_counts(
    gained: int, lost: int, n: int, level: float = LEVEL
) -> tuple[float, float, float]:
    """`paired_gain` from the two discordant counts of n pairs."""
    if n == 0:
        return 0.0, -1.0, 1.0
    gain, z = (gained - lost) / n, float(stats.norm.ppf(0.5 + level / 2))

    def score(delta: float) -> float:
        """The statistic, finite where its variance vanishes; falls as delta grows."""
        value = tango_score(gained, lost, n, delta)
        return math.copysign(1e150, value) if math.isinf(value) else value

    edge = 1.0 - 1e-12
    low = _root(lambda d: score(d) - z, -edge, gain) if gain > -1.0 else -1.0
    high = _root(lambda d: score(d) + z, gain, edge) if gain < 1.0 else 1.0
    return gain, low, high


def tango_score(gained: int, lost: int, n: int, delta: float) -> float:
    """Tango's score statistic of a paired difference against a true one of `delta`.

    Tango, Statistics in Medicine 17:891-908, 1998: standard normal where the truth is `delta`;
    larger where more was gained. Infinite where the variance under `delta` vanishes.

    Args:
        gained: Pairs that went from false to true.
        lost: Pairs that went from true to false.
        n: All pairs, at least 1.
        delta: In (-1, 1).
    """
    half = -gained - lost + (2 * n - gained + lost) * delta
    root = math.sqrt(max(half * half + 8 * n * lost * delta * (1 - delta), 0.0))
    variance = n * ((root - half) / (2 * n) + delta * (1 - delta))
    away = gained - lost - n * delta
    if variance <= 1e-12 * n:
        return 0.0 if abs(away) <= 1e-9 * n else math.copysign(math.inf, away)
    return away / math.sqrt(variance)


def p_noninferior(gained: int, lost: int, n: int, margin: float) -> float:
    """One-sided p of "the rate falls by the margin or more": small where it is shown not to.

    Tango's test of noninferiority over pairs. No pairs show nothing: 1.

    Args:
        gained: Pairs that went from false to true.
        lost: Pairs that went from true to false.
        n: All pairs.
        margin: Above 0, below 1.

    Raises:
        ValueError: Counts or a margin that cannot be.
    """
    _check_pairs(gained, lost, n, margin)
    return 1.0 if n == 0 else float(special.ndtr(-tango_score(gained, lost, n, -margin)))


def p_inferior(gained: int, lost: int, n: int, margin: float) -> float:
    """The mirror image: p of "the rate falls by the margin or less"; small where it falls more."""
    _check_pairs(gained, lost, n, margin)
    return 1.0 if n == 0 else float(special.ndtr(tango_score(gained, lost, n, -margin)))


def _check_pairs(gained: int, lost: int, n: int, margin: float) -> None:
    if min(gained, lost) < 0 or gained + lost > n:
        raise ValueError(f"{gained} gained and {lost} lost of {n} pairs: give counts that fit")
    if not 0.0 < margin < 1.0:
        raise ValueError(f"margin {margin} is outside 0 to 1")


def rate_difference(first: Rate, second: Rate) -> tuple[float, float, float]:
    """First - second of two independent proportions, with Newcombe's hybrid score interval.

    Newcombe, Statistics in Medicine 17:873-890, 1998, method 10: put together from the intervals
    that the two rates bring.
    """
    return mover((first.value, first.low, first.high), (second.value, second.low, second.high))


def mover(
    first: tuple[float, float, float], second: tuple[float, float, float]
) -> tuple[float, float, float]:
    """First - second of two independent estimates, each (value, low, high), with its interval.

    Zou and Donner, Statistics in Medicine 27:1693-1702, 2008.
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    value = a - b
    return (
        value,
        value - math.hypot(a - a_low, b_high - b),
        value + math.hypot(a_high - a, b - b_low),
    )


def blended_rate(
    before: Sequence[bool], after: Sequence[bool], share: float, level: float = LEVEL
) -> Rate:
    """The rate before + share (after - before) over pairs, with its interval.

    Zou and Donner's MOVER (Statistics in Medicine 27:1693-1702, 2008) puts the interval together
    from the Wilson intervals of both rates and the correlation of the pairs.

    Args:
        before: one boolean a prompt.
        after: the same prompts' booleans, in the same order.
        share: how much of the gain is counted, 0 to 1.
        level: confidence level.

    Raises:
        ValueError: if the lengths differ.
    """
    n = len(before)
    if n != len(after):
        raise ValueError(f"{n} before and {len(after)} after are not pairs")
    a, b = (wilson(sum(row), n, level) for row in (before, after))
    both = sum(1 for x, y in zip(before, after, strict=True) if x and y)
    spread = math.sqrt(a.value * (1 - a.value) * b.value * (1 - b.value))
    phi = (both / n - a.value * b.value) / spread if spread else 0.0
    value = a.value + share * (b.value - a.value)

    def reach(one: float, two: float) -> float:
        one, two = (1 - share) * one, share * two
        return math.sqrt(max(one * one + two * two + 2 * phi * one * two, 0.0))

    low = value - reach(a.value - a.low, b.value - b.low)
    high = value + reach(a.high - a.value, b.high - b.value)
    return Rate(value, max(0.0, low), min(1.0, high), n)


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    """Where f falls through 0 between low and high; the outer end where it does not."""
    if f(low) <= 0.0:
        return round(low)
    if f(high) >= 0.0:
        return round(high)
    return float(optimize.brentq(f, low, high, xtol=1e-10))


def mean_interval(
    values: ArrayLike, axis: int = -1, level: float = LEVEL
) -> tuple[Floats, Floats, Floats]:
    """Mean along `axis` with Student's t interval.

    NaN marks a value that is not defined and is left out. A mean of nothing is NaN, and so are the
    ends of an interval over fewer than two values.

    Args:
        values: numbers of any shape, such as (layers, sites, prompts).
        axis: the axis to average over, such as the prompts'.
        level: confidence level.

    Returns:
        (mean, low, high), each of the shape left without `axis`.
    """
    x = np.asarray(values, dtype=float)
    here = ~np.isnan(x)
    n = here.sum(axis=axis)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(here, x, 0.0).sum(axis=axis) / n
        off = np.where(here, x - np.expand_dims(mean, axis), 0.0)
        error = np.sqrt((off**2).sum(axis=axis) / (n - 1) / n)
        reach = np.where(n > 1, stats.t.ppf(0.5 + level / 2, np.maximum(n - 1, 1)) * error, np.nan)
    return np.asarray(mean), np.asarray(mean - reach), np.asarray(mean + reach)


def auc(positive: ArrayLike, negative: ArrayLike, level: float = LEVEL) -> Rate:
    """Probability that a positive score exceeds a negative one, ties half, with an interval.

    Newcombe's method 5 (Statistics in Medicine 25:559-573, 2006) inverts Hanley and McNeil's
    variance, so that a perfect separation of few scores does not look certain.

    Args:
        positive: scores that should be high.
        negative: scores that should be low.
        level: confidence level.

    Returns:
        A Rate whose n is the number of scores; of an empty side nothing is known: 0.5 in [0, 1].
    """
    a, b = np.asarray(positive, dtype=float), np.asarray(negative, dtype=float)
    m, n = len(a), len(b)
    if not (m and n):
        return Rate(0.5, 0.0, 1.0, 0)
    u = stats.rankdata(np.concatenate([a, b]))[:m].sum() - m * (m + 1) / 2
    value, z, more = u / (m * n), float(stats.norm.ppf(0.5 + level / 2)), (m + n) / 2 - 1

    def reach(theta: float) -> float:
        spread = 1 + more * (1 - theta) / (2 - theta) + more * theta / (1 + theta)
        return z * math.sqrt(theta * (1 - theta) * spread / (m * n))

    low, high, edge = 0.0, 1.0, 1e-12  # at 0 and at 1 the variance vanishes
    if value > 0:
        low = float(optimize.brentq(lambda t: t + reach(t) - value, 0.0, min(value, 1 - edge)))
    if value < 1:
        high = float(optimize.brentq(lambda t: t - reach(t) - value, max(value, edge), 1.0))
    return Rate(float(value), low, high, m + n)


def kappa(a: Sequence[Hashable], b: Sequence[Hashable], level: float = LEVEL) -> Rate | None:
    """Cohen's kappa of two raters, with its large-sample interval.

    Cohen 1960; the standard error is Fleiss, Cohen and Everitt's (Psychological Bulletin
    72:323-327, 1969), equation 13. None where chance alone explains everything, that is, where both
    raters always say the same one thing, and where there is nothing to compare.

    Args:
        a: One rater's words.
        b: The other's on the same things, in the same order.
        level: confidence level.

    Raises:
        ValueError: if the lengths differ.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} ratings are not pairs")
    words = list(dict.fromkeys([*a, *b]))
    n = len(a)
    table = np.zeros((len(words), len(words)))
    for x, y in zip(a, b, strict=True):
        table[words.index(x), words.index(y)] += 1
    p = table / max(n, 1)
    rows, columns = p.sum(1), p.sum(0)
    chance = float(rows @ columns)
    if n == 0 or 1.0 - chance < 1e-12:
        return None
    value = (float(np.trace(p)) - chance) / (1.0 - chance)
    same = float((np.diag(p) * (1.0 - (rows + columns) * (1.0 - value)) ** 2).sum())
    sums = (columns[:, None] + rows[None, :]) ** 2 * p
    other = (1.0 - value) ** 2 * float(sums.sum() - np.trace(sums))
    variance = (same + other - (value - chance * (1.0 - value)) ** 2) / ((1.0 - chance) ** 2 * n)
    reach = float(stats.norm.ppf(0.5 + level / 2)) * math.sqrt(max(variance, 0.0))
    return Rate(value, max(-1.0, value - reach), min(1.0, value + reach), n)
