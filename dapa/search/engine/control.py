"""Pause, resume and stop, from any thread. The search notices where it asks for more work."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Lock


class Halted(Exception):
    """The search was stopped, or a budget ran out, before its coroutine ended."""

    def __init__(self, reason: str, *, tests_only: bool = False) -> None:
        """Args: why; whether it was the budget of tests, which the closing does not draw on."""
        super().__init__(reason)
        self.reason = reason
        self.tests_only = tests_only


class Control:
    """The handle of one running search; each order may be given twice."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: the clock that measures pauses, in seconds."""
        self._clock = clock
        self._go = Event()
        self._go.set()
        self._stopped = Event()
        self._lock = Lock()
        self._since: float | None = None
        self._rested = 0.0

    def pause(self) -> None:
        """Hold the rows where they are; nothing is lost."""
        with self._lock:
            if self._since is None and not self._stopped.is_set():
                self._since = self._clock()
                self._go.clear()

    def resume(self) -> None:
        """Go on after a pause."""
        with self._lock:
            if self._since is not None:
                self._rested += self._clock() - self._since
                self._since = None
            self._go.set()

    def stop(self) -> None:
        """End soon, with the best so far."""
        self._stopped.set()
        self.resume()

    @property
    def paused(self) -> bool:
        """Is the search held?"""
        return not self._go.is_set()

    @property
    def stopped(self) -> bool:
        """Was it told to end?"""
        return self._stopped.is_set()

    @property
    def stopping(self) -> Event:
        """Set once it was told to end: for work that is not a question, such as a prior."""
        return self._stopped

    @property
    def rested(self) -> float:
        """Seconds spent paused, so that no budget counts them."""
        with self._lock:
            now = 0.0 if self._since is None else self._clock() - self._since
            return self._rested + now

    def wait(self) -> None:
        """Block while paused."""
        self._go.wait()
