"""The live view's memory: counters, log and clock of one search, behind one lock.

The driver and its schedulers write here and the meter calls none of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import sqrt
from statistics import median
from threading import RLock

from dapa.core.records import Mask, Outcome, Trial, Unit
from dapa.model.decode.optimizations import Work
from dapa.search.engine.control import Control
from dapa.search.engine.ledger import Ledger
from dapa.search.engine.report import Costs, SearchProgress, State


class Meter:
    """Written by the driver and its schedulers, read by `snapshot` from any thread."""

    def __init__(
        self,
        units: tuple[Unit, ...],
        control: Control,
        clock: Callable[[], float] = time.monotonic,
        devices: int = 0,
    ) -> None:
        """Args: all units of the search, its handle, a clock in seconds, how many GPUs work."""
        self.devices = devices
        self._guesses: list[float] = []
        self.lock = RLock()
        self.control = control
        self._clock = clock
        self._started = clock()
        self._ended: float | None = None
        self._marked = 0.0
        self.state: State = "ready"
        self.error = ""
        self.phase = ""
        self.counting = False
        """Do questions count as tests? Only the algorithm's do."""
        self.tests = self.memo_hits = self.judged = self.recalled = 0
        self.tokens = self.recalled_tokens = 0
        self.work = Work()
        """What the runner computed and what it was spared."""
        self.ledger: Ledger | None = None
        """The search's own, whose masks tell what was judged ahead and what was spared."""
        self.judging: tuple[Ledger, tuple[Mask, ...]] | None = None
        """The masks that are judged now, most wanted first, and where their verdicts are."""
        self.trials: list[Trial] = []
        self.phases: dict[str, float] = {}
        self.best = units
        self.best_seen: Outcome | None = None
        self.target: float | None = None
        self.student: Outcome | None = None
        self.full: Outcome | None = None
        self.left: tuple[int, int] | None = None
        self.closing_masks = 0
        """Masks that the closing will still judge in full: for the ETA."""
        self.ahead: Callable[[], float | None] | None = None
        """Reckons the seconds to come, where the search does so itself."""

    def start(self) -> None:
        """The clock runs from here."""
        with self.lock:
            self._started, self._marked, self.state = self._clock(), 0.0, "running"

    def end(self, state: State, error: str = "") -> None:
        """The clock stands still from here."""
        with self.lock:
            self.lap()
            self._ended = self._clock()
            self.state, self.error, self.left = state, error, None
            self.judging = None

    @property
    def seconds(self) -> float:
        """Since the start, pauses not counted."""
        now = self._clock() if self._ended is None else self._ended
        return now - self._started - self.control.rested

    @property
    def all_tokens(self) -> int:
        """Decoded for verdicts, those of an earlier, interrupted run included."""
        return self.tokens + self.recalled_tokens

    def lap(self) -> float:
        """Seconds since the last lap, booked to the phase."""
        now = self.seconds
        lap, self._marked = now - self._marked, now
        self.phases[self.phase] = self.phases.get(self.phase, 0.0) + lap
        return lap

    def log(self, outcome: Outcome, phase: str, memo: bool, cut: int | None, tokens: int) -> None:
        """One committed question."""
        self.phase = phase
        seconds = self.lap()
        eta = self.eta()
        if eta is not None:
            self._guesses.append(self.seconds + eta)
        self.trials.append(
            Trial(len(self.trials), outcome, phase, memo, cut, seconds=seconds, tokens=tokens)
        )
        if self.counting and outcome.satisfied and len(outcome.mask) < len(self.best):
            self.best = outcome.mask.units

    def saw(self, outcome: Outcome) -> None:
        """A mask asked in full: is it the best so far? Of equals, the smaller."""
        best = self.best_seen
        rank = (outcome.defended, -len(outcome.mask))
        if best is None or rank > (best.defended, -len(best.mask)):
            self.best_seen = outcome

    def costs(self) -> Costs:
        """The costs as they stand."""
        return Costs(
            tests=self.tests,
            memo_hits=self.memo_hits,
            speculative=self.ledger.speculative() if self.ledger else 0,
            prompts_judged=self.judged,
            prompts_spared=self.ledger.spared() if self.ledger else 0,
            recalled=self.recalled,
            tokens=self.tokens,
            recalled_tokens=self.recalled_tokens,
            seconds=self.seconds,
            gpu_seconds=self.seconds * self.devices,
            eta_error=self._eta_error(),
            phases=dict(self.phases),
            work=self.work.rounded(),
        )

    def _eta_error(self) -> float | None:
        """Known once the end is."""
        if self._ended is None or not self._guesses or not self.seconds:
            return None
        return median(abs(guess - self.seconds) for guess in self._guesses) / self.seconds

    def eta(self) -> float | None:
        """Seconds to come: tests at their pace so far, then the closing at its own."""
        if self.state != "running" or not self.judged or self.full is None:
            return None
        if self.ahead is not None:
            return self.ahead()
        reply = self.seconds / self.judged
        seconds = self.closing_masks * self.full.asked * reply
        if self.counting and self.left is not None and self.tests:
            spent = self.phases.get("search", 0.0) + self.phases.get("certificate", 0.0)
            low, high = self.left
            # Searches end nearer to the lower bound than to the upper one.
            seconds += spent / self.tests * sqrt(max(low, 1) * max(high, 1))
        return seconds

    def _asking(self) -> tuple[Outcome, ...]:
        if self.judging is None:
            return ()
        ledger, masks = self.judging
        return tuple(ledger.outcome(mask) for mask in masks)

    def snapshot(self) -> SearchProgress:
        """Everything at this moment, consistent."""
        with self.lock:
            paused = self.state == "running" and self.control.paused
            return SearchProgress(
                state="paused" if paused else self.state,
                phase=self.phase,
                trials=tuple(self.trials),
                asking=self._asking(),
                best=self.best,
                best_seen=self.best_seen,
                target=self.target,
                student=self.student,
                full=self.full,
                costs=self.costs(),
                left=self.left,
                eta=self.eta(),
                error=self.error,
            )
