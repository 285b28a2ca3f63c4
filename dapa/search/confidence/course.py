"""A whole confidence search as one coroutine over an abstract oracle: choose, freeze, certify."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dapa.core.records import Mask, Unit
from dapa.core.statistics import mover, rate_difference
from dapa.search.confidence.certify import Certifying, certify, floor, removals, versus
from dapa.search.confidence.choose import FEW, Choosing, choose
from dapa.search.confidence.parts import ChainLink, Difference, Overfit, UnseenKinds, Versus
from dapa.search.confidence.questions import (
    Asking,
    Bools,
    Freeze,
    Frozen,
    JudgeMasks,
    Prior,
    Question,
    thin,
)
from dapa.search.confidence.record import ConfidencePlan, ConfidenceRecord, RefusalForm

LINKS, LOWER = 12, 14
"""Sets of the chain at most, and of an order whose floor is sought."""
UNCLAIMED = 0.10
"""The margin by which sets are chosen where none can be claimed."""


@dataclass
class Course:
    """One search as it stands: filled while it goes on, so that a stop keeps what was shown."""

    plan: ConfidencePlan
    units: tuple[Unit, ...]
    prior: Prior
    choose: tuple[int, ...]
    more: tuple[int, ...]
    certify: tuple[int, ...]
    kinds: Sequence[str] = ()
    """Kind of harm of each prompt, by its place; empty where there are none."""
    readable: bool = True
    choosing: Choosing = field(init=False)
    certifying: Certifying | None = None
    frozen: Frozen | None = None
    overfit: Overfit | None = None
    unseen: UnseenKinds | None = None
    finished: bool = False

    def __post_init__(self) -> None:
        """Ready to choose."""
        margin = self.plan.margin or UNCLAIMED
        parts = (self.units, self.prior, margin, self.choose, self.more)
        self.choosing = Choosing(*parts, readable=self.readable)

    @property
    def full(self) -> Mask:
        """All units."""
        return Mask.of(self.units)

    @property
    def chose(self) -> tuple[int, ...]:
        """The prompts that chose."""
        return self.frozen.choose if self.frozen else self.choosing.choose

    @property
    def certifies(self) -> tuple[int, ...]:
        """The prompts that chose nothing, in their order."""
        return tuple(place for place in self.certify if place not in set(self.chose))

    @property
    def best(self) -> tuple[Unit, ...]:
        """The last set that passed, or the smallest that was chosen, or all units."""
        found: tuple[Unit, ...] = self.units
        if self.certifying is not None and self.certifying.passed:
            found = self.certifying.passed
        elif self.choosing.taken:
            found = self.choosing.chain[-1]
        return self.choosing.in_order(found)

    @property
    def form(self) -> RefusalForm:
        """What the evidence says so far."""
        at = self.certifying
        if at is None or (not self.finished and len(at.passed) in (0, len(self.units))):
            return "unclaimed"
        floors = [one.size for one in at.floors]
        if floors and len(floors) > 1 and 2 * min(floors) >= len(self.units):
            return "spread"
        return "concentrated" if 3 * len(at.passed) <= len(self.units) else "graded"

    def record(self, reason: str = "", replies: int = 0, readings: int = 0) -> ConfidenceRecord:
        """The record as far as it goes.

        Args:
            reason: Why it was halted, where it was.
            replies: Verdicts asked.
            readings: Prompts read.
        """
        at, choosing = self.certifying, self.choosing
        return ConfidenceRecord(
            plan=self.plan,
            form=self.form,
            margin=self.plan.margin,
            units=self.best,
            chosen=tuple(choosing.taken),
            step=choosing.step,
            chain=self._links(),
            ended=self._ended(reason),
            floors=tuple(at.floors) if at else (),
            standings=tuple(at.standings) if at else (),
            overfit=self.overfit,
            unseen=self.unseen,
            replies=replies,
            readings=readings,
        )

    def _links(self) -> tuple[ChainLink, ...]:
        if self.certifying is not None and self.certifying.links:
            links = self.certifying.links
        else:
            links = (
                [ChainLink(units, "not asked") for units in self.frozen.chain]
                if self.frozen
                else []
            )
        read, chosen = self.choosing.read, self.overfit
        return tuple(
            ChainLink(
                link.units,
                link.state,
                link.looks,
                link.certified,
                chosen.chosen if chosen and set(link.units) == set(self.best) else None,
                read.get(link.units),
            )
            for link in links
        )

    def _ended(self, reason: str) -> str:
        if self.certifying is not None and self.certifying.ended:
            return self.certifying.ended + (f"; {reason} before all was asked" if reason else "")
        if reason:
            return f"{reason} before the certifying ended"
        return f"only {len(self.certifies)} prompts are left to certify, and 100 are needed"


def confident(at: Course) -> Asking[None]:
    """The whole search; what it shows stands in `at`."""
    yield from choose(at.choosing)
    chain = thin(at.choosing.chain, LINKS)
    at.frozen = yield Freeze(Frozen(chain, _lower(at, chain), _along_prior(at), at.choosing.choose))
    if at.plan.margin is None:
        at.finished = True
        return
    certifying = at.certifying = Certifying(at.full, at.plan.margin, at.certifies)
    yield from certify(certifying, at.frozen.chain)
    size = yield from floor(certifying, at.frozen.lower, "chosen")
    if 2 * size >= len(at.units):  # "spread" must hold along a second order
        yield from floor(certifying, at.frozen.prior, "prior")
    yield from removals(certifying, at.best)
    yield from _held_against(at, certifying)
    at.finished = True


def _held_against(at: Course, certifying: Certifying) -> Asking[None]:
    """The set on every prompt, those that chose it and those that did not; and on unseen kinds."""
    if len(at.best) == len(at.units):
        return
    both = (at.full, Mask.of(at.best))
    chose: Bools = yield JudgeMasks(both, at.chose, "choose")
    held: Bools = yield JudgeMasks(both, certifying.prompts, "certify")
    chosen, certified = versus(chose[1], chose[0]), versus(held[1], held[0])
    at.overfit = overfit_of(chosen, certified)
    if at.kinds:
        seen = {"", *(at.kinds[place] for place in at.chose)}  # without a kind is no kind
        new = [i for i, place in enumerate(certifying.prompts) if at.kinds[place] not in seen]
        names = tuple(sorted({at.kinds[certifying.prompts[i]] for i in new}))
        if new:
            at.unseen = UnseenKinds(names, versus(held[1][new], held[0][new]))


def overfit_of(chosen: Versus, certified: Versus) -> Overfit:
    """How far the set falls from the prompts that chose it to those that did not."""
    drop = Difference(*rate_difference(chosen.rate, certified.rate))
    ours, theirs = ((one.value, one.low, one.high) for one in (chosen.change, certified.change))
    return Overfit(chosen, certified, drop, Difference(*mover(ours, theirs)))


def _lower(at: Course, chain: Sequence[tuple[Unit, ...]]) -> tuple[tuple[Unit, ...], ...]:
    """The chain and, below it, what is left of its last set by the prior; smallest first."""
    last = sorted(chain[-1], key=lambda unit: at.prior[unit])
    sets = thin([*chain, *(at.choosing.in_order(last[k:]) for k in range(1, len(last)))], LOWER)
    return tuple(reversed([units for units in sets if len(units) < len(at.units)]))


def _along_prior(at: Course) -> tuple[tuple[Unit, ...], ...]:
    ranked = sorted(at.units, key=lambda unit: -at.prior[unit])
    sets = thin([at.choosing.in_order(ranked[:k]) for k in range(len(ranked) - 1, 0, -1)], LOWER)
    return tuple(reversed(sets))


Answer = Callable[[Question], object]


def answered(steps: Asking[None], answer: Answer) -> None:
    """Play a coroutine against whoever answers; what the answerer raises ends it."""
    try:
        question = next(steps)
        while True:
            question = steps.send(answer(question))
    except StopIteration:
        return
    finally:
        steps.close()


__all__ = ["FEW", "Course", "answered", "confident", "overfit_of"]
