"""The contract between the driver, who knows what to ask, and a runner, who can decode.

A runner pulls jobs while it has free rows, reports each verdict when it is known, and drops rows
whose answer is no longer wanted. So curtailment, refilled slots and several candidates in one
batch are one mechanism, and a test's runner is a plain predicate. One call of a runner lasts a
whole search: the next question is asked inside `done`, so the batch never drains between two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from dapa.core.records import Mask, Verdict
from dapa.model.decode.optimizations import Work

Mode = Literal["opening", "full"]
"""`opening`: a row may stop once its verdict is settled. `full`: to its end or the token limit."""


@dataclass(frozen=True)
class Job:
    """One reply to decode and judge: this mask on this prompt."""

    mask: Mask
    prompt: int
    """Index into the prompt list that driver and runner share."""


class JobQueue(Protocol):
    """What a runner sees of the driver. Each call may block while the search is paused."""

    def take(self, room: int, spare: int | None = None) -> list[Job]:
        """At most `room` jobs to start now, most wanted first; empty when there is none now.

        Of them, only the first `spare` may be for answers that nobody needs yet; None: all.

        While rows are in flight, ask again after each `done`: a verdict makes new questions.
        """

    def wanted(self, job: Job) -> bool:
        """Would the answer still change anything? False takes the job back: drop its row.

        It may be handed out again later. A row that is finished all the same does no harm.
        """

    def done(
        self, job: Job, verdict: Verdict, reply: str, tokens: int, whole: Verdict | None = None
    ) -> None:
        """The verdict is known; the driver commits it before anything else.

        Args:
            job: What was asked.
            verdict: In the mode that the runner was called in.
            reply: The text that was judged.
            tokens: How many were decoded for it.
            whole: The verdict at full length as well, where an opening ran to its end unsettled:
                decoding is greedy, so nobody need decode that reply again.
        """

    def spent(self, work: Work) -> None:
        """What the runner computed and spared since it last told; for the costs."""


Runner = Callable[[JobQueue, Mode], None]
"""Works the queue until `take` returns nothing and no row is in flight."""


class Memory(Protocol):
    """The verdicts of one pair on one prompt list by one judge, kept longer than a search."""

    def recall(self, mode: Mode, mask: Mask) -> Mapping[int, tuple[Verdict, int]]:
        """What is known of a mask: prompt -> (verdict, tokens decoded for it)."""

    def commit(self, mode: Mode, job: Job, verdict: Verdict, reply: str, tokens: int) -> None:
        """Keep one verdict for good. An error here ends the search: unkept is unknown."""


class Notebook:
    """A memory that lives as long as the process."""

    def __init__(self) -> None:
        """Start empty."""
        self.pages: dict[tuple[Mode, Mask], dict[int, tuple[Verdict, int]]] = {}
        self.replies: dict[tuple[Mode, Job], str] = {}

    def recall(self, mode: Mode, mask: Mask) -> Mapping[int, tuple[Verdict, int]]:
        """What was committed for this mask."""
        return dict(self.pages.get((mode, mask), {}))

    def commit(self, mode: Mode, job: Job, verdict: Verdict, reply: str, tokens: int) -> None:
        """Note it."""
        self.pages.setdefault((mode, job.mask), {})[job.prompt] = (verdict, tokens)
        self.replies[mode, job] = reply


@dataclass(frozen=True)
class Workload:
    """One list of prompts, with who decodes it and who remembers."""

    prompts: int
    """How many; what they say is known to runner and memory alone."""
    runner: Runner
    memory: Memory
