"""Replies as they were decoded, and what judges said of texts, in the run store's database.

A reply is kept apart from every judge: judging it otherwise costs no decoding. A judge's word is
kept by its name and the two texts, so that a slow or paid judge is asked once. What a judge could
not be asked is not kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dapa.core.records import Label, Manner, Verdict
from dapa.store.database import add_column, digest
from dapa.store.runs import Store

_TABLES = """
create table if not exists replies (
  context text not null, mask text not null, prompt text not null,
  text text not null, ids text not null, ending text not null,
  primary key (context, mask, prompt)
) without rowid;
create table if not exists judgements (
  judge text not null, key text not null,
  label text not null, start integer, stop integer, reason text not null,
  primary key (judge, key)
) without rowid;
"""


@dataclass(frozen=True)
class Said:
    """One decoded reply."""

    text: str
    ids: tuple[int, ...]
    """The reply's tokens in the speaker's own vocabulary, an end token included."""
    ending: str
    """end or length."""


class ReplyStore:
    """Two more tables of a store; safe for threads and processes as the store is."""

    def __init__(self, store: Store) -> None:
        """Make the tables if they are missing."""
        self._store = store
        if store.readonly:
            return
        with store.plainly() as connection:
            for statement in filter(str.strip, _TABLES.split(";")):
                connection.execute(statement)
            connection.execute("begin immediate")  # another process may be adding it
            try:
                add_column(connection, "judgements", "manner text")
                connection.execute("commit")
            except BaseException:
                connection.execute("rollback")
                raise

    def recall(self, context: str, mask: str) -> dict[str, Said]:
        """Rendered prompt's digest -> reply, for everything known of a context and mask."""
        with self.store.plainly() as connection:
            rows = connection.execute(
                "select prompt, text, ids, ending from replies where context = ? and mask = ?",
                (context, mask),
            ).fetchall()
        return {
            prompt: Said(text, tuple(json.loads(ids)), ending) for prompt, text, ids, ending in rows
        }

    def keep(self, context: str, mask: str, prompt: str, said: Said) -> None:
        """Keep one reply for good; `prompt` is the rendered prompt's digest."""
        row = (context, mask, prompt, _plain(said.text), json.dumps(said.ids), said.ending)
        with self.store.plainly() as connection:
            connection.execute("insert or ignore into replies values (?, ?, ?, ?, ?, ?)", row)

    def judged(self, judge: str, pairs: Sequence[tuple[str, str]]) -> dict[int, Verdict]:
        """Place -> verdict, for those (prompt, reply) pairs that this judge has ruled on."""
        found: dict[int, Verdict] = {}
        with self.store.plainly() as connection:
            for i, pair in enumerate(pairs):
                row = connection.execute(
                    "select label, start, stop, reason, manner from judgements "
                    "where judge = ? and key = ?",
                    (judge, digest(*pair)),
                ).fetchone()
                if row is not None:
                    label, start, stop, reason, manner = row
                    span = None if start is None else (start, stop)
                    how = manner and Manner(manner)
                    found[i] = Verdict(Label(label), judge, span, reason, manner=how)
        return found

    def rule(self, said: Mapping[tuple[str, str], Verdict]) -> None:
        """Keep what a judge said of (prompt, reply) pairs; failed calls are left out."""
        rows = [
            (
                *(v.judge, digest(*pair), v.label.value, *(v.span or (None, None))),
                *(_plain(v.reason), v.manner),
            )
            for pair, v in said.items()
            if not v.failed
        ]
        with self.store.plainly() as connection:
            connection.execute("begin")
            connection.executemany(
                "insert or replace into judgements "
                "(judge, key, label, start, stop, reason, manner) values (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            connection.execute("commit")

    @property
    def store(self) -> Store:
        """The database that it lives in."""
        return self._store


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
