"""One worker: holds a pair of its own, answers one message at a time. Run as a module, by pipes.

It knows no search, no store and no budget; what it decodes and judges is what `PairRunner` would
have decoded and judged in the asking process.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import time
from collections import OrderedDict
from typing import BinaryIO

import torch

from dapa.core.errors import SCARCE
from dapa.core.records import DapaError, ran_out
from dapa.judges.base import judges
from dapa.model.adapted import open_checkpoint
from dapa.model.decode.generation import Batch, Row
from dapa.model.decode.log_odds_reader import LogOddsReader
from dapa.model.decode.optimizations import Work
from dapa.model.discovery import learn
from dapa.model.pair import Pair
from dapa.model.pair_loading import load_pair
from dapa.search.engine.contract import Job, Mode
from dapa.search.engine.pair_runner import PairRunner, Said
from dapa.search.engine.workers.messages import (
    Answer,
    Asking,
    Fault,
    Heard,
    Hire,
    Joined,
    Message,
    Read,
    Told,
    Turn,
)

TURN = 0.1
"""Seconds of a turn in which no row ends: news of rows that nobody wants any more come so soon."""
KEPT = 4
"""Lists of prompts of which a worker remembers the states it has read."""


class Worker:
    """Answers messages; `answer` never raises."""

    def __init__(self, pair: Pair | None = None) -> None:
        """Args: the pair; None where the first message says what to load."""
        self._pair = pair
        self._runners: OrderedDict[Asking, PairRunner] = OrderedDict()
        self._readers: OrderedDict[tuple[tuple[int, ...], ...], LogOddsReader] = OrderedDict()
        self._rows: _Rows | None = None

    def answer(self, message: Message) -> Answer:
        """Do as asked; a Fault says why it could not."""
        try:
            if isinstance(message, Hire):
                return self._load(message)
            if isinstance(message, Turn):
                return self._turn(message)
            return self._read(message)
        except Exception as error:  # whoever asked must hear of it, whatever it is
            if ran_out(error):
                return Fault("memory", str(error) or SCARCE)
            if isinstance(error, DapaError):
                return Fault("user", str(error))
            return Fault("ours", f"{type(error).__name__}: {error}")

    @property
    def pair(self) -> Pair:
        """The pair, once it is loaded."""
        assert self._pair is not None, "the first message says what to load"
        return self._pair

    def _load(self, hire: Hire) -> Joined:
        if hire.threads is not None:
            torch.set_num_threads(hire.threads)  # the most that the pair will take
        for name in (hire.spec.student, hire.spec.teacher):
            learn(open_checkpoint(name))  # whoever asks has loaded it, so its structure is trusted
        self._pair = load_pair(hire.spec)
        return Joined(self.pair.digest, socket.gethostname(), os.getpid())

    def _turn(self, turn: Turn) -> Told:
        if turn.begin is not None:
            asking, mode = turn.begin
            self._rows = _Rows(self._runner(asking), mode)
        assert self._rows is not None, "the first turn says what is asked"
        return self._rows.turn(turn)

    def _runner(self, asking: Asking) -> PairRunner:
        found = self._runners.pop(asking, None)
        if found is None:
            opening, full = judges["opening"](), judges["rules"]()
            opening, full = (each.reading(asking.inside, asking.begun) for each in (opening, full))
            found = PairRunner(
                self.pair, asking.texts, asking.ids, opening, full, asking.max_new_tokens
            )
        self._runners[asking] = found
        while len(self._runners) > KEPT:
            self._runners.popitem(last=False)
        return found

    def _read(self, read: Read) -> Heard:
        reader = self._readers.pop(read.ids, None)
        reader = reader or LogOddsReader(self.pair, read.ids, narrow=True)  # as the search reads
        self._readers[read.ids] = reader
        while len(self._readers) > KEPT:
            self._readers.popitem(last=False)
        return Heard(reader(read.masks, read.places))


class _Rows:
    """The rows in flight of one list of prompts in one mode, from turn to turn."""

    def __init__(self, runner: PairRunner, mode: Mode) -> None:
        self._runner, self._mode = runner, mode
        self._batch: Batch = runner.batch()
        self._told = Work()

    def turn(self, turn: Turn) -> Told:
        """Drop, begin, and decode until rows ended and a quarter is free, or for `TURN`."""
        batch = self._batch
        dropped = set(turn.drop)
        batch.drop([row for row in batch.rows if row.tag in dropped])
        ended: list[Row] = batch.admit([self._row(job) for job in turn.jobs])
        until = time.monotonic() + TURN
        while batch.rows:
            if ended and 4 * (turn.room - len(batch.rows)) >= turn.room:
                break  # a prefill has a fixed cost, so places are refilled by the quarter
            ended += batch.step()
            if time.monotonic() >= until:
                break
        said: list[Said] = [self._runner.said(row, self._mode) for row in ended]
        work, self._told = batch.work.since(self._told), batch.work.since(Work())
        return Told(tuple(said), work)

    def _row(self, job: Job) -> Row:
        return self._runner.row(job, self._mode)


def serve(asked: BinaryIO, told: BinaryIO) -> None:
    """Answer until nobody asks any more."""
    worker = Worker()
    while True:
        try:
            message: Message = pickle.load(asked)  # from the process that started this one
        except EOFError:
            return
        pickle.dump(worker.answer(message), told, pickle.HIGHEST_PROTOCOL)
        told.flush()


if __name__ == "__main__":
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not stand between the answers
    serve(sys.stdin.buffer, pipe)
