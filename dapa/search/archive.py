"""What a confidence search keeps in the run store besides verdicts: readings, ranking, chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from dapa.core.records import Mask, Unit
from dapa.search.confidence.questions import Frozen, Prior
from dapa.store.database import digest
from dapa.store.readings import ReadingMemory
from dapa.store.runs import Store

FROZEN, RANKED = "frozen chain", "ranking"
"""Kinds of notes in the store."""


class StoreArchive:
    """An `Archive` of one run."""

    def __init__(self, store: Store, context: str, prompts: Sequence[str]) -> None:
        """Args: the store, the pair's digest, the rendered prompts."""
        self._store = store
        self.run = ""
        """The run's id, once it has one."""
        self._readings = ReadingMemory(store, digest("log-odds", context), prompts)

    def recall(self, mask: Mask) -> Mapping[int, float]:
        """Readings of a mask."""
        return self._readings.recall(mask)

    def commit(self, mask: Mask, found: Mapping[int, float]) -> None:
        """Keep readings."""
        self._readings.commit(mask, found)

    def freeze(self, orders: Frozen) -> Frozen:
        """Keep the orders, unless this run kept some before, which stand."""
        kept = self._store.rating(FROZEN, self.run)
        if kept is not None:
            return Frozen.from_dict(kept)
        self._store.rate(FROZEN, self.run, orders.as_dict())
        return orders


def ranked_once(store: Store, key: str, make: Callable[[], tuple[str, Prior]]) -> tuple[str, Prior]:
    """The ranking kept under a key; made and kept where there is none."""
    kept = store.rating(RANKED, key)
    if kept is not None:
        return kept["name"], {Unit.parse(name): value for name, value in kept["values"].items()}
    name, values = make()
    body = {str(unit): float(value) for unit, value in values.items()}
    store.rate(RANKED, key, {"name": name, "values": body})
    return name, values
