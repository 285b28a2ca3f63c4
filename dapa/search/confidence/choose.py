"""Choosing, which claims nothing: backward in blocks, by log-odds first and verdicts at the end.

The least promising block of units goes while what is left loses little: nothing at first, then a
part of the margin, then all of it, so that the chain falls slowly and certifying it stops late.
Log-odds are read as a logistic step whose edge is fitted to the DSR of all units. Where they do not
follow verdicts, verdicts on more prompts choose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from dapa.core.records import Mask, Rate, Unit
from dapa.core.statistics import mean_interval
from dapa.search.confidence.parts import ChosenSet, FittedStep
from dapa.search.confidence.questions import (
    Asking,
    Bools,
    Floats,
    JudgeMasks,
    Prior,
    ReadMasks,
    paired,
)

SHARES = (0.0, 0.4, 1.0)
"""Losses that are allowed one after the other, as shares of the margin."""
FEW = 12
"""At so many units or fewer, verdicts go on where log-odds stopped."""
TRUST = 0.65
"""Log-odds whose correlation with verdicts is below this do not choose."""
FIRST_LOOK = 25
"""Prompts of the first look of a verdict; each further one doubles them."""
WIDTH = 0.25
"""Width of the logistic step, in standard deviations of the log-odds over prompts."""

Within = Callable[[tuple[Unit, ...]], Asking[bool]]
"""Does a set lose no more than is allowed?"""


@dataclass
class Choosing:
    """The choosing as it stands: filled while it goes on, so that a stop loses nothing."""

    units: tuple[Unit, ...]
    prior: Prior
    margin: float
    choose: tuple[int, ...]
    """The prompts that choose."""
    more: tuple[int, ...] = ()
    """Prompts that join them where log-odds fail."""
    readable: bool = True
    """Are there log-odds at all?"""
    step: FittedStep | None = None
    taken: list[ChosenSet] = field(default_factory=list)
    """The accepted sets, all units first, each inside of the one before."""
    read: dict[tuple[Unit, ...], Rate] = field(default_factory=dict)
    """Accepted set -> the DSR that the step foretells."""

    @property
    def full(self) -> Mask:
        """All units."""
        return Mask.of(self.units)

    def in_order(self, some: Sequence[Unit]) -> tuple[Unit, ...]:
        """Some units in the pair's order."""
        kept = set(some)
        return tuple(unit for unit in self.units if unit in kept)

    @property
    def chain(self) -> tuple[tuple[Unit, ...], ...]:
        """The accepted sets, largest first."""
        return tuple(one.units for one in self.taken)


def choose(at: Choosing) -> Asking[None]:
    """Fill `at.taken` with a nested chain from all units down."""
    whole: Bools = (yield JudgeMasks((at.full,), at.choose, "choose"))[0]
    read: _Reader | None = None
    if at.readable:
        heard: Floats = (yield ReadMasks((at.full,), at.choose))[0]
        read = _Reader(at, heard, float(whole.mean()))
        at.step = yield from _trusted(at, read, heard, whole)
        at.read[at.units] = read.rate(heard)
    if read is None or at.step is None or not at.step.trusted:
        at.choose, at.more, read = (*at.choose, *at.more), (), None
        whole = (yield JudgeMasks((at.full,), at.choose, "choose"))[0]
    rate = float(whole.mean()) if read is None else at.read[at.units].value
    odds = None if read is None else float(heard.mean())
    at.taken.append(
        ChosenSet(at.units, "verdicts" if read is None else "log-odds", 0.0, odds, rate)
    )
    for share in SHARES:
        yield from _backward(at, share, read)
    if read is not None and len(at.chain[-1]) <= FEW:
        yield from _backward(at, SHARES[-1], None)


