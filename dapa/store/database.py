"""What must not be lost, in SQLite: runs with their trials, and one verdict per (mask, prompt).

A verdict is committed when it is known; a kill loses at most the question in flight. It is keyed by
a *context*, the digest of everything else that it depends on (weights, judge, verdict mode and
token limit, decoding, batch shape), by the mask and by the rendered prompt. So resuming a search is
starting it again: what was asked is answered from here, and another context is another memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from dapa.core.records import SettingError, StoreError

SCHEMA = 1
FILE = "dapa.sqlite3"
UNREADABLE = "unreadable"
"""The state of a run whose row is damaged."""
_TITLE = 200

_TABLES = """
create table runs (
  id text primary key, created real not null, kind text not null, title text not null,
  settings text not null, state text not null, result text, updated real not null
);
create table trials (
  run text not null references runs(id), number integer not null, body text not null,
  primary key (run, number)
) without rowid;
create table verdicts (
  context text not null, mode text not null, mask text not null, prompt text not null,
  label text not null, judge text not null, start integer, stop integer, reason text not null,
  reply text not null, tokens integer not null,
  primary key (context, mode, mask, prompt)
) without rowid;
"""

_LATER_TABLES = """
create table if not exists ratings (
  kind text not null, key text not null, body text not null, updated real not null,
  primary key (kind, key)
) without rowid;
"""
"""Tables that a store of the same schema may lack; older programs look past them."""


def add_column(connection: sqlite3.Connection, table: str, column: str) -> None:
    """Give a table of an older store a column that may be empty; nothing where it has it."""
    name = column.split()[0]
    if name not in [row[1] for row in connection.execute(f"pragma table_info({table})")]:
        connection.execute(f"alter table {table} add column {column}")


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


def digest(*parts: object) -> str:
    """A short name for everything in `parts`, equal for equal JSON."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def beside(run_id: str) -> str:
    """The kind of rating that keeps what was measured beside a run."""
    return f"beside {run_id}"


class Store:
    """One folder's database; safe for any number of threads and for several processes."""

    def __init__(self, folder: Path | str) -> None:
        """Open it, or make it.

        Raises:
            StoreError: It cannot be written, is no database, or has another schema.
        """
        self.folder = Path(folder)
        self.path = self.folder / FILE
        self.readonly = False
        """Can it only be read, since its folder cannot be written?"""
        self._local = threading.local()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            places = (self.folder, self.path) if self.path.exists() else (self.folder,)
            if not all(os.access(place, os.W_OK) for place in places):
                raise PermissionError("it cannot be written")
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            if not self._opened_for_reading():
                raise StoreError(
                    f"the run folder {self.folder} cannot be used ({error}); "
                    "name another with --run-dir",
                    self.folder,
                ) from error

    def _prepare(self) -> None:
        connection = self._connection()
        connection.execute("begin immediate")  # two processes may be making it at once
        try:
            (version,) = connection.execute("pragma user_version").fetchone()
            if version == 0:
                for statement in _TABLES.split(";"):
                    connection.execute(statement)
                connection.execute(f"pragma user_version = {SCHEMA}")
            elif version != SCHEMA:
                raise StoreError(
                    f"{self.path} has schema {version} and this version writes {SCHEMA}; "
                    "name another folder with --run-dir",
                    self.path,
                )
            connection.execute(_LATER_TABLES)
            add_column(connection, "verdicts", "manner text")
            add_column(connection, "verdicts", "cut integer")
            connection.execute("commit")
        except BaseException:
            connection.execute("rollback")
            raise

    def _opened_for_reading(self) -> bool:
        """Take a store that is there and cannot be written as one to read; True if it can be."""
        try:
            if not self.path.is_file() or self.path.stat().st_size == 0:
                return False
            self._local.connection = None
            self.readonly = True
            (version,) = self._connection().execute("pragma user_version").fetchone()
            return bool(version == SCHEMA)
        except (OSError, sqlite3.Error):
            return False

    def _read_only(self) -> sqlite3.Connection:
        """A connection that writes nothing; where not even a lock can be made, of what is there."""
        for how in ("mode=ro", "immutable=1"):
            place = f"{self.path.resolve().as_uri()}?{how}"
            connection = sqlite3.connect(place, uri=True, timeout=30, isolation_level=None)
            try:
                connection.execute("select count(*) from runs").fetchone()
                return connection
            except sqlite3.OperationalError as error:
                connection.close()
                last = error
        raise last

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None and self.readonly:
            connection = self._local.connection = self._read_only()
        elif connection is None:
            connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = normal")
            connection.execute("pragma foreign_keys = on")
            self._local.connection = connection
        return connection

    @contextmanager
    def plainly(self) -> Iterator[sqlite3.Connection]:
        """Turn the database's errors into a StoreError with the next step."""
        try:
            yield self._connection()
        except sqlite3.Error as error:
            raise StoreError(
                f"{self.path} cannot be read or written ({error}); {_advice(str(error))}",
                self.path,
            ) from error

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

    def verdicts_of(self, context: str, mask: str) -> list[dict[str, Any]]:
        """Every verdict of one context on one mask, with its reply, in a fixed order.

        Args:
            context: As `store.verdicts` names it.
            mask: The mask's key.
        """
        names = ("mode", "prompt", "label", "judge", "start", "stop", "manner", "tokens", "cut")
        with self.plainly() as connection:
            rows = connection.execute(
                f"select {', '.join(names)}, reply from verdicts where context = ? and mask = ? "
                "order by mode, prompt",
                (context, mask),
            ).fetchall()
        return [dict(zip((*names, "reply"), row, strict=True)) for row in rows]

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


def _advice(error: str) -> str:
    """The next step after one of the database's errors."""
    kept = "what was committed before is kept"
    if "no such table" in error or "no such column" in error or "malformed" in error:
        return "the store is damaged: put back a copy of it, or name another folder with --run-dir"
    if "full" in error:
        return f"free disk space or name another folder with --run-dir; {kept}"
    if "readonly" in error or "read-only" in error:
        return f"reading works; to write, name another folder with --run-dir; {kept}"
    if "locked" in error:
        return f"another program holds it: wait for it to end and try again; {kept}"
    return f"name another folder with --run-dir; {kept}"
