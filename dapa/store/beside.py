"""What was measured beside a stored run, a record a measurement: its report tells it later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dapa.store.database import Store, beside


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
