"""A list of prompts whose rows are decoded, and whose log-odds are read, by a crew.

Verdicts come in as workers tell them and are committed by the scheduler, which goes by the order of
the candidates: what is answered, and what is asked next, is what one process answers and asks.
Until the first worker has joined, and when all are lost, this process decodes itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from dapa.core.records import Mask, Verdict
from dapa.model.decode.optimizations import Work
from dapa.search.engine.contract import Job, JobQueue, Mode
from dapa.search.engine.pair_runner import PairRunner
from dapa.search.engine.workers.crew import Crew
from dapa.search.engine.workers.messages import Answer, Asking, Heard, Message, Read, Told, Turn

Floats = NDArray[np.float64]
Odds = Callable[[Sequence[Mask], Sequence[int]], Floats]


class SharedRunner:
    """A `Runner` that lets a crew decode."""

    def __init__(self, local: PairRunner, inside: bool, crew: Crew, begun: str = "") -> None:
        """Args: who decodes here; is a thought opened; who helps; what begins the replies."""
        self._local, self._crew = local, crew
        texts, ids = tuple(local.texts), tuple(map(tuple, local.ids))
        self._asking = Asking(texts, ids, inside, begun, local.decoding.max_new_tokens)

    def __call__(self, queue: JobQueue, mode: Mode) -> None:
        """Work the queue until it has no more jobs and no row is in flight."""
        with self._crew.taken() as mine:
            if not mine:  # another thread's questions are with the crew
                self._local(queue, mode)
                return
            rows = _Rows(queue, (self._asking, mode), self._local, self._crew.workers)
            while not (self._crew.ready() and self._crew.serve(rows)):
                here = _Here(queue, rows.again, self._crew.ready)
                self._local(here, mode)
                if not here.relieved:
                    return


class _Rows:
    """A queue's jobs as turns of workers."""

    def __init__(
        self, queue: JobQueue, begin: tuple[Asking, Mode], local: PairRunner, workers: int
    ) -> None:
        self._queue, self._begin = queue, begin
        self._room = local.capacity
        self._share, self._ahead = ceil(local.capacity / workers), ceil(local.ahead / workers)
        self._flying: dict[int, dict[Job, None]] = {}
        self._begun: set[int] = set()
        self.again: list[Job] = []
        """What lost workers had in hand."""

    def next(self, worker: int) -> Message | None:
        flying = self._flying.setdefault(worker, {})
        drop = [job for job in flying if not self._queue.wanted(job)]
        for job in drop:
            del flying[job]
        room = self._room - len(flying)
        jobs: list[Job] = []
        if not flying or 4 * room >= self._room:
            room = min(room, self._share)  # else the first would take what is there for all
            jobs = again_first(self._queue, self.again, room, max(0, self._ahead - len(flying)))
        if not (jobs or drop or flying):
            return None
        flying.update(dict.fromkeys(jobs))
        begin = None if worker in self._begun else self._begin
        self._begun.add(worker)  # a worker for which nothing was left has begun nothing
        return Turn(begin, tuple(jobs), tuple(drop), self._room)

    def answered(self, worker: int, answer: Answer) -> None:
        assert isinstance(answer, Told), answer
        flying = self._flying[worker]
        self._queue.spent(answer.work)
        for said in answer.said:
            flying.pop(said[0], None)
        for said in answer.said:
            self._queue.done(*said)

    def lost(self, worker: int) -> None:
        self.again += self._flying.pop(worker, {})


class _Here:
    """The queue for this process, until a worker relieves it."""

    def __init__(self, queue: JobQueue, again: list[Job], ready: Callable[[], bool]) -> None:
        self._queue, self._again, self._ready = queue, again, ready
        self.relieved = False

    def take(self, room: int, spare: int | None = None) -> list[Job]:
        self.relieved = self.relieved or self._ready()
        return [] if self.relieved else again_first(self._queue, self._again, room, spare)

    def wanted(self, job: Job) -> bool:
        return self._queue.wanted(job)

    def done(
        self, job: Job, verdict: Verdict, reply: str, tokens: int, whole: Verdict | None = None
    ) -> None:
        self._queue.done(job, verdict, reply, tokens, whole)

    def spent(self, work: Work) -> None:
        self._queue.spent(work)


def again_first(queue: JobQueue, again: list[Job], room: int, spare: int | None) -> list[Job]:
    """Jobs to begin now: those that were lost, as far as they are wanted, then new ones."""
    jobs: list[Job] = []
    while again and len(jobs) < room:
        job = again.pop(0)
        if queue.wanted(job):
            jobs.append(job)
    if len(jobs) < room:
        jobs += queue.take(room - len(jobs), None if spare is None else max(0, spare - len(jobs)))
    return jobs


def shared_odds(
    local: Odds, ids: Callable[[], Sequence[tuple[int, ...]]], rows: int, crew: Crew
) -> Odds:
    """Read log-odds by a crew where one is there, a block of prompts at a time.

    Args:
        local: Reads them here.
        ids: Every prompt's tokens, made when they are first wanted.
        rows: Of one block at most.
        crew: Who helps.
    """

    def odds(masks: Sequence[Mask], places: Sequence[int]) -> Floats:
        with crew.taken() as mine:
            if not mine or not crew.ready():
                return local(masks, places)
            most = max(1, min(ceil(len(places) / crew.workers), rows // len(masks)))
            blocks = _Blocks(tuple(map(tuple, ids())), tuple(masks), places, most)
            crew.serve(blocks)
            return blocks.whole(local)

    return odds


class _Blocks:
    """Readings as blocks of prompts; each under every mask, so that prompts are read once."""

    def __init__(
        self,
        ids: tuple[tuple[int, ...], ...],
        masks: tuple[Mask, ...],
        places: Sequence[int],
        size: int,
    ) -> None:
        self._ids, self._masks, self._places = ids, masks, tuple(places)
        self._left = [
            self._places[start : start + size] for start in range(0, len(self._places), size)
        ]
        self._flying: dict[int, tuple[int, ...]] = {}
        self._read: dict[int, Floats] = {}

    def next(self, worker: int) -> Message | None:
        if not self._left:
            return None
        self._flying[worker] = self._left.pop(0)
        return Read(self._ids, self._masks, self._flying[worker])

    def answered(self, worker: int, answer: Answer) -> None:
        assert isinstance(answer, Heard), answer
        block = self._flying.pop(worker)
        self._read.update(zip(block, answer.odds.T, strict=True))

    def lost(self, worker: int) -> None:
        self._left.insert(0, self._flying.pop(worker))

    def whole(self, local: Odds) -> Floats:
        """All of it, (masks, places); what no worker was left for is read here."""
        missing = [place for place in self._places if place not in self._read]
        if missing:
            self._read.update(zip(missing, local(self._masks, missing).T, strict=True))
        return np.stack([self._read[place] for place in self._places], axis=1)
