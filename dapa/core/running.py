"""How long work is run: what it draws from, how much at once, who listens, what stops it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Running:
    """The options that every measurement takes besides what it measures."""

    seed: int = 0
    """Of what is drawn at random: bootstraps, noise, halves of a set."""
    batch_size: int = 16
    """Prompts at once; halved where memory does not suffice."""
    rows: int | None = None
    """Rows of one pass at most; None takes what fits."""
    progress: Callable[[int, int], None] | None = None
    """Told (done, all) after every step."""
    stop: threading.Event | None = None
    """When set, the record holds what was measured so far."""

    @property
    def stopped(self) -> bool:
        """Was it told to end?"""
        return self.stop is not None and self.stop.is_set()
