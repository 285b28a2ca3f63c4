"""Plays the oracle: opening checks, the algorithm's questions, closing checks, one report.

It knows how many prompts there are, not what they say; what decodes and judges is a `Runner`, what
remembers a `Memory`. Decoding is greedy, always: else neither memory nor minimality would mean
anything. Resuming is starting again with the same memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dapa.core.records import EMPTY, Mask, Rate, SearchResult, SettingError, Unit
from dapa.search.algorithms.limited import Kl, within
from dapa.search.algorithms.questions import Search
from dapa.search.engine.claim import claim_of
from dapa.search.engine.confirmation import Confirmation, Further
from dapa.search.engine.contract import Workload
from dapa.search.engine.control import Control, Halted
from dapa.search.engine.fast_screen import FastScreen, Odds, Screening, screened
from dapa.search.engine.meter import Meter
from dapa.search.engine.opening_checks import aim, target_rate
from dapa.search.engine.report import SearchProgress, SearchReport
from dapa.search.engine.scheduler import Scheduler
from dapa.search.settings import SearchRules


@dataclass(frozen=True, kw_only=True)
class Driven:
    """What a driver may be given besides the algorithm, the units and the search prompts."""

    held_out: Workload | None = None
    """Prompts that only measure the result."""
    reserve: Workload | None = None
    """Further prompts, which show the removals that are firm; never the held-out ones."""
    locked: Workload | None = None
    """Prompts that measure the result once more and confirm nothing."""
    settings: SearchRules | None = None
    """The rules; defaults if None."""
    control: Control | None = None
    """The handle to pause and stop it by; a new one if None."""
    algorithm: str = ""
    """Its name, for the report."""
    offers: Sequence[str] = ()
    """What to try where there is nothing to localize, as in `--sites mlp`."""
    prepare: Callable[[], None] | None = None
    """Called once before the first question: what the algorithm wants to know, such as a prior.
    May raise Halted."""
    kl: Kl | None = None
    """What a mask costs on harmless prompts; needed where the settings limit it."""
    screen: Odds | None = None
    """Log-odds that order prompts and candidates; none where it is None."""
    canonical: Workload | None = None
    """The search prompts, decoded one mask at a time in a batch of one shape: the result is judged
    there once more. Not done where it is None."""
    elsewhere: Sequence[tuple[str, Mask]] = ()
    """Sets that other searches of these very prompts found, each with the search's name: those with
    fewer units than the result are measured beside it."""
    devices: int = 0
    """How many GPUs are at work, for the costs."""
    clock: Callable[[], float] = time.monotonic
    """Seconds that only grow."""


class Driver:
    """One search, to be run once; watched and steered from any thread."""

    def __init__(
        self,
        search: Search,
        units: Sequence[Unit],
        split: Workload,
        **options: Any,
    ) -> None:
        """Get ready; nothing is asked yet.

        Args:
            search: The algorithm.
            units: What may be transplanted, in the order in which the algorithm sees it.
            split: The search prompts; the target and every choice come from these alone.
            options: Of `Driven`.

        Raises:
            SettingError: No units, a unit twice, no prompts, or a limit on KL without a measure.
        """
        given = Driven(**options)
        held_out, reserve, locked = given.held_out, given.reserve, given.locked
        settings, control, algorithm, offers = (
            given.settings, given.control, given.algorithm, given.offers
        )  # fmt: skip
        prepare, kl, screen, canonical = given.prepare, given.kl, given.screen, given.canonical
        elsewhere, devices, clock = given.elsewhere, given.devices, given.clock
        if not units or len(set(units)) != len(units):
            raise SettingError(f"a search needs units, each once; got {len(units)}")
        if split.prompts < 1:
            raise SettingError("a search needs at least one harmful prompt; got none")
        self.settings, self.offers = settings or SearchRules(), tuple(offers)
        if self.settings.max_kl is not None and kl is None:
            raise SettingError("a limit on KL needs harmless prompts to measure it on; give some")
        self.units, self.algorithm = tuple(units), algorithm
        self.kl = kl
        self.screen = None if screen is None else FastScreen(screen, split.prompts)
        self.search = search if self.screen is None else screened(search, self.screen)
        if kl is not None and self.settings.max_kl is not None:
            self.search = within(self.search, kl, self.settings.max_kl)
        self.split, self.held_out = split, held_out
        self.control = control or Control(clock)
        self.prepare = prepare
        self.full = Mask.of(self.units)
        self.meter = Meter(self.units, self.control, clock, devices)
        self._scheduler = Scheduler(split, "opening", self.settings, self.meter)
        self.meter.ledger = self._scheduler.ledger
        further = Further(held_out, reserve, elsewhere, canonical, locked)
        self._after = Confirmation(self._scheduler, self.units, further, self.settings)

    def snapshot(self) -> SearchProgress:
        """The search as it stands; from any thread."""
        return self.meter.snapshot()

    def run(self) -> SearchReport:
        """Search to the end, or to a stop, or to the end of a budget.

        Raises:
            NothingToLocalize: The opening checks found no effect to explain.
            Exception: Whatever the runner or the memory raised; the verdicts are kept.
        """
        assert self.meter.state == "ready", "a driver runs once; make a new one to go on"
        self.meter.start()
        try:
            report = self._run()
        except BaseException as error:
            self.meter.end("failed", str(error) or type(error).__name__)
            raise
        return report

    def _run(self) -> SearchReport:
        try:
            self._get_ready()
            self._open()
        except Halted as halt:  # before there was a target
            return self._report(SearchResult(self.units, False, halt.reason))
        halted, missing = None, ""
        try:
            result = self._search()
        except Halted as halt:
            halted, result = halt, SearchResult(self.meter.best, False, halt.reason)
        if halted is None or halted.tests_only:
            try:
                self._after.check(result)
            except Halted as halt:
                if halted is None:
                    missing = f"; {halt.reason} before the closing checks were complete"
        return self._report(replace(result, reason=result.reason + missing))

    # -- the plan ---------------------------------------------------------------------------

    def _get_ready(self) -> None:
        """What is wanted before the first question: a prior, the order of the prompts."""
        if self.prepare is not None:
            self.meter.phase = "prior"
            self.prepare()
            self.meter.lap()
        if self.screen is not None:
            self.meter.phase = "screen"
            order = self.screen.lead(self.full)
            self._scheduler.ledger.lead = {prompt: place for place, prompt in enumerate(order)}
            self.meter.lap()

    def _open(self) -> None:
        """Is there anything to find? The student and the full mask, which set the target."""
        meter, ledger = self.meter, self._scheduler.ledger
        meter.student, meter.full = self._scheduler.judge((EMPTY, self.full), "opening")
        target = aim(ledger, self.full, self.settings, self.offers)
        with meter.lock:
            meter.target = target
            meter.student, meter.full = ledger.outcome(EMPTY), ledger.outcome(self.full)
            meter.trials = [
                replace(trial, outcome=ledger.outcome(trial.outcome.mask)) for trial in meter.trials
            ]  # only now is it known whether they satisfy

    def _search(self) -> SearchResult:
        """The algorithm's own questions, which alone count as tests."""
        self.meter.closing_masks = self._after.masks(len(self.units) // 4)
        self.meter.counting = True
        try:
            result: SearchResult = self._scheduler.run(self.search(self.units))
        finally:
            self.meter.counting = False
        return result

    # -- the end ----------------------------------------------------------------------------

    def _report(self, result: SearchResult) -> SearchReport:
        ledger, found, after = self._scheduler.ledger, result.mask, self._after
        rates = {"student": EMPTY, "full": self.full, "best": found}
        named: dict[str, Rate | None] = {name: ledger.rate(mask) for name, mask in rates.items()}
        for lines in (after.rechecks, after.reshaped):
            named.update({line.role: line.rate for line in lines if line.role in rates})
        screening, kl = self._screened(), self._kl(found)
        names = ("held_out", "full_held_out", "student_held_out")
        removals = after.certificate(result)
        claim = claim_of(found.units, result.one_minimal, removals, after.rechecks, self._target())
        self.meter.end("done")
        return SearchReport(
            algorithm=self.algorithm,
            units=found.units,
            one_minimal=result.one_minimal,
            stop_reason=result.reason,
            target=self.meter.target or 0.0,
            need=ledger.need or 0,
            rates={
                **named,
                **{name: after.held_out.get(name) for name in names},
                **after.locked,
            },
            best_bounds=ledger.outcome(found).bounds,
            removals=removals,
            rechecks=after.rechecks,
            canonical=after.reshaped,
            claim=claim,
            smaller=after.smaller,
            kl=kl,
            screen=screening.as_dict() if screening else None,
            violations=after.violations,
            supersets=len(after.tried),
            best_seen=self.meter.best_seen,
            costs=self.meter.costs(),
            settings=self.settings.rules(),
            trials=tuple(self.meter.trials),
        )

    def _target(self) -> Rate | None:
        """The target with its interval; None where it was given, or there is none yet."""
        if self.settings.target is not None or self.meter.target is None:
            return None
        return target_rate(self._scheduler.ledger, self.full, self.settings.retain)

    def _kl(self, found: Mask) -> dict[str, float] | None:
        """What found set and full mask cost, where a limit was set."""
        limit = self.settings.max_kl
        if self.kl is None or limit is None:
            return None
        return {"limit": limit, "best": self.kl(found), "full": self.kl(self.full)}

    def _screened(self) -> Screening | None:
        """How well the screen foretold the verdicts of the masks that are always judged in full.

        Others may be by chance, as rows stood free: those would make two runs differ.
        """
        ledger = self._scheduler.ledger
        if self.screen is None or self.control.stopped or ledger.need is None:
            return None
        self.meter.phase = "screen"
        told = [t.outcome.mask for t in self.meter.trials if t.phase in ("opening", "certificate")]
        masks = [mask for mask in dict.fromkeys(told) if ledger.full(mask)]
        found = self.screen.held_against(ledger, masks, self.settings.seed)
        self.meter.lap()
        return found
