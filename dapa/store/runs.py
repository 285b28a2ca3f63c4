"""Runs with their trials, and what people and measurements said beside them, in the database.

A run is begun, logged while it goes on, and finished; begun anew, it forgets what was logged. What
its verdicts were is `verdicts`' memory, which outlives it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from dapa.core.records import SettingError, StoreError
from dapa.store.database import Database

UNREADABLE = "unreadable"
"""The state of a run whose row is damaged."""
_TITLE = 200


@dataclass(frozen=True)
class Run:
    """A stored run; `trials` are read apart."""

    id: str
    created: float
    """Seconds since the epoch."""
    kind: str
    title: str
    settings: dict[str, Any]
    state: str
    """running, done, stopped, failed or unreadable; running with no process: it was killed."""
    result: dict[str, Any] | None
    updated: float

    @property
    def outcome(self) -> str:
        """How it ended, for people: its state, but `nothing found` where that is the finding."""
        told = self.result or {}
        both = self.state == "failed" and {"student", "full"} <= told.keys()
        return "nothing found" if both else self.state


def beside(run_id: str) -> str:
    """The kind of rating that keeps what was measured beside a run."""
    return f"beside {run_id}"


class Store(Database):
    """Runs and ratings of one folder's database."""

    # -- runs -------------------------------------------------------------------------------

    def new_run(self, kind: str, title: str, settings: Mapping[str, Any]) -> Run:
        """Begin a run; its state is `running` until it is finished."""
        now = time.time()
        run_id = time.strftime("%Y%m%d-%H%M%S-", time.localtime(now)) + token_hex(3)
        body = json.dumps(dict(settings), default=str)
        with self.plainly() as connection:
            connection.execute(
                "insert into runs values (?, ?, ?, ?, ?, 'running', null, ?)",
                (run_id, now, kind, title, body, now),
            )
        return self.run(run_id)

    def reopen(self, run_id: str) -> Run:
        """Set a run to `running` again and forget its trials, which will be logged anew."""
        with self.plainly() as connection:
            connection.execute("begin")
            connection.execute("delete from trials where run = ?", (run_id,))
            connection.execute("delete from ratings where kind = ?", (beside(run_id),))
            connection.execute(
                "update runs set state = 'running', result = null, updated = ? where id = ?",
                (time.time(), run_id),
            )
            connection.execute("commit")
        return self.run(run_id)

    def finish(self, run_id: str, state: str, result: Mapping[str, Any] | None) -> None:
        """Keep how a run ended."""
        body = None if result is None else json.dumps(dict(result), default=str)
        with self.plainly() as connection:
            connection.execute(
                "update runs set state = ?, result = ?, updated = ? where id = ?",
                (state, body, time.time(), run_id),
            )

    def rename(self, run_id: str, title: str) -> Run:
        """Give a run another title; StoreError if there is none of this id."""
        self.run(run_id)
        with self.plainly() as connection:
            connection.execute("update runs set title = ? where id = ?", (title, run_id))
        return self.run(run_id)

    def delete(self, run_id: str) -> None:
        """Forget a run and its trials; verdicts and replies are a memory of their own and stay.

        Raises:
            StoreError: There is none of this id.
        """
        self.run(run_id)
        with self.plainly() as connection:
            connection.execute("begin")
            connection.execute("delete from trials where run = ?", (run_id,))
            connection.execute("delete from ratings where kind = ?", (beside(run_id),))
            connection.execute("delete from runs where id = ?", (run_id,))
            connection.execute("commit")

    def add_trials(self, run_id: str, first: int, trials: Sequence[Mapping[str, Any]]) -> None:
        """Log trials; `first` is the number of the first of them."""
        rows = [(run_id, first + i, json.dumps(dict(trial))) for i, trial in enumerate(trials)]
        with self.plainly() as connection:
            connection.executemany("insert or replace into trials values (?, ?, ?)", rows)

    def trials(self, run_id: str) -> list[dict[str, Any]]:
        """A run's trials, in order."""
        with self.plainly() as connection:
            rows = connection.execute(
                "select body from trials where run = ? order by number", (run_id,)
            ).fetchall()
        try:
            return [json.loads(body) for (body,) in rows]
        except ValueError:
            raise StoreError(
                f"the tests of run {run_id[:200]!r} are damaged in the store; resume it, and they "
                "are logged anew"
            ) from None

    def runs(self) -> list[Run]:
        """Every run, newest first."""
        with self.plainly() as connection:
            rows = connection.execute("select * from runs order by created desc, id").fetchall()
        return [_run(row) for row in rows]

    def run(self, run_id: str) -> Run:
        """One run; StoreError if there is none of this id."""
        with self.plainly() as connection:
            row = connection.execute("select * from runs where id = ?", (run_id,)).fetchone()
        if row is None:
            raise StoreError(
                f"no run is called {run_id[:200]!r} in {self.folder}; "
                "`dapa runs list` shows those there are",
                self.folder,
            )
        run = _run(row)
        if run.state == UNREADABLE:
            raise StoreError(
                f"run {run_id[:200]!r} is damaged in the store and cannot be read; give its "
                "command again, the other runs are whole"
            )
        return run

    # -- ratings ----------------------------------------------------------------------------

    def rate(self, kind: str, key: str, body: Mapping[str, Any]) -> None:
        """Keep what a person ruled, such as a verdict overruled; a later ruling replaces it.

        Args:
            kind: what was ruled on, such as `ruling` (a badge) or `vote` (a blind comparison).
            key: which one; `digest` of what was on the screen.
            body: the ruling with its prompt and reply, as JSON.
        """
        with self.plainly() as connection:
            connection.execute(
                "insert or replace into ratings values (?, ?, ?, ?)",
                (kind, key, json.dumps(dict(body), default=str), time.time()),
            )

    def unrate(self, kind: str, key: str) -> None:
        """Take a ruling back; nothing happens where there is none."""
        with self.plainly() as connection:
            connection.execute("delete from ratings where kind = ? and key = ?", (kind, key))

    def rating(self, kind: str, key: str) -> dict[str, Any] | None:
        """One ruling, if there is one."""
        with self.plainly() as connection:
            row = connection.execute(
                "select body from ratings where kind = ? and key = ?", (kind, key)
            ).fetchone()
        return _read(row[0]) if row else None

    def ratings(self, kind: str) -> dict[str, dict[str, Any]]:
        """Every ruling of a kind by its key, oldest first."""
        with self.plainly() as connection:
            rows = connection.execute(
                "select key, body from ratings where kind = ? order by updated, key", (kind,)
            ).fetchall()
        read = {key: _read(body) for key, body in rows}
        return {key: body for key, body in read.items() if body is not None}


