"""What crew and worker tell each other; everything here is pickled.

The crew asks, the worker answers, one message at a time, and the worker keeps its batch between two
turns. So the same few messages go through a pipe and through a cluster's calls.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dapa.core.records import Mask
from dapa.model.decode.optimizations import Work
from dapa.model.spec import PairSpec
from dapa.search.engine.contract import Job, Mode
from dapa.search.engine.pair_runner import Said


@dataclass(frozen=True)
class Hire:
    """What a worker is to load, before all else."""

    spec: PairSpec
    """With precision, device and memory as the asking process resolved them."""
    threads: int | None = None
    """With how many threads it may compute; None leaves them as they are."""


@dataclass(frozen=True)
class Joined:
    """It is loaded."""

    digest: str
    """Of all that decides the pair's replies, as the worker read it."""
    host: str
    pid: int


@dataclass(frozen=True)
class Asking:
    """A list of prompts, as `PairRunner` wants it; equal ones share a runner."""

    texts: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]
    inside: bool
    """Do replies begin inside a thought that the template opened?"""
    begun: str
    """The words that were put before each reply, if any."""
    max_new_tokens: int


@dataclass(frozen=True)
class Turn:
    """Rows to begin and to drop; decode on until some end."""

    begin: tuple[Asking, Mode] | None
    """Where a new list or mode is worked: rows that are left of another are forgotten."""
    jobs: tuple[Job, ...]
    drop: tuple[Job, ...] = ()
    room: int = 0
    """Rows that the worker may hold."""


@dataclass(frozen=True)
class Told:
    """What came of a turn."""

    said: tuple[Said, ...]
    work: Work = field(default_factory=Work)


@dataclass(frozen=True)
class Read:
    """Refusal log-odds to read of some prompts under some masks."""

    ids: tuple[tuple[int, ...], ...]
    """Every prompt of the list."""
    masks: tuple[Mask, ...]
    places: tuple[int, ...]


@dataclass(frozen=True)
class Heard:
    """What was read, (masks, places)."""

    odds: NDArray[np.float64]


@dataclass(frozen=True)
class Fault:
    """The worker could not."""

    kind: Literal["user", "memory", "ours"]
    """What a user can mend; a machine too small for its rows; a fault of the program."""
    text: str


Message = Hire | Turn | Read
Answer = Joined | Told | Heard | Fault
