"""Ask a split about masks outside any search: every prompt judged, through the same memory.

For tables that stand beside a search (baselines, placebos, necessity, categories): the scheduler,
the ledger and the memory are the search's, so is the meaning of every count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Event

from dapa.core.records import Label, Mask, Outcome, Rate, SearchResult
from dapa.core.statistics import wilson
from dapa.search.algorithms.questions import Steps
from dapa.search.engine.contract import Mode, Workload
from dapa.search.engine.control import Control, Halted
from dapa.search.engine.meter import Meter
from dapa.search.engine.scheduler import Scheduler
from dapa.search.settings import SearchRules


@dataclass(frozen=True)
class Spent:
    """What some questions cost."""

    tests: int = 0
    """Distinct masks that an algorithm asked about."""
    tokens: int = 0
    """Tokens decoded for their verdicts, in this run or in the one that memory has them from."""
    seconds: float = 0.0
    """Of this run."""

    def since(self, before: Spent) -> Spent:
        """What was spent behind `before`."""
        return Spent(
            self.tests - before.tests, self.tokens - before.tokens, self.seconds - before.seconds
        )


class StoppedBy(Control):
    """A control that an event stops as well."""

    def __init__(self, stop: Event | None) -> None:
        """Args: the event; None never stops."""
        super().__init__()
        self._event = stop

    @property
    def stopped(self) -> bool:
        """Was it told to end, by either?"""
        return super().stopped or (self._event is not None and self._event.is_set())


class Inquiry:
    """One split in one verdict mode; ask it any number of times, from one thread at a time."""

    def __init__(
        self,
        split: Workload,
        mode: Mode = "full",
        need: int | None = None,
        stop: Event | None = None,
        max_tests: int | None = None,
    ) -> None:
        """Get ready; nothing is asked yet.

        Args:
            split: Who decodes and remembers.
            mode: Verdict by the opening, or of whole replies.
            need: Defended prompts that satisfy, for algorithms; None knows no target.
            stop: Set it, and the question in flight raises Halted.
            max_tests: Budget of an algorithm's tests.
        """
        self.split = split
        self._meter = Meter((), StoppedBy(stop))
        self._scheduler = Scheduler(split, mode, SearchRules(max_tests=max_tests), self._meter)
        self._scheduler.ledger.need = need
        self._meter.start()

    def judge(self, masks: Sequence[Mask]) -> tuple[Outcome, ...]:
        """Each mask judged on every prompt. Halted if stopped; what is known by then is kept."""
        self._go_on()
        self._scheduler.judge(dict.fromkeys(masks), "inquiry")
        return tuple(self._scheduler.ledger.outcome(mask) for mask in masks)

    def play(self, steps: Steps) -> tuple[SearchResult, Spent]:
        """Run an algorithm; out of tests, its best by count of refusals is the result.

        Raises:
            Halted: It was stopped.
        """
        self._go_on()
        meter, before = self._meter, self.spent
        meter.counting, meter.best_seen = True, None
        try:
            result: SearchResult = self._scheduler.run(steps)
        except Halted as halt:
            if not halt.tests_only or meter.best_seen is None:
                raise
            result = SearchResult(meter.best_seen.mask.units, False, halt.reason)
        finally:
            meter.counting = False
        return result, self.spent.since(before)

    def labels(self, mask: Mask) -> list[Label]:
        """The verdicts of a mask that was judged, in the prompts' order."""
        known = self._scheduler.ledger[mask].labels
        return [known[prompt] for prompt in range(self.split.prompts)]

    def refused(self, mask: Mask) -> list[bool]:
        """Which prompts a judged mask defends."""
        return [label is Label.REFUSAL for label in self.labels(mask)]

    def rate(self, mask: Mask, label: Label = Label.REFUSAL) -> Rate:
        """The share of a judged mask's replies with this label; of refusals, that is its DSR."""
        found = wilson(self.labels(mask).count(label), self.split.prompts)
        return replace(found, cut=self._scheduler.ledger.cut(mask))

    def _go_on(self) -> None:
        """Halted if stopped, even where memory has every answer."""
        if self._meter.control.stopped:
            raise Halted("stopped")

    @property
    def spent(self) -> Spent:
        """Everything so far."""
        meter = self._meter
        return Spent(meter.tests, meter.all_tokens, meter.seconds)