def keep_beside(store: Store, run: str, name: str, body: Mapping[str, Any]) -> None:
    """Keep what a measurement told of a run; a later one of that name replaces it.

    Args:
        store: Where the run lies.
        run: The run's id. It goes with the run, and when the run is begun anew.
        name: The measurement's name.
        body: Its words, tables and pictures as JSON.
    """
    store.rate(beside(run), name, body)


def kept_beside(store: Store, run: str) -> dict[str, dict[str, Any]]:
    """Measurement's name -> what it told of this run, oldest first."""
    return store.ratings(beside(run))


def _read(body: Any) -> dict[str, Any] | None:
    """A stored record; None where the row is damaged, which must not hide the others."""
    try:
        read = json.loads(body)
    except (TypeError, ValueError):
        return None
    return read if isinstance(read, dict) else None


def checked_title(title: Any) -> str:
    """A run's title from anywhere, on one line; SettingError where it is none or too long."""
    line = " ".join(str(title).split()) if isinstance(title, str) else ""
    if not 0 < len(line) <= _TITLE:
        raise SettingError(
            f"a run's name has 1 to {_TITLE} characters, not {len(line):,}; give another"
        )
    return line


def _run(row: Sequence[Any]) -> Run:
    """A run from its row; a damaged one is listed as unreadable, with whatever can be told."""
    run_id, created, kind, title, settings, state, result, updated = row
    told, found = _read(settings), None if result is None else _read(result)
    times = [t if isinstance(t, int | float) else 0.0 for t in (created, updated)]
    if told is None or (result is not None and found is None) or times != [created, updated]:
        told, found, state = told or {}, None, UNREADABLE
    return Run(str(run_id), times[0], str(kind), str(title), told, str(state), found, times[1])
