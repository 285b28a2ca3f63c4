"""Choosing, which claims nothing: backward in blocks, by log-odds first and verdicts at the end.

The least promising block of units goes while what is left loses little: nothing at first, then a
part of the margin, then all of it, so that the chain falls slowly and certifying it stops late.
Log-odds are read prompt by prompt, or set by set (`reading`). Where they follow verdicts in neither
way, verdicts on more prompts choose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dapa.core.records import EMPTY, Mask, Rate, Unit
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
from dapa.search.confidence.reading import (
    TRUST,
    TRUST_SETS,
    CurveReader,
    Reader,
    StepReader,
    correlation,
    upper,
)

SHARES = (0.0, 0.4, 1.0)
"""Losses that are allowed one after the other, as shares of the margin."""
FEW = 12
"""At so many units or fewer, verdicts go on where log-odds stopped."""
FEWEST = 6
"""Sets over which mean log-odds are held against DSR, at least."""
FIRST_LOOK, FIRST_READ = 50, 12
"""Prompts of the first look at verdicts, and at log-odds; each further look doubles them. Fewer
replies than that are not written faster: a step reads every weight, for however many rows."""
CLEAR = 2.0
"""Standard errors by which a set must lose too much to be dropped before all prompts were read. In
120 searches of spread truths 2.5 left sets as large on average, for an eighth more readings."""


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
    read: Reader | None = None
    if at.readable:
        heard: Floats = (yield ReadMasks((at.full,), at.choose))[0]
        read = yield from _reader(at, heard, whole)
    if read is None:
        at.choose, at.more = (*at.choose, *at.more), ()
        whole = (yield JudgeMasks((at.full,), at.choose, "choose"))[0]
        rate, odds = float(whole.mean()), None
    else:
        at.read[at.units] = read.rate(heard)
        rate, odds = at.read[at.units].value, float(heard.mean())
    at.taken.append(
        ChosenSet(at.units, "verdicts" if read is None else "log-odds", 0.0, odds, rate)
    )
    for share in SHARES:
        yield from _backward(at, share, read)
    if read is not None and len(at.chain[-1]) <= FEW:
        yield from _backward(at, SHARES[-1], None)


def _reader(at: Choosing, heard: Floats, whole: Bools) -> Asking[Reader | None]:
    """Do log-odds follow verdicts, prompt by prompt or set by set? None where they do neither."""
    ranked = _sorted(at, at.units)
    half = Mask.of(ranked[len(ranked) // 2 :])
    odds: Floats = (yield ReadMasks((half,), at.choose))[0]
    said: Bools = (yield JudgeMasks((half,), at.choose, "choose"))[0]
    step = StepReader(heard, float(whole.mean()))
    x, y = np.concatenate([heard, odds]), np.concatenate([whole, said]).astype(float)
    r = correlation(x, y)
    if r is None or r >= TRUST:  # where nothing changes, nothing speaks against them
        high = None if r is None else upper(r, len(x))
        at.step = FittedStep(step.edge, step.width, r, high, True)
        return step
    at.step = FittedStep(step.edge, step.width, r, upper(r, len(x)), False)
    if len(at.units) <= FEW or len(probes := spread_out(at, ranked)) < FEWEST:
        return None  # verdicts of so few units cost no more than those of the probes
    read: Floats = yield ReadMasks(probes, at.choose)
    verdicts: Bools = yield JudgeMasks(probes, at.choose, "choose")
    means, rates = read.mean(1), verdicts.mean(1)
    over = correlation(means, rates)
    trusted = over is not None and over >= TRUST_SETS
    at.step = replace(at.step, trusted=trusted, sets=len(probes), over_sets=over)
    return CurveReader(heard, list(means), list(rates)) if trusted else None


def spread_out(at: Choosing, ranked: Sequence[Unit]) -> tuple[Mask, ...]:
    """Sets of many sizes, not all inside of one another: none, halves, three quarters, all."""
    n = len(ranked)
    quarters = [[u for i, u in enumerate(ranked) if i % 4 != left] for left in (0, 2)]
    some = [ranked[n // 2 :], ranked[: n // 2], ranked[::2], ranked[1::2], *quarters]
    return tuple(dict.fromkeys([EMPTY, *map(Mask.of, some), at.full]))


def _sorted(at: Choosing, units: Sequence[Unit]) -> tuple[Unit, ...]:
    """The least promising first; of equals, in the pair's order."""
    return tuple(sorted(units, key=lambda unit: at.prior[unit]))


def _backward(at: Choosing, share: float, read: Reader | None) -> Asking[None]:
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
    at: Choosing, rest: tuple[Unit, ...], share: float, read: Reader | None
) -> Asking[bool]:
    """Try one set; where it loses no more than is allowed, it is taken."""
    units = at.in_order(rest)  # as every set is told, whatever order it was reached in
    if read is not None:
        odds = yield from _heard(at, rest, read, read.allowed(share * at.margin))
        if odds is None:
            return False
        found = at.read[units] = read.rate(odds)
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
    for n in looks(len(at.choose), FIRST_LOOK):
        part = at.choose[seen:n]
        both: Bools = yield JudgeMasks((at.full, Mask.of(rest)), part, "choose")
        whole, ours, seen = np.append(whole, both[0]), np.append(ours, both[1]), n
        gained, lost = paired(ours, whole)
        change, error = (gained - lost) / n, math.sqrt(gained + lost + 1) / n
        if n == len(at.choose) or abs(change + share * at.margin) > 2 * error:
            within = change >= -share * at.margin - 1e-12
            return float(ours.mean()) if within else None
    return None


def _heard(
    at: Choosing, rest: tuple[Unit, ...], read: Reader, allowed: float
) -> Asking[Floats | None]:
    """The set's log-odds where it loses no more than `allowed`; a clear loss is seen early."""
    odds, seen = np.zeros(0), 0
    for n in looks(len(at.choose), FIRST_READ):
        more: Floats = (yield ReadMasks((Mask.of(rest),), at.choose[seen:n]))[0]
        odds, seen = np.append(odds, more), n
        lost = read.losses(odds)
        error = float(lost.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
        if n < len(at.choose) and lost.mean() - allowed > CLEAR * error:
            return None
    return odds if lost.mean() <= allowed + 1e-12 else None


def looks(n: int, first: int) -> list[int]:
    """`first`, twice, four times ... and n, of which none is left with under half of `first`."""
    found, at = list[int](), first
    while at <= n - first / 2:
        found.append(at)
        at *= 2
    return [*found, n]
