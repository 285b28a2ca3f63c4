"""The contract between the driver, who knows what to ask, and a runner, who can decode.

A runner pulls jobs while it has free rows, reports each verdict when it is known, and drops rows
whose answer is no longer wanted. So curtailment, refilled slots and several candidates in one
batch are one mechanism, and a test's runner is a plain predicate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from dapa.records import Mask, Verdict

Mode = Literal["opening", "full"]
"""`opening`: a row may stop once its verdict is settled. `full`: to its end or the token limit."""


@dataclass(frozen=True)
class Job:
    """One reply to decode and judge: this mask on this prompt."""

    mask: Mask
    prompt: int
    """Index into the prompt list that driver and runner share."""


class Feed(Protocol):
    """What a runner sees of the driver."""

    def take(self, room: int) -> list[Job]:
        """At most `room` jobs to start now, most wanted first; empty when there is none."""

    def wanted(self, job: Job) -> bool:
        """Would the answer still change anything? A runner drops rows that are not wanted."""

    def done(self, job: Job, verdict: Verdict, reply: str, tokens: int) -> None:
        """The verdict is known; the driver commits it before anything else."""


Runner = Callable[[Feed, Mode], None]
"""Works the feed until `take` returns nothing and no row is in flight."""