def _trusted(at: Choosing, read: _Reader, heard: Floats, whole: Bools) -> Asking[FittedStep]:
    """Do log-odds follow verdicts? Held against all units and the better half of them."""
    half = Mask.of(_sorted(at, at.units)[len(at.units) // 2 :])
    odds: Floats = (yield ReadMasks((half,), at.choose))[0]
    said: Bools = (yield JudgeMasks((half,), at.choose, "choose"))[0]
    x, y = np.concatenate([heard, odds]), np.concatenate([whole, said]).astype(float)
    if y.std() == 0 or x.std() == 0:  # nothing speaks against them
        return FittedStep(read.edge, read.width, None, None, True)
    r = float(np.corrcoef(x, y)[0, 1])
    z = math.atanh(min(max(r, -0.999999), 0.999999)) + 1.645 / math.sqrt(len(x) - 3)
    return FittedStep(read.edge, read.width, r, math.tanh(z), r >= TRUST)


class _Reader:
    """Log-odds as rates: a logistic step fitted to the DSR of all units."""

    def __init__(self, at: Choosing, heard: Floats, rate: float) -> None:
        self.at = at
        self.edge = float(np.quantile(heard, 1 - rate))
        self.width = max(WIDTH * float(heard.std()), 1e-6)
        self.whole = self.soft(heard)

    def soft(self, odds: Floats) -> float:
        return float(self.each(odds).mean())

    def each(self, odds: Floats) -> Floats:
        step = np.clip((odds - self.edge) / self.width, -30, 30)
        return np.asarray(1 / (1 + np.exp(-step)))

    def rate(self, odds: Floats) -> Rate:
        """With Student's t interval over prompts, cut to 0 and 1."""
        value, low, high = (float(end) for end in mean_interval(self.each(odds)))
        ends = (max(low, 0.0), min(high, 1.0)) if len(odds) > 1 else (0.0, 1.0)
        return Rate(value, *ends, len(odds))


def _sorted(at: Choosing, units: Sequence[Unit]) -> tuple[Unit, ...]:
    """The least promising first; of equals, in the pair's order."""
    return tuple(sorted(units, key=lambda unit: at.prior[unit]))


def _backward(at: Choosing, share: float, read: _Reader | None) -> Asking[None]:
    """Drop the least promising block while that is within; blocks are halved."""
    kept = _sorted(at, at.chain[-1])
    size = len(kept) // 2
    while size and len(kept) > 1:
        start = 0
        while start < len(kept):
            rest = kept[:start] + kept[start + size :]
            if rest and (yield from _within(at, rest, share, read)):
                kept = rest
                size = min(size, max(1, len(kept) // 2))
            else:
                start += size
        size //= 2


def _within(
    at: Choosing, rest: tuple[Unit, ...], share: float, read: _Reader | None
) -> Asking[bool]:
    """Try one set; where it loses no more than is allowed, it is taken."""
    units = at.in_order(rest)  # as every set is told, whatever order it was reached in
    if read is not None:
        odds: Floats = (yield ReadMasks((Mask.of(rest),), at.choose))[0]
        found = read.rate(odds)
        if found.value < read.whole - share * at.margin - 1e-12:
            return False
        at.read[units] = found
        at.taken.append(ChosenSet(units, "log-odds", share, float(odds.mean()), found.value))
        return True
    rate = yield from _judged(at, rest, share)
    if rate is None:
        return False
    at.taken.append(ChosenSet(units, "verdicts", share, None, rate))
    return True


def _judged(at: Choosing, rest: tuple[Unit, ...], share: float) -> Asking[float | None]:
    """The set's DSR by verdicts where it is within the allowed loss; in looks, to spare replies."""
    ours, whole, seen = np.zeros(0, bool), np.zeros(0, bool), 0
    for n in looks(len(at.choose)):
        part = at.choose[seen:n]
        both: Bools = yield JudgeMasks((at.full, Mask.of(rest)), part, "choose")
        whole, ours, seen = np.append(whole, both[0]), np.append(ours, both[1]), n
        gained, lost = paired(ours, whole)
        change, error = (gained - lost) / n, math.sqrt(gained + lost + 1) / n
        if n == len(at.choose) or abs(change + share * at.margin) > 2 * error:
            within = change >= -share * at.margin - 1e-12
            return float(ours.mean()) if within else None
    return None


def looks(n: int) -> list[int]:
    """25, 50, 100 ... and n."""
    found, at = list[int](), FIRST_LOOK
    while at < n:
        found.append(at)
        at *= 2
    return [*found, n]
