"""Behind a result: how sure is it? Certificate, supersets, whole replies, canonical batches.

These checks choose nothing; what they find stands in the report. A removal is firm or undecided, a
superset may fail, an opening may refuse and then comply: then the claim falls to what holds. Firm
is shown on the reserve alone, whose prompts chose nothing; where there is none, on the search's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from dapa.core.records import EMPTY, Mask, Rate, Removal, SearchResult, Trial, Unit
from dapa.core.statistics import holm, mcnemar_exact, wilson
from dapa.search.algorithms.questions import without
from dapa.search.engine.checked import Recheck, Smaller, Violation
from dapa.search.engine.claim import still_reach
from dapa.search.engine.contract import Mode, Workload
from dapa.search.engine.ledger import Ledger
from dapa.search.engine.scheduler import Scheduler
from dapa.search.settings import SearchRules

ALPHA = 0.05
"""Holm-adjusted p below which a removal is firm and a violation sure."""

PHASES = ("search", "certificate", "superset")
"""Phases of a log whose openings are of the search prompts."""

MOST_SMALLER = 3
"""Smaller sets that are measured at most: each costs every search and held-out prompt."""

MOST_SINGLE = 40
"""Supersets by one unit that are tried at most."""


@dataclass(frozen=True)
class Further:
    """The splits that only confirm; None where there is none."""

    held_out: Workload | None = None
    """Measure the result."""
    reserve: Workload | None = None
    """Show which removals are firm; never held-out prompts."""
    elsewhere: Sequence[tuple[str, Mask]] = ()
    """Sets that other searches of the same prompts found: (which search, set)."""
    canonical: Workload | None = None
    """The search prompts, decoded one mask at a time in a batch of one shape."""
    locked: Workload | None = None
    """Estimate the result once; they confirm nothing."""


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
        self.locked: dict[str, Rate | None] = {}
        """The result on locked prompts."""
        self.smaller: tuple[Smaller, ...] = ()
        """Sets of fewer units that satisfy too."""
        self._evidence: Ledger | None = None
        """What p-values rest on, where it is not the search's openings."""

    def masks(self, found: int, *, behind_supersets: bool = False) -> int:
        """About how many masks are still to be judged, for a result of `found` units."""
        settings = self._settings
        first = settings.check_supersets and not behind_supersets
        singles = min(len(self._units) - found, MOST_SINGLE)
        larger = (singles + settings.supersets) if first else 0
        full_length = (3 + found) if settings.full_length else 0
        reserve = (1 + found) if self._further.reserve else 0
        return larger + reserve + full_length + self._measuring

    @property
    def _measuring(self) -> int:
        """Masks that only measure the result."""
        return 3 * sum(
            split is not None for split in (self._further.held_out, self._further.locked)
        )

    def check(self, result: SearchResult) -> None:
        """Everything that is asked about a result.

        Raises:
            Halted: It was stopped or a budget ran out; what was found by then is kept.
        """
        self._try_supersets(result)
        self._meter.closing_masks = self.masks(len(result.units), behind_supersets=True)
        self._ask_reserve(result)
        self._judge_whole(result)
        self._meter.closing_masks = self._measuring
        self.held_out = self._measured(self._further.held_out, result, "held_out", "held-out")
        self.locked = self._measured(self._further.locked, result, "locked", "locked")
        self._meter.closing_masks = 0
        self._try_smaller(result)

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

    def _ask_reserve(self, result: SearchResult) -> None:
        """Found set and removals on prompts that chose nothing: they move p, never outcomes."""
        reserve = self._further.reserve
        if reserve is None or not result.one_minimal:
            return
        mode: Mode = "full" if self._settings.full_length else "opening"
        masks = (result.mask, *_removals(result))
        self._evidence = self._judged(reserve, masks, "reserve", mode)

    def _judge_whole(self, result: SearchResult) -> None:
        """The result at full length, and once more in batches of the canonical shape."""
        if not self._settings.full_length:
            return
        first, canonical = self._scheduler, self._further.canonical
        roles = [("best", result.mask), ("student", EMPTY), ("full", self._full)]
        roles += [("removal", mask) for mask in _removals(result)]
        whole = self._judged(first.split, tuple(mask for _, mask in roles), "full-length")
        self.rechecks = rechecks(roles, first.ledger, whole, first.ledger.need)
        if self._further.reserve is None:
            self._evidence = whole
        if canonical is not None:
            lines = list[Recheck]()
            for role, mask in roles:  # one mask after the other, each in plain order
                alone = self._judged(canonical, (mask,), "canonical")
                lines += rechecks([(role, mask)], whole, alone, first.ledger.need)
            self.reshaped = tuple(lines)

    def _measured(
        self, split: Workload | None, result: SearchResult, name: str, phase: str
    ) -> dict[str, Rate | None]:
        """Result, full mask and student by whole replies on prompts that chose nothing."""
        if split is None or not split.prompts:
            return {}
        roles = {name: result.mask, f"full_{name}": self._full, f"student_{name}": EMPTY}
        ledger = self._judged(split, tuple(roles.values()), phase)
        return {role: ledger.rate(mask) for role, mask in roles.items()}

    def _try_smaller(self, result: SearchResult) -> None:
        """Sets of fewer units that were seen to satisfy, on the search prompts and held out."""
        scheduler, split = self._scheduler, self._further.held_out
        if self._settings.max_kl is not None:
            return  # what was set aside for its KL is no offer
        seen = {mask: "this search" for mask in fewer(self._meter.trials, result.mask)}
        for source, mask in self._further.elsewhere:
            if len(mask) < len(result.mask):
                seen.setdefault(mask, source)
        chosen = sorted(seen, key=lambda mask: (len(mask), mask.key))[:MOST_SMALLER]
        if not chosen:
            return
        outcomes = scheduler.judge(chosen, "smaller")
        kept = [outcome for outcome in outcomes if outcome.satisfied]
        rates: dict[Mask, Rate] = {}
        if split is not None and split.prompts and kept:
            masks = tuple(outcome.mask for outcome in kept)
            ledger = self._judged(split, masks, "held-out")
            level = 1 - ALPHA / len(kept)
            rates = {
                m: replace(wilson(ledger[m].defended, ledger.asked, level), cut=ledger.cut(m))
                for m in masks
            }
        self.smaller = tuple(
            Smaller(outcome, seen[outcome.mask], rates.get(outcome.mask), len(kept))
            for outcome in kept
        )

    def _judged(
        self, split: Workload, masks: tuple[Mask, ...], phase: str, mode: Mode = "full"
    ) -> Ledger:
        """The verdicts of these masks on a split, which begins anew: in plain order."""
        scheduler = Scheduler(split, mode, self._settings, self._meter)
        scheduler.judge(dict.fromkeys(masks), phase)
        return scheduler.ledger

    def certificate(self, result: SearchResult) -> tuple[Removal, ...]:
        """Each single removal, firm or undecided; empty where there is no certificate."""
        ledger, found = self._scheduler.ledger, result.mask.units
        if not result.one_minimal or not ledger.full(result.mask):
            return ()
        basis = "reserve" if self._evidence is not None and self._further.reserve else "search"
        whole = self._evidence is not None and self._settings.full_length
        against = still_reach(found, self.rechecks)
        lines = removals(ledger, found, self._evidence, basis, whole)
        return tuple(replace(r, firm=r.firm and r.unit not in against) for r in lines)


