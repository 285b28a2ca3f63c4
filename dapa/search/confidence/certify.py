"""Certifying a frozen chain, on prompts that chose nothing.

Each link is held against all units by Tango's paired test of noninferiority, the largest first,
each at the whole alpha, until one is not shown; the last that was is the set. No spending over
links: an error needs the first truly inferior link to pass (fixed sequence: Maurer, Hothorn and
Lehmacher 1995; "Learn then test", arXiv 2110.01052). Two looks share alpha. The floor is the mirror
image, the smallest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dapa.core.records import Mask, Unit
from dapa.core.statistics import p_inferior, p_noninferior
from dapa.search.confidence.parts import (
    CertifyLook,
    ChainLink,
    SizeFloor,
    Standing,
    UnitStanding,
    Versus,
)
from dapa.search.confidence.questions import Asking, Bools, JudgeMasks, Phase, paired

ALPHA = 0.05
HALF, ALL = 0.1, 0.9
"""Shares of alpha of the look at half of the prompts and of the one at all."""
GIVE_UP = 0.1
"""A link whose mirror p falls to this is given up; that costs no error."""
LOSES = (0.2, 0.2, 0.6)
"""Shares of alpha of the looks at a quarter, half and all, where a loss is to be shown."""
TOGETHER = 4
"""Sets of an order whose first look is asked at once."""
PASSED: Standing = "passed"
FAILED: Standing = "failed"
GAVE_UP: Standing = "gave up"
FUTILE, WEAK = 0.5, 0.25
"""No loss is looked for any longer where p is above this; that of one unit among several."""


@dataclass
class Certifying:
    """The certifying as it stands: filled while it goes on."""

    full: Mask
    margin: float
    prompts: tuple[int, ...]
    """In an order whose every beginning is a fair sample."""
    links: list[ChainLink] = field(default_factory=list)
    passed: tuple[Unit, ...] = ()
    """The last set that passed."""
    ended: str = ""
    floors: list[SizeFloor] = field(default_factory=list)
    standings: list[UnitStanding] = field(default_factory=list)

    @property
    def steps(self) -> tuple[int, int, int]:
        """How many prompts a quarter, half and all of them are."""
        n = len(self.prompts)
        return n // 4, n // 2, n


def certify(at: Certifying, chain: Sequence[tuple[Unit, ...]]) -> Asking[None]:
    """Hold the links against all units, the largest first; `chain[0]` is all units."""
    at.passed = chain[0]
    at.links = [ChainLink(units, "not asked") for units in chain]
    for i, units in enumerate(chain[1:], start=1):
        link = yield from _held(at, units)
        at.links[i] = link
        if link.state != PASSED:
            word = "was given up" if link.state == GAVE_UP else "was not shown to hold"
            at.ended = f"the set of {len(units)} unit{'s' * (len(units) != 1)} {word}"
            return
        at.passed = units
    at.ended = "every set of the chain was shown to hold"


def _held(at: Certifying, units: tuple[Unit, ...]) -> Asking[ChainLink]:
    """One link: at a quarter it can only be given up, at half and all it can pass."""
    told, seen, state = list[CertifyLook](), None, FAILED
    for n in at.steps:
        seen = (yield from _versus(at, (Mask.of(units),), n, "certify"))[0]
        told.append(_look(at, seen))
        level = {at.steps[1]: HALF, at.steps[2]: ALL}.get(n, 0.0) * ALPHA
        if told[-1].p_holds <= level:
            state = PASSED
            break
        if told[-1].p_loses <= GIVE_UP:
            state = GAVE_UP
            break
    return ChainLink(units, state, tuple(told), seen)


def floor(at: Certifying, order: Sequence[tuple[Unit, ...]], name: str) -> Asking[int]:
    """The size up to which an order, smallest first, is shown to lose more than the margin."""
    size, tried = 0, list[ChainLink]()
    for i, units in enumerate(order):
        if i % TOGETHER == 0:  # one batch of them is written in little more time than one alone
            some = tuple(Mask.of(units) for units in order[i : i + TOGETHER])
            yield from _versus(at, some, at.steps[0], "floor")
        asked = (Mask.of(units),)
        ((shown, _, told, seen),) = yield from _loses(at, asked, ALPHA, "floor", FUTILE)
        tried.append(ChainLink(units, "failed" if shown else "not asked", told, seen))
        if not shown:
            break
        size = len(units)
    at.floors.append(SizeFloor("prior" if name == "prior" else "chosen", size, tuple(tried)))
    return size


def removals(at: Certifying, units: tuple[Unit, ...]) -> Asking[None]:
    """Which units of the set are firm; Bonferroni over them, at half of alpha."""
    rest = tuple(Mask.of(other for other in units if other != unit) for unit in units)
    found = yield from _loses(at, rest, ALPHA / 2 / max(len(units), 1), "removals", WEAK)
    at.standings = [
        UnitStanding(unit, shown, p, seen)
        for unit, (shown, p, _, seen) in zip(units, found, strict=True)
    ]


_Loss = tuple[bool, float, tuple[CertifyLook, ...], Versus]


def _loses(
    at: Certifying, masks: tuple[Mask, ...], alpha: float, phase: Phase, futile: float
) -> Asking[list[_Loss]]:
    """Is each shown to lose more than the margin? Three looks; all masks of a look in one batch."""
    found: dict[Mask, _Loss] = {}
    told: dict[Mask, tuple[CertifyLook, ...]] = dict.fromkeys(masks, ())
    open_ = tuple(dict.fromkeys(masks))
    for n, share in zip(at.steps, LOSES, strict=True):
        if not open_:
            break
        seen = yield from _versus(at, open_, n, phase)
        for mask, one in zip(open_, seen, strict=True):
            look = _look(at, one)
            told[mask] = (*told[mask], look)
            p = min(1.0, look.p_loses / share)
            found[mask] = (p <= alpha, p, told[mask], one)
        open_ = tuple(m for m in open_ if not found[m][0] and told[m][-1].p_loses <= futile)
    return [found[mask] for mask in masks]


def _look(at: Certifying, seen: Versus) -> CertifyLook:
    counts = (seen.gained, seen.lost, seen.n)
    holds, loses = p_noninferior(*counts, at.margin), p_inferior(*counts, at.margin)
    return CertifyLook(seen.n, seen.gained, seen.lost, holds, loses)


def _versus(at: Certifying, masks: tuple[Mask, ...], n: int, phase: Phase) -> Asking[list[Versus]]:
    """Each mask beside all units on the first n prompts."""
    said: Bools = yield JudgeMasks((at.full, *masks), at.prompts[:n], phase)
    return [versus(row, said[0]) for row in said[1:]]


def versus(ours: Bools, whole: Bools) -> Versus:
    """A set beside all units, from the verdicts of both."""
    gained, lost = paired(ours, whole)
    return Versus(len(ours), int(np.sum(ours)), int(np.sum(whole)), gained, lost)
