"""Behind a result: how sure is it? Certificate, supersets, whole replies, canonical batches.

These checks ask the same split as the search did and choose nothing; what they find stands in the
report. Removals are firm or fragile, a superset may fail, an opening may refuse and then comply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from dapa.core.records import EMPTY, Mask, Rate, Removal, SearchResult, Unit
from dapa.core.statistics import holm, mcnemar_exact, wilson
from dapa.search.algorithms.questions import without
from dapa.search.engine.contract import Mode, Workload
from dapa.search.engine.ledger import Ledger
from dapa.search.engine.report import Recheck, Violation
from dapa.search.engine.scheduler import Scheduler
from dapa.search.settings import SearchRules

ALPHA = 0.05
"""Holm-adjusted p below which a removal is firm and a violation sure."""

MOST_SINGLE = 40
"""Supersets by one unit that are tried at most."""


@dataclass(frozen=True)
class Further:
    """The splits that only confirm; None where there is none."""

    held_out: Workload | None = None
    """Measure the result."""
    reserve: Workload | None = None
    """Try fragile removals; never held-out prompts."""
    canonical: Workload | None = None
    """The search prompts, decoded one mask at a time in a batch of one shape."""


class Confirmation:
    """One search's closing checks, to be made once; what a stop leaves out stays empty."""

    def __init__(
        self, scheduler: Scheduler, units: tuple[Unit, ...], further: Further, settings: SearchRules
    ) -> None:
        """Args: the search's own scheduler, all its units, further splits, the rules."""
        self._scheduler, self._meter = scheduler, scheduler.meter
        self._units, self._further, self._settings = units, further, settings
        self._full = Mask.of(units)
        self.tried: tuple[Mask, ...] = ()
        """Supersets of the result."""
        self.violations: tuple[Violation, ...] = ()
        """Those that fail."""
        self.rechecks: tuple[Recheck, ...] = ()
        """The result by whole replies."""
        self.reshaped: tuple[Recheck, ...] = ()
        """The result in canonical batches."""
        self.held_out: dict[str, Rate | None] = {}
        """The result on prompts that chose nothing."""
        self._reserved: Ledger | None = None

    def masks(self, found: int, *, behind_supersets: bool = False) -> int:
        """About how many masks are still to be judged, for a result of `found` units."""
        settings = self._settings
        first = settings.check_supersets and not behind_supersets
        singles = min(len(self._units) - found, MOST_SINGLE)
        larger = (singles + settings.supersets) if first else 0
        full_length = (3 + found) if settings.full_length else 0
        return larger + full_length + (3 if self._further.held_out else 0)

    def check(self, result: SearchResult) -> None:
        """Everything that is asked about a result.

        Raises:
            Halted: It was stopped or a budget ran out; what was found by then is kept.
        """
        self._try_supersets(result)
        self._meter.closing_masks = self.masks(len(result.units), behind_supersets=True)
        self._try_fragile(result)
        self._judge_whole(result)
        self._meter.closing_masks = 3 if self._further.held_out else 0
        self._hold_out(result)

    def _try_supersets(self, result: SearchResult) -> None:
        """The found set in full; then its supersets, those that fail in full."""
        scheduler, rules, found = self._scheduler, self._settings, result.mask
        again = () if rules.memo else (EMPTY, self._full, *_removals(result))
        scheduler.judge((found, *again), "certificate")  # without memo, these were forgotten
        if rules.check_supersets:
            tried = supersets(found.units, self._units, rules.supersets, rules.seed)
            failed = tuple(o.mask for o in scheduler.settle(tried) if not o.satisfied)
            scheduler.judge(failed, "superset")
            self.tried = tried
            self.violations = violations(scheduler.ledger, found.units, failed)

    def _try_fragile(self, result: SearchResult) -> None:
        """Fragile removals on more prompts: the reserve moves p-values, never outcomes."""
        reserve, found = self._further.reserve, result.mask
        if reserve is None or not result.one_minimal:
            return
        lines = removals(self._scheduler.ledger, found.units)
        masks = zip(_removals(result), lines, strict=True)
        fragile = [mask for mask, line in masks if not line.firm]
        if fragile:
            self._reserved = self._judged(reserve, (found, *fragile), "reserve", "opening")

    def _judge_whole(self, result: SearchResult) -> None:
        """The result at full length, and once more in batches of the canonical shape."""
        if not self._settings.full_length:
            return
        first, canonical = self._scheduler, self._further.canonical
        roles = [("best", result.mask), ("student", EMPTY), ("full", self._full)]
        roles += [("removal", mask) for mask in _removals(result)]
        whole = self._judged(first.split, tuple(mask for _, mask in roles), "full-length")
        self.rechecks = rechecks(roles, first.ledger, whole, first.ledger.need)
        if canonical is not None:
            lines = list[Recheck]()
            for role, mask in roles:  # one mask after the other, each in plain order
                alone = self._judged(canonical, (mask,), "canonical")
                lines += rechecks([(role, mask)], whole, alone, first.ledger.need)
            self.reshaped = tuple(lines)

    def _hold_out(self, result: SearchResult) -> None:
        split = self._further.held_out
        if split is None or not split.prompts:
            return
        roles = {"held_out": result.mask, "full_held_out": self._full, "student_held_out": EMPTY}
        ledger = self._judged(split, tuple(roles.values()), "held-out")
        self.held_out = {name: ledger.rate(mask) for name, mask in roles.items()}

    def _judged(
        self, split: Workload, masks: tuple[Mask, ...], phase: str, mode: Mode = "full"
    ) -> Ledger:
        """The verdicts of these masks on a split, which begins anew: in plain order."""
        scheduler = Scheduler(split, mode, self._settings, self._meter)
        scheduler.judge(dict.fromkeys(masks), phase)
        return scheduler.ledger

    def certificate(self, result: SearchResult) -> tuple[Removal, ...]:
        """Each single removal, with the reserve's word; empty where there is no certificate."""
        ledger = self._scheduler.ledger
        if not result.one_minimal or not ledger.full(result.mask):
            return ()
        return tuple(removals(ledger, result.mask.units, self._reserved))


