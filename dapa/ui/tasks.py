"""Measurements that outlive the tab which asked for them: jobs of the server, one after the other.

A task belongs to a subject (a search) and has a name; any screen may watch it, stop it, or come
back to it. One is measured at a time, so that two figures never share the processor: later ones
wait in line. What nobody asked for gives way to all else. What a task measures, and how it looks,
is not known here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal

from dapa.core.errors import SCARCE
from dapa.core.owner import Owner
from dapa.core.records import EMPTY, DapaError, Mask, ran_out
from dapa.core.resident import give_back
from dapa.workbench import Halted

log = logging.getLogger("dapa.ui")
State = Literal["waiting", "running", "done", "stopped", "failed"]
Progress = Callable[[str, float], None]
"""(what is being done, share done in [0, 1])."""
Work = Callable[[Progress, threading.Event], Any]
"""Measures; looks at the event between two steps and then returns what it has, or raises Halted."""
_NOBODY = Owner()
_KEPT = 64
_PAUSE = 0.2  # seconds
_SURE = 0.1  # no guess of the time to come before this share is done


class Task:
    """One measurement: what it does, how far it is, what came of it."""

    def __init__(
        self, subject: str, name: str, work: Work, line: threading.Lock,
        owner: Owner = _NOBODY, mask: Mask = EMPTY, gives_way: Callable[[], bool] | None = None,
    ) -> None:  # fmt: skip
        """Wait in `line`, then work, but not while `gives_way()`; `start` begins."""
        self.subject, self.name = subject, name
        self.owner, self.mask = owner, mask
        """Of which pair, and under which mask, it is measured, where one is."""
        self.result: Any = None
        self.error = ""
        """Why it failed, in one plain line, or empty."""
        self.state: State = "waiting"
        self.held = False
        """Does it give way to something now?"""
        self.unasked = gives_way is not None
        self.kept = False
        """Was it measured before, and is only shown again?"""
        self._work, self._line, self._gives_way = work, line, gives_way
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._doing, self._share = "", 0.0
        self._since = self._until = time.monotonic()

    def start(self) -> None:
        """Begin in a thread of its own."""
        threading.Thread(target=self._run, name=f"task {self.name}", daemon=True).start()

    def stop(self) -> None:
        """End soon, with what is known by then."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end; True once it has ended."""
        return self._ended.wait(seconds)

    @property
    def over(self) -> bool:
        """Has it ended, in whatever way?"""
        return self._ended.is_set()

    @property
    def stopping(self) -> bool:
        """Was it told to end, and has not yet?"""
        return self._stop.is_set() and not self.over

    @property
    def seconds(self) -> float:
        """Since it began to work, to its end."""
        return (self._until if self.over else time.monotonic()) - self._since

    def progress(self) -> tuple[str, float, float | None]:
        """What it does, the share done, and a guess of the seconds to come."""
        doing, share = self._doing, self._share
        if self.state != "running" or share < _SURE or self.seconds < 1.0:
            return doing, share, None
        return doing, share, self.seconds * (1 - share) / share

    def _told(self, doing: str, share: float) -> None:
        self._doing, self._share = doing, min(1.0, max(0.0, float(share)))
        self._give_way()

    def _give_way(self) -> None:
        """Wait while others need the models, unless it is to end."""
        while self._gives_way is not None and self._gives_way() and not self._stop.is_set():
            since, self.held = time.monotonic(), True
            self._stop.wait(_PAUSE)
            self._since += time.monotonic() - since  # not its own time
        self.held = False

    def _run(self) -> None:
        try:
            while not self._line.acquire(timeout=_PAUSE):
                if self._stop.is_set():
                    self.state = "stopped"
                    return
            try:
                self._measure()
            finally:
                self._line.release()
        finally:
            self._until = time.monotonic()
            del self._work  # it may hold a pair, which must not outlive its place in the workbench
            give_back()
            self._ended.set()

    def _measure(self) -> None:
        if self._stop.is_set():
            self.state = "stopped"
            return
        self._since, self.state = time.monotonic(), "running"
        self._give_way()
        try:
            self.result = self._work(self._told, self._stop)
            self.state = "stopped" if self._stop.is_set() else "done"
        except Halted:
            self.state = "stopped"
        except DapaError as error:
            self.error, self.state = str(error), "failed"
        except Exception as error:  # a thread has no one above it to catch this
            log.error("%s failed: %s", self.name, type(error).__name__)
            plain = f"it could not be measured ({type(error).__name__}); see the server's log"
            self.error = SCARCE if ran_out(error) else plain
            self.state = "failed"


class Tasks:
    """Every task of this server, by subject and name; the newest few are kept."""

    def __init__(self, engaged: Callable[[], bool] = lambda: False) -> None:
        """None yet. `engaged`: do a search or a reply need the models now?"""
        self._engaged = engaged
        self._line, self._later = threading.Lock(), threading.Lock()
        self._lock = threading.Lock()
        self._tasks: OrderedDict[tuple[str, str], Task] = OrderedDict()

    def of(self, subject: str, name: str) -> Task | None:
        """The task of this name, if it was ever begun."""
        return self._tasks.get((subject, name))

    def newest(self, subject: str) -> Task | None:
        """The subject's last begun task: what a reload shows again."""
        with self._lock:
            mine = [task for (of, _), task in self._tasks.items() if of == subject]
        return mine[-1] if mine else None

    def _busy(self) -> bool:
        """Is anything under way that somebody asked for?"""
        with self._lock:
            asked = any(not task.over and not task.unasked for task in self._tasks.values())
        return asked or self._engaged()

    def begin(
        self, subject: str, name: str, work: Work, owner: Owner = _NOBODY, mask: Mask = EMPTY,
        *, unasked: bool = False,
    ) -> Task:  # fmt: skip
        """Start it, unless it is under way; one that has ended is measured anew.

        One that is `unasked` gives way, between two steps, to all that somebody asked for.
        """
        with self._lock:
            known = self._tasks.get((subject, name))
            if known is not None and not known.over:
                return known
            line, gives_way = (self._later, self._busy) if unasked else (self._line, None)
            task = Task(subject, name, work, line, owner, mask, gives_way)
            self._tasks.pop((subject, name), None)
            self._tasks[subject, name] = task
            ended = [key for key, each in self._tasks.items() if each.over]
            for key in ended[: max(0, len(self._tasks) - _KEPT)]:
                del self._tasks[key]
        task.start()
        return task

    def put(
        self, subject: str, name: str, result: Any, owner: Owner = _NOBODY, mask: Mask = EMPTY
    ) -> Task:
        """A task that has ended already: what was measured before, and is only shown again."""
        task = Task(subject, name, lambda told, stop: result, threading.Lock(), owner, mask)
        task.kept = True
        task._run()
        with self._lock:
            known = self._tasks.get((subject, name))
            if known is not None and not known.over:
                return known
            self._tasks.pop((subject, name), None)
            self._tasks[subject, name] = task
        return task
