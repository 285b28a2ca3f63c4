"""Many workers for one pair: who is there, who is busy, who is lost. It knows no search.

A task hands messages out and takes answers in, all on the thread that serves it, so whoever asks
needs no locks. A worker that ends, or is silent for too long, is given up: the task is told, and
another is started in its place, until so many were lost that starting more makes no sense. Workers
that are still loading join when they are ready.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from dapa.core.records import DapaError
from dapa.search.engine.workers.messages import Answer, Fault, Hire, Joined, Message
from dapa.search.engine.workers.post import Lost, MakePost, Post

SILENT = 600.0
"""Seconds without an answer after which a worker is given up, unless said otherwise."""
IDLE = 60.0
"""Seconds for which workers are kept that nobody asks."""
_TICK = 0.25
log = logging.getLogger(__name__)


class Task(Protocol):
    """What a crew serves."""

    def next(self, worker: int) -> Message | None:
        """What this worker is to do now; None where there is nothing for it at the moment."""

    def answered(self, worker: int, answer: Answer) -> None:
        """It did."""

    def lost(self, worker: int) -> None:
        """It will never answer: what it was given is to be done by others."""


@dataclass(eq=False)
class _Hand:
    """One worker as the crew sees it."""

    number: int
    post: Post
    outbox: queue.SimpleQueue[Message | None]
    state: str = "coming"
    """coming, free, busy or gone."""
    since: float = 0.0
    """When its last message went out."""
    stale: bool = False
    """Is it busy with what was asked in a task that is over?"""
    joined: Joined | None = None


class Crew:
    """Workers for one pair; started when first wanted, ended when nobody asks for a while."""

    def __init__(
        self, make: MakePost, hire: Hire, digest: str, workers: int, silent: float = SILENT
    ) -> None:
        """Nothing is started yet.

        Args:
            make: Makes the post of one worker.
            hire: What each is to load.
            digest: Of the pair; a worker that read other files is sent home.
            workers: How many.
            silent: Seconds without an answer after which one is given up.
        """
        self.workers, self.silent = workers, silent
        self.lost: list[str] = []
        """One line for each worker that was lost."""
        self._make, self._hire, self._digest = make, hire, digest
        self._inbox: queue.SimpleQueue[tuple[_Hand, Answer | Lost]] = queue.SimpleQueue()
        self._hands: list[_Hand] = []
        self._number = 0
        self._places, self._most = workers, 3 * workers
        self._taken = threading.Lock()
        self._idle: threading.Timer | None = None

    # -- for whoever owns it ------------------------------------------------------------------

    def start(self) -> None:
        """Start the workers; returns at once."""
        with self.taken() as mine:
            if mine:
                self._hire_missing()

    def _hire_missing(self) -> None:
        while len(self._hands) < self._places and len(self._hands) + len(self.lost) < self._most:
            self._number += 1
            post = self._make(self._number, self._hire)
            hand = _Hand(self._number, post, queue.SimpleQueue())
            self._hands.append(hand)
            threading.Thread(
                target=self._work, args=(hand,), name=f"worker {hand.number}", daemon=True
            ).start()

    def wait(self, seconds: float = 120.0) -> bool:
        """Wait until every worker has joined; False where that took longer, or some are lost."""
        until = time.monotonic() + seconds
        with self.taken():
            self._hire_missing()
            while any(hand.state == "coming" for hand in self._hands):
                if time.monotonic() > until:
                    return False
                self._hear(None)
            return len(self._here()) == self.workers

    def rest(self) -> None:
        """End all workers in a while, unless somebody asks again before."""
        if self._idle is not None:
            self._idle.cancel()
        self._idle = threading.Timer(IDLE, self._leave)
        self._idle.daemon = True
        self._idle.start()

    def end(self) -> None:
        """End all workers; they are started again where somebody asks."""
        hands, self._hands = self._hands, []
        for hand in hands:
            hand.state = "gone"
            hand.outbox.put(None)
            hand.post.end()

    @property
    def posts(self) -> tuple[Post, ...]:
        """Of the workers that were not lost, those that are still loading too."""
        return tuple(hand.post for hand in self._hands)

    @property
    def joined(self) -> tuple[Joined, ...]:
        """Who is there, in the order of `posts`."""
        return tuple(hand.joined for hand in self._hands if hand.joined is not None)

    @property
    def note(self) -> str:
        """What to know of it besides its results; empty where all went well."""
        if not self.lost:
            return ""
        return f"Workers lost, and their work done again: {'; '.join(self.lost)}."

    # -- for whoever asks ---------------------------------------------------------------------

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """One asker at a time: False for a second, who must do without."""
        if not self._taken.acquire(blocking=False):
            yield False
            return
        try:
            yield True
        finally:
            for hand in self._hands:
                hand.stale = hand.state == "busy"
            self._taken.release()
            self.rest()

    def ready(self) -> bool:
        """Is any worker there? Starts those that are missing."""
        self._hire_missing()
        while not self._inbox.empty():
            self._hear(None)
        return bool(self._here())

    def serve(self, task: Task) -> bool:
        """Serve a task until nobody has anything to do.

        Returns:
            False where all workers are gone and the task must go on without them.

        Raises:
            DapaError: What kept a worker from doing its work, and would keep any.
            Exception: Whatever the task raised.
        """
        while True:
            free = [hand for hand in self._hands if hand.state == "free"]
            for hand in free:
                message = task.next(hand.number)
                if message is not None:
                    self._send(hand, message)
            here = self._here()
            if not here:
                return False
            if free and not any(hand.state == "busy" and not hand.stale for hand in here):
                return True
            self._hear(task)
            self._hire_missing()

    # -- inside -------------------------------------------------------------------------------

    def _here(self) -> list[_Hand]:
        return [hand for hand in self._hands if hand.state in ("free", "busy")]

    def _send(self, hand: _Hand, message: Message) -> None:
        hand.state, hand.stale, hand.since = "busy", False, time.monotonic()
        hand.outbox.put(message)

    def _hear(self, task: Task | None) -> None:
        """Take one answer in, or give those up that are silent."""
        try:
            hand, answer = self._inbox.get(timeout=_TICK)
        except queue.Empty:
            now = time.monotonic()
            for late in [hand for hand in self._hands if hand.state == "busy"]:
                if now - late.since > self.silent:
                    self._lose(late, f"it was silent for {self.silent:g} s", task)
            return
        if hand.state == "gone":
            return
        if isinstance(answer, Fault) and (answer.kind == "memory" or hand.state == "coming"):
            answer = Lost(answer.text)
        if isinstance(answer, Joined) and answer.digest != self._digest:
            answer = Lost("it read other files than this process; copy the same models there")
        if isinstance(answer, Lost):
            self._lose(hand, str(answer), task)
            return
        stale, hand.state, hand.stale = hand.stale, "free", False
        if isinstance(answer, Joined):
            hand.joined = answer
        if stale or isinstance(answer, Joined):
            return
        if isinstance(answer, Fault):
            if answer.kind == "user":
                raise DapaError(answer.text)
            raise DapaError(f"worker {hand.number} failed: {answer.text}")
        assert task is not None, "somebody asked for it"
        task.answered(hand.number, answer)

    def _lose(self, hand: _Hand, why: str, task: Task | None) -> None:
        told = hand.state == "busy" and not hand.stale
        self._places -= hand.state == "coming"  # whatever kept it from loading keeps the next too
        hand.state = "gone"
        self._hands.remove(hand)
        self.lost.append(f"worker {hand.number}: {why}")
        log.warning("%s", self.lost[-1])
        hand.outbox.put(None)
        hand.post.end()
        if told and task is not None:
            task.lost(hand.number)

    def _leave(self) -> None:
        """End the workers, unless somebody is asking them."""
        if self._taken.acquire(blocking=False):
            try:
                self.end()
            finally:
                self._taken.release()

    def _work(self, hand: _Hand) -> None:
        """A worker's thread in this process: it waits, so that nobody else must."""
        try:
            self._inbox.put((hand, hand.post.begin()))
            while (message := hand.outbox.get()) is not None:
                self._inbox.put((hand, hand.post.ask(message)))
        except Lost as error:
            self._inbox.put((hand, error))
        except Exception as error:  # of whatever carries the messages
            self._inbox.put((hand, Lost(f"{type(error).__name__}: {error}")))
        finally:
            hand.post.end()
