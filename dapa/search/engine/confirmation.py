"""The checks behind a result: its certificate, supersets, whole replies, canonical batches.

They ask the same schedulers as the search did and choose nothing; what they find stands in the
report. What the figures mean is `dapa.search.engine.closing`'s to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dapa.core.records import EMPTY, Mask, Rate, Removal, SearchResult, Unit
from dapa.search.algorithms.questions import Score, Settle, Steps
from dapa.search.engine import closing
from dapa.search.engine.contract import Split
from dapa.search.engine.ledger import Ledger
from dapa.search.engine.meter import Meter
from dapa.search.engine.report import Recheck, Violation
from dapa.search.engine.rules import SearchRules
from dapa.search.engine.scheduler import Scheduler


@dataclass(frozen=True)
class Further:
    """The splits that only confirm; None where there is none."""

    held_out: Split | None = None
    """Measure the result."""
    reserve: Split | None = None
    """Try fragile removals; never held-out prompts."""
    canonical: Split | None = None
    """The search prompts, decoded one mask at a time in a batch of one shape."""


class Confirming:
    """One search's closing checks, in their order: `close`, `confirm`, `hold_out`."""

    def __init__(
        self, scheduler: Scheduler, units: tuple[Unit, ...], further: Further, settings: SearchRules
    ) -> None:
        """Args: the search's own scheduler, all its units, further splits, the rules."""
        self._scheduler, self._units, self._further, self._settings = (
            scheduler,
            units,
            further,
            settings,
        )
        self._meter: Meter = scheduler.meter
        self._full = Mask.of(units)
        self.tried: tuple[Mask, ...] = ()
        """Supersets of the result."""
        self.violations: tuple[Violation, ...] = ()
        """Those that fail."""
        self.rechecks: tuple[Recheck, ...] = ()
        """The result by whole replies."""
        self.reshaped: tuple[Recheck, ...] = ()
        """The result in canonical batches."""
        self._reserved: Ledger | None = None

    def masks(self, found: int, *, behind_supersets: bool = False) -> int:
        """About how many masks are still to be judged, for a result of `found` units."""
        settings = self._settings
        first = settings.check_supersets and not behind_supersets
        singles = min(len(self._units) - found, closing.MOST_SINGLE)
        supersets = (singles + settings.supersets) if first else 0
        full_length = (3 + found) if settings.full_length else 0
        return supersets + full_length + (3 if self._further.held_out else 0)

    def close(self, result: SearchResult) -> Steps:
        """The found set in full; then its supersets, those that fail in full."""
        ledger, settings = self._scheduler.ledger, self._settings
        found = result.mask
        again = () if settings.memo else (EMPTY, self._full, *_removals(result))
        yield Score((found, *again), phase="certificate")  # without memo, these were forgotten
        if settings.check_supersets:
            tried = closing.supersets(found.units, self._units, settings.supersets, settings.seed)
            outcomes = yield Settle(tried)
            failed = tuple(o.mask for o in outcomes if not o.satisfied)
            yield Score(failed, phase="superset")
            self.tried = tried
            self.violations = closing.violations(ledger, found.units, failed)
        self._meter.closing_masks = self.masks(len(found), behind_supersets=True)
        return result

    def confirm(self, result: SearchResult) -> None:
        """Fragile removals on more prompts; the result at full length, and in canonical batches.

        Raises:
            Halted: It was stopped or a budget ran out.
        """
        ledger, further = self._scheduler.ledger, self._further
        self._try_fragile(result)
        if self._settings.full_length:
            roles = [("best", result.mask), ("student", EMPTY), ("full", self._full)]
            roles += [("removal", mask) for mask in _removals(result)]
            scheduler = Scheduler(self._scheduler.split, "full", self._settings, self._meter)
            scheduler.run(_score(tuple(dict.fromkeys(m for _, m in roles)), "full-length"))
            self.rechecks = closing.rechecks(roles, ledger, scheduler.ledger, ledger.need)
            if further.canonical is not None:
                self._reshape(further.canonical, roles, scheduler.ledger)
        self._meter.closing_masks = 3 if further.held_out else 0

    def _try_fragile(self, result: SearchResult) -> None:
        """The reserve moves p-values, never outcomes."""
        reserve, found = self._further.reserve, result.mask
        if reserve is None or not result.one_minimal:
            return
        lines = closing.removals(self._scheduler.ledger, found.units)
        masks = zip(_removals(result), lines, strict=True)
        fragile = [mask for mask, line in masks if not line.firm]
        if fragile:
            scheduler = Scheduler(reserve, "opening", self._settings, self._meter)
            scheduler.run(_score((found, *fragile), "reserve"))
            self._reserved = scheduler.ledger

    def _reshape(self, split: Split, roles: list[tuple[str, Mask]], before: Ledger) -> None:
        """The result once more, one mask after the other, in batches of the canonical shape."""
        lines, need = list[Recheck](), self._scheduler.ledger.need
        for role, mask in roles:
            scheduler = Scheduler(
                split, "full", self._settings, self._meter
            )  # a new one: in plain order
            scheduler.run(_score((mask,), "canonical"))
            lines += closing.rechecks([(role, mask)], before, scheduler.ledger, need)
        self.reshaped = tuple(lines)

    def hold_out(self, result: SearchResult) -> dict[str, Rate | None]:
        """The result on prompts that chose nothing. Halted where it was stopped."""
        split = self._further.held_out
        if split is None or not split.prompts:
            return {}
        scheduler = Scheduler(split, "full", self._settings, self._meter)
        scheduler.run(_score(tuple(dict.fromkeys((result.mask, self._full, EMPTY))), "held-out"))
        return {
            "held_out": scheduler.ledger.rate(result.mask),
            "full_held_out": scheduler.ledger.rate(self._full),
            "student_held_out": scheduler.ledger.rate(EMPTY),
        }

    def certificate(self, result: SearchResult) -> tuple[Removal, ...]:
        """Each single removal, with the reserve's word; empty where there is no certificate."""
        ledger = self._scheduler.ledger
        if not result.one_minimal or not ledger.full(result.mask):
            return ()
        return tuple(closing.removals(ledger, result.mask.units, self._reserved))


def _removals(result: SearchResult) -> tuple[Mask, ...]:
    """The certificate's masks; none where there is no certificate."""
    return closing.removal_masks(result.mask.units) if result.one_minimal else ()


def _score(masks: tuple[Mask, ...], phase: str) -> Any:
    """The smallest coroutine: one question."""
    return (yield Score(masks, phase=phase))