def _removals(result: SearchResult) -> tuple[Mask, ...]:
    """The certificate's masks; none where there is no certificate."""
    return removal_masks(result.mask.units) if result.one_minimal else ()


def removal_masks(found: Sequence[Unit]) -> tuple[Mask, ...]:
    """The found set without each of its units in turn."""
    return tuple(Mask.of(without(found, (unit,))) for unit in found)


def removals(
    ledger: Ledger,
    found: Sequence[Unit],
    evidence: Ledger | None = None,
    basis: str = "search",
    whole: bool = False,
) -> list[Removal]:
    """One line of the certificate a unit, firm where the loss is beyond chance.

    Args:
        ledger: Holds the found set and its removals, judged in full.
        found: The found set.
        evidence: The same masks on the prompts, or by the replies, that p rests on alone; the
            ledger itself if None. It moves p, never the outcome.
        basis: What the evidence is of, `reserve` or `search`.
        whole: Is it of whole replies?
    """
    need, shown = ledger.need, evidence or ledger
    assert need is not None, "a certificate without a target"
    masks, all_of_it = removal_masks(found), Mask.of(found)
    counts = [shown.discordant(all_of_it, mask) for mask in masks]
    p_values = holm([mcnemar_exact(*count) for count in counts])
    return [
        Removal(
            unit=unit,
            outcome=ledger.outcome(mask),
            p_value=p,
            flips=max(0, need - ledger[mask].defended),
            firm=p <= ALPHA and lost > gained,  # McNemar is two-sided: a gain is no loss
            more=shown.asked if basis == "reserve" else 0,
            basis=basis,
            whole=whole,
        )
        for unit, mask, p, (lost, gained) in zip(found, masks, p_values, counts, strict=True)
    ]


def fewer(trials: Sequence[Trial], found: Mask) -> tuple[Mask, ...]:
    """Masks of a log with fewer units than the found one that satisfied, by openings."""
    return tuple(
        dict.fromkeys(
            t.outcome.mask
            for t in trials
            if t.phase in PHASES and t.outcome.satisfied and 0 < len(t.outcome.mask) < len(found)
        )
    )


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
