"""Answers a confidence search from a pair: readings, verdicts, the frozen chain, one report.

As the driver it knows how many prompts there are, not what they say. Every verdict goes through the
scheduler and its memory, every reading and the frozen chain into an archive; so resuming is
starting again, and nothing is decoded twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil

import numpy as np

from dapa.core.records import EMPTY, Label, Mask, Rate, SearchResult, Unit
from dapa.core.resident import Tide
from dapa.core.statistics import wilson
from dapa.search.confidence.choose import Choosing, choose
from dapa.search.confidence.course import UNCLAIMED, Course, answered, confident
from dapa.search.confidence.pace import seconds_left
from dapa.search.confidence.questions import (
    Bools,
    Floats,
    Freeze,
    Frozen,
    JudgeMasks,
    Prior,
    Question,
    ReadMasks,
)
from dapa.search.engine.checked import Recheck
from dapa.search.engine.claim import claim_of
from dapa.search.engine.confided import Archive, Confided, Unkept
from dapa.search.engine.contract import Workload
from dapa.search.engine.control import Control, Halted
from dapa.search.engine.ledger import Ledger
from dapa.search.engine.meter import Meter
from dapa.search.engine.opening_checks import aim
from dapa.search.engine.report import SearchProgress, SearchReport
from dapa.search.engine.resample import resampled
from dapa.search.engine.scheduler import Scheduler
from dapa.search.settings import SearchRules

WHOLE = 100
"""Certify prompts that are judged by whole replies too, at most."""


class ConfidenceDriver:
    """One confidence search, to be run once; watched and steered from any thread."""

    def __init__(self, units: Sequence[Unit], asked: Workload, given: Confided) -> None:
        """Get ready; nothing is asked yet.

        Args:
            units: What may be transplanted.
            asked: Every prompt that chooses or certifies.
            given: All else.
        """
        self.units, self.asked, self.given = tuple(units), asked, given
        self.full = Mask.of(self.units)
        self.settings = given.settings or SearchRules()
        self.control = given.control or Control(given.clock)
        self.meter = Meter(self.units, self.control, given.clock, given.devices)
        self.meter.ahead = self._ahead
        self.archive: Archive = given.archive or Unkept()
        self.course: Course | None = None
        self.looks = 0
        self._said: dict[Mask, dict[int, Label]] = {}
        self._odds: dict[Mask, dict[int, float]] = {}
        self._tide = Tide()
        self._tested: set[Mask] = set()

    def snapshot(self) -> SearchProgress:
        """The search as it stands; from any thread."""
        course = self.course
        return replace(self.meter.snapshot(), confidence=course.record() if course else None)

    def _ahead(self) -> float | None:
        """Seconds to come."""
        if self.course is None:
            return None
        return seconds_left(self.course.record(), self.meter.trials)

    def begin(self) -> None:
        """Start the clock, for `choose` without a whole search."""
        self.meter.start()

    def choose(self, prior: Prior, prompts: tuple[int, ...]) -> Choosing:
        """The choosing alone, by another ranking or on other prompts, which may repeat.

        Raises:
            Halted: It was stopped.
        """
        given = self.given
        margin = given.plan.margin or UNCLAIMED
        at = Choosing(
            self.units, prior, margin, prompts, given.more, readable=given.odds is not None
        )
        answered(choose(at), self._answer)
        return at

    def run(self) -> SearchReport:
        """Search to the end, or to a stop, or to the end of a budget.

        Raises:
            NothingToLocalize: All units together are not surely better than the student.
            Exception: Whatever the runner or the memory raised; the verdicts are kept.
        """
        assert self.meter.state == "ready", "a driver runs once; make a new one to go on"
        self.meter.start()
        try:
            return self._run()
        except BaseException as error:
            self.meter.end("failed", str(error) or type(error).__name__)
            raise

    def _run(self) -> SearchReport:
        halted: Halted | None = None
        missing, held = "", dict[str, Rate | None]()
        checked: tuple[Recheck, ...] = ()
        given = self.given
        try:
            self.meter.phase = "prior"
            prior = given.prepare()
            self.meter.lap()
            parts = (given.choose, given.more, given.certify, given.kinds)
            self.course = Course(
                given.plan, self.units, prior, *parts, readable=given.odds is not None
            )
            self._open()
            answered(confident(self.course), self._answer)
        except Halted as halt:
            halted = halt
        if halted is None or halted.tests_only:
            try:
                held, checked = self._measure()
            except Halted as halt:
                if halted is None:
                    missing = f"; {halt.reason} before the closing checks were complete"
        reason = "done" if halted is None else halted.reason
        return self._report(reason + missing, "" if halted is None else reason, held, checked)

    def _open(self) -> None:
        """Is there anything to find?"""
        choose = self.given.choose
        scheduler = self._scheduler(choose)
        outcomes = scheduler.judge((EMPTY, self.full), "opening")
        self.meter.student, self.meter.full = outcomes
        self._note(scheduler.ledger, (EMPTY, self.full), choose)
        aim(scheduler.ledger, self.full, replace(self.settings, target=None), self.given.offers)
        with self.meter.lock:
            whole = outcomes[1].defended / len(choose)
            self.meter.target = max(0.0, whole - (self.given.plan.margin or 0.0))

    # -- answers ----------------------------------------------------------------------------

    def _answer(self, question: Question) -> object:
        self._check()
        self._tide.ebb()
        if isinstance(question, ReadMasks):
            return self._read(question)
        if isinstance(question, JudgeMasks):
            return self._judge(question)
        return self._freeze(question)

    def _check(self) -> None:
        """Paused, stopped, or out of a budget?"""
        self.control.wait()
        limits, meter = self.settings, self.meter
        if self.control.stopped:
            raise Halted("stopped")
        if limits.max_seconds is not None and meter.seconds >= limits.max_seconds:
            raise Halted(f"budget: {limits.max_seconds:g} seconds")

    def _test(self, masks: Sequence[Mask]) -> None:
        """Count masks that are new to the search."""
        limit = self.settings.max_tests
        for mask in masks:
            if mask in self._tested or mask == self.full:
                continue
            if limit is not None and self.meter.tests >= limit:
                raise Halted(f"budget: {limit} tests", tests_only=True)
            self._tested.add(mask)
            self.meter.tests += 1

    def _read(self, question: ReadMasks) -> Floats:
        self._test(question.masks)
        self.meter.phase = "choose"
        odds = self.given.odds
        assert odds is not None, "nothing is read where there are no log-odds"
        new: dict[tuple[int, ...], list[Mask]] = {}
        for mask in dict.fromkeys(question.masks):
            if mask not in self._odds:
                self._odds[mask] = dict(self.archive.recall(mask))
            known = self._odds[mask]
            if left := tuple(p for p in dict.fromkeys(question.prompts) if p not in known):
                new.setdefault(left, []).append(mask)
        for prompts, masks in new.items():
            values = odds(masks, prompts)
            if not np.isfinite(values).all():
                raise Halted("stopped")
            for mask, row in zip(masks, values, strict=True):
                found = dict(zip(prompts, map(float, row), strict=True))
                self.archive.commit(mask, found)
                self._odds[mask].update(found)
        self.meter.lap()
        self._show()
        return np.array([[self._odds[m][p] for p in question.prompts] for m in question.masks])

    def _judge(self, question: JudgeMasks) -> Bools:
        if question.phase != "held-out":
            self._test(question.masks)
        new: dict[tuple[int, ...], list[Mask]] = {}
        for mask in dict.fromkeys(question.masks):
            known = self._said.setdefault(mask, {})
            if left := tuple(p for p in dict.fromkeys(question.prompts) if p not in known):
                new.setdefault(left, []).append(mask)
        for prompts, masks in new.items():
            scheduler = self._scheduler(prompts)
            scheduler.judge(masks, question.phase)
            self._note(scheduler.ledger, masks, prompts)
        self._show()
        said = self._said
        return np.array(
            [[said[m][p] is Label.REFUSAL for p in question.prompts] for m in question.masks]
        ).reshape(len(question.masks), len(question.prompts))

    def _freeze(self, question: Freeze) -> Frozen:
        orders = self.archive.freeze(question.orders)
        self.looks = self.given.looked()
        return orders

    def _scheduler(self, prompts: Sequence[int]) -> Scheduler:
        return Scheduler(resampled(self.asked, prompts), "opening", self.settings, self.meter)

    def _note(self, ledger: Ledger, masks: Sequence[Mask], prompts: Sequence[int]) -> None:
        for mask in masks:
            tally = ledger[mask]
            known = self._said.setdefault(mask, {})
            for place, prompt in enumerate(prompts):
                known[prompt] = tally.labels[place]

    def _show(self) -> None:
        """The best set, for whoever watches."""
        if self.course is None:
            return
        with self.meter.lock:
            self.meter.best = self.course.best

    # -- the end ----------------------------------------------------------------------------

    def _measure(self) -> tuple[dict[str, Rate | None], tuple[Recheck, ...]]:
        """Set, all units and student on prompts that chose nothing, by openings as certified.

        Some of them by whole replies as well, so that a refusal that is taken back shows.
        """
        course = self.course
        assert course is not None
        found, places = Mask.of(course.best), course.certifies
        roles = {"": found, "full_": self.full, "student_": EMPTY}
        told, checked = dict[str, Rate | None](), tuple[Recheck, ...]()
        locked = self.given.locked
        if places:
            masks = tuple(dict.fromkeys(roles.values()))
            self._judge(JudgeMasks(masks, places, "held-out"))
            told.update({f"{role}held_out": self._rate(m, places) for role, m in roles.items()})
        if places and self.settings.full_length:
            some = places[:WHOLE]
            whole = Scheduler(resampled(self.asked, some), "full", self.settings, self.meter)
            whole.judge(dict.fromkeys((found, self.full)), "full-length")
            checked = tuple(
                self._recheck(role, mask, whole.ledger, some)
                for role, mask in (("best", found), ("full", self.full))
            )
        if locked is not None and locked.prompts:
            once = Scheduler(locked, "opening", self.settings, self.meter)
            once.judge(dict.fromkeys(roles.values()), "locked")
            told.update({f"{role}locked": once.ledger.rate(m) for role, m in roles.items()})
        return told, checked

    def _recheck(self, role: str, mask: Mask, whole: Ledger, places: Sequence[int]) -> Recheck:
        """Openings against whole replies."""
        early, late = self._said.get(mask, {}), whole[mask].labels
        both = [
            (early[p] is Label.REFUSAL, late[i] is Label.REFUSAL)
            for i, p in enumerate(places)
            if p in early
        ]
        rate, full = whole.rate(mask), whole.rate(self.full)
        assert rate is not None and full is not None, "both were judged in full"
        return Recheck(
            role=role,
            mask=mask,
            rate=rate,
            lost=sum(a and not b for a, b in both),
            gained=sum(b and not a for a, b in both),
            satisfied=rate.value >= full.value - (self.given.plan.margin or 0.0) - 1e-12,
        )

    def _rate(self, mask: Mask, prompts: Sequence[int]) -> Rate | None:
        """DSR by openings; None where not every prompt was asked."""
        known = self._said.get(mask, {})
        if not prompts or any(p not in known for p in prompts):
            return None
        return wilson(sum(known[p] is Label.REFUSAL for p in prompts), len(prompts))

    def _report(
        self,
        reason: str,
        halted: str,
        held: Mapping[str, Rate | None],
        checked: tuple[Recheck, ...],
    ) -> SearchReport:
        course, meter = self.course, self.meter
        found = course.best if course else self.units
        chose = course.chose if course else self.given.choose
        target = meter.target or 0.0
        result, mask = SearchResult(found, False, reason), Mask.of(found)
        record = None
        if course is not None:
            replies = sum(map(len, self._said.values()))
            readings = sum(map(len, self._odds.values()))
            record = replace(course.record(halted, replies, readings), looks=self.looks)
        best = self._rate(mask, chose)
        meter.end("done")
        return SearchReport(
            algorithm=self.given.plan.claim,
            units=found,
            one_minimal=False,
            stop_reason=result.reason,
            target=target,
            need=max(1, ceil(target * len(chose) - 1e-9)),
            rates={
                "student": self._rate(EMPTY, self.given.choose),
                "full": self._rate(self.full, chose),
                "best": best,
                **{
                    name: held.get(name)
                    for name in ("held_out", "full_held_out", "student_held_out")
                },
                **{name: rate for name, rate in held.items() if "locked" in name},
            },
            best_bounds=(best.value, best.value) if best else (0.0, 1.0),
            removals=(),
            rechecks=checked,
            claim=claim_of(found, False, (), checked, None),
            violations=(),
            supersets=0,
            best_seen=meter.best_seen,
            costs=meter.costs(),
            settings=self.settings.rules(),
            confidence=record,
            trials=tuple(meter.trials),
        )