def _removals(result: SearchResult) -> tuple[Mask, ...]:
    """The certificate's masks; none where there is no certificate."""
    return removal_masks(result.mask.units) if result.one_minimal else ()


def removal_masks(found: Sequence[Unit]) -> tuple[Mask, ...]:
    """The found set without each of its units in turn."""
    return tuple(Mask.of(without(found, (unit,))) for unit in found)


def removals(ledger: Ledger, found: Sequence[Unit], extra: Ledger | None = None) -> list[Removal]:
    """One line of the certificate a unit, firm where the loss is beyond chance.

    Args:
        ledger: Holds the found set and its removals, judged in full.
        found: The found set.
        extra: The same masks on further prompts, where some removal was fragile; a mask that it
            lacks keeps the first prompts' word alone. These prompts move p, never the outcome.
    """
    need = ledger.need
    assert need is not None, "a certificate without a target"
    masks, whole = removal_masks(found), Mask.of(found)
    p_values, further = [], []
    for mask in masks:
        lost, gained = ledger.discordant(whole, mask)
        further.append(0)
        if extra is not None:
            more = extra.discordant(whole, mask)
            lost, gained = lost + more[0], gained + more[1]
            further[-1] = len(extra[mask].labels) if mask in extra else 0
        p_values.append(mcnemar_exact(lost, gained))
    return [
        Removal(
            unit=unit,
            outcome=ledger.outcome(mask),
            p_value=p,
            flips=max(0, need - ledger[mask].defended),
            firm=p <= ALPHA,
            more=more,
        )
        for unit, mask, p, more in zip(found, masks, holm(p_values), further, strict=True)
    ]


def supersets(
    found: Sequence[Unit], units: Sequence[Unit], count: int, seed: int
) -> tuple[Mask, ...]:
    """Found + each single other unit (40 of them at most), then `count` random ones of other sizes.

    The full mask is not among them: the opening has judged it.
    """
    others, random = without(units, found), Random(seed)
    single = others
    if len(others) > MOST_SINGLE:  # blocks of neurons are many, and each costs every prompt
        drawn = set(random.sample(others, MOST_SINGLE))
        single = tuple(unit for unit in others if unit in drawn)
    masks = [Mask.of((*found, unit)) for unit in single]
    known = {*masks, Mask.of(units)}
    for _ in range(count if len(others) > 2 else 0):
        size = random.randint(2, len(others) - 1)
        mask = Mask.of((*found, *random.sample(others, size)))
        if mask not in known:
            known.add(mask)
            masks.append(mask)
    return tuple(masks)


def violations(
    ledger: Ledger, found: Sequence[Unit], failed: Sequence[Mask]
) -> tuple[Violation, ...]:
    """Supersets that fail, judged in full, each against the found set."""
    whole = Mask.of(found)
    p_values = holm([mcnemar_exact(*ledger.discordant(whole, mask)) for mask in failed])
    return tuple(
        Violation(without(mask.units, found), ledger.outcome(mask), p, p <= ALPHA)
        for mask, p in zip(failed, p_values, strict=True)
    )


def rechecks(
    roles: Sequence[tuple[str, Mask]], opening: Ledger, full: Ledger, need: int | None
) -> tuple[Recheck, ...]:
    """The same masks judged twice, such as by openings and at full length.

    Args:
        roles: What each mask is to the result, and the mask.
        opening: The earlier verdicts.
        full: The later ones; refuse-then-comply shows as `lost`.
        need: Defended prompts that satisfy.
    """
    assert need is not None, "a recheck without a target"
    lines = []
    for role, mask in roles:
        early, late = opening[mask].labels, full[mask].labels
        both = [p for p in late if p in early]
        lines.append(
            Recheck(
                role=role,
                mask=mask,
                rate=replace(wilson(full[mask].defended, full.asked), cut=full.cut(mask)),
                lost=sum(early[p] == "refusal" and late[p] != "refusal" for p in both),
                gained=sum(early[p] != "refusal" and late[p] == "refusal" for p in both),
                satisfied=full[mask].defended >= need,
            )
        )
    return tuple(lines)
