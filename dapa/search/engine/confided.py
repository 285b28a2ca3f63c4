"""What a confidence search is given besides units and prompts, and where it keeps what it read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dapa.core.records import Mask
from dapa.search.confidence.questions import Frozen, Prior
from dapa.search.confidence.record import ConfidencePlan
from dapa.search.engine.contract import Workload
from dapa.search.engine.control import Control
from dapa.search.engine.fast_screen import Odds
from dapa.search.settings import SearchRules


class Archive(Protocol):
    """What outlives the process besides verdicts."""

    def recall(self, mask: Mask) -> Mapping[int, float]:
        """Readings of a mask: prompt -> refusal log-odds."""

    def commit(self, mask: Mask, found: Mapping[int, float]) -> None:
        """Keep readings for good."""

    def freeze(self, orders: Frozen) -> Frozen:
        """Keep them before anything is certified; what this search kept earlier stands."""


class Unkept:
    """An archive that lives as long as the process."""

    def __init__(self) -> None:
        """Start empty."""
        self._read: dict[Mask, dict[int, float]] = {}
        self._frozen: Frozen | None = None

    def recall(self, mask: Mask) -> Mapping[int, float]:
        """What was committed."""
        return dict(self._read.get(mask, {}))

    def commit(self, mask: Mask, found: Mapping[int, float]) -> None:
        """Note it."""
        self._read.setdefault(mask, {}).update(found)

    def freeze(self, orders: Frozen) -> Frozen:
        """The first one stands."""
        self._frozen = self._frozen or orders
        return self._frozen


@dataclass(frozen=True, kw_only=True)
class Confided:
    """What a confidence search is given besides units and prompts."""

    plan: ConfidencePlan
    choose: tuple[int, ...]
    """Places of the prompts that choose."""
    more: tuple[int, ...]
    certify: tuple[int, ...]
    prepare: Callable[[], Prior]
    """Makes the ranking, once, before anything is asked; may raise Halted."""
    kinds: Sequence[str] = ()
    """Kind of harm of each prompt."""
    odds: Odds | None = None
    """Reads log-odds of prompts by their places; None where there are none."""
    archive: Archive | None = None
    locked: Workload | None = None
    settings: SearchRules | None = None
    control: Control | None = None
    offers: Sequence[str] = ()
    looked: Callable[[], int] = lambda: 1
    """Counts a look at the certify prompts, before the first is asked; how many there are."""
    devices: int = 0
    clock: Callable[[], float] = time.monotonic
