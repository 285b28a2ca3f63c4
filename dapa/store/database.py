"""What must not be lost lies in one SQLite file a folder: made, opened, or only read.

Any number of threads and several processes may use it; whatever SQLite raises becomes a StoreError
with the next step. What stands in its tables is `runs`' and its neighbours' to know.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dapa.core.records import StoreError

SCHEMA = 1
FILE = "dapa.sqlite3"

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


def digest(*parts: object) -> str:
    """A short name for everything in `parts`, equal for equal JSON."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Database:
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
