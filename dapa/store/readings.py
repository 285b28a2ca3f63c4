"""One refusal log-odds per (mask, prompt), kept in the run store beside the verdicts.

A reading is cheaper than a reply, but a search makes thousands, and a resumed one must follow the
very numbers that it followed before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dapa.core.records import Mask
from dapa.store.database import digest
from dapa.store.runs import Store

_TABLE = """
create table if not exists readings (
  context text not null, mask text not null, prompt text not null, value real not null,
  primary key (context, mask, prompt)
) without rowid
"""


class ReadingMemory:
    """The readings of one context; prompts are indices into the list it was made with."""

    def __init__(self, store: Store, context: str, prompts: Sequence[str]) -> None:
        """Args: the store, the digest of all that a reading depends on, the rendered prompts."""
        self._store, self._context = store, context
        self._keys = [digest(prompt) for prompt in prompts]
        self._places = {key: place for place, key in enumerate(self._keys)}
        if not store.readonly:
            with store.plainly() as connection:
                connection.execute(_TABLE)

    def recall(self, mask: Mask) -> dict[int, float]:
        """What is known of a mask: prompt index -> log-odds."""
        with self._store.plainly() as connection:
            rows = connection.execute(
                "select prompt, value from readings where context = ? and mask = ?",
                (self._context, mask.key),
            ).fetchall()
        return {self._places[key]: value for key, value in rows if key in self._places}

    def commit(self, mask: Mask, found: Mapping[int, float]) -> None:
        """Keep readings for good; the first of a prompt stands."""
        rows = [(self._context, mask.key, self._keys[p], v) for p, v in found.items()]
        with self._store.plainly() as connection:
            connection.execute("begin")
            connection.executemany("insert or ignore into readings values (?, ?, ?, ?)", rows)
            connection.execute("commit")
