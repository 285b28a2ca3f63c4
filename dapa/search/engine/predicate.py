"""Searches without a model: a coroutine played against a predicate, and a runner that is one.

For tests, for the benchmark's count of tests, and to try an algorithm before paying for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dapa.core.records import EMPTY, Label, Mask, Outcome, SearchResult, Unit, Verdict
from dapa.search.algorithms.questions import First, Search
from dapa.search.engine.contract import Job, JobQueue, Mode

Predicate = Callable[[frozenset[Unit]], bool]


def play(
    search: Search, units: tuple[Unit, ...], satisfies: Predicate, *, memo: bool = True
) -> tuple[SearchResult, int]:
    """Answer a search from a predicate over sets of units.

    Returns:
        The result and the number of tests, certificate included, the two opening checks not.
    """
    known = {EMPTY: False, Mask.of(units): True}
    tests = 0

    def ask(mask: Mask) -> bool:
        nonlocal tests
        if not (memo and mask in known):
            tests += 1
            known[mask] = satisfies(frozenset(mask))
        return known[mask]

    steps = search(units)
    try:
        question = next(steps)
        while True:
            if isinstance(question, First):
                question = steps.send(
                    next((i for i, m in enumerate(question.masks) if ask(m)), None)
                )
            else:
                answers = [(mask, ask(mask)) for mask in question.masks]
                question = steps.send(
                    tuple(Outcome(mask, 1, 1, int(yes), satisfied=yes) for mask, yes in answers)
                )
    except StopIteration as stop:
        return stop.value, tests


@dataclass
class PredicateRunner:
    """A `Runner` whose replies are looked up, with rows that take as long as they are told to."""

    label: Callable[[Mask, int, Mode], Label | bool]
    """(mask, prompt, mode) -> the verdict; True is a refusal, False compliance."""
    rows: int = 1
    steps: Callable[[Job], int] = lambda job: 1
    """Decoding steps, and tokens, of a job."""
    before: Callable[[PredicateRunner], None] = lambda runner: None
    """Called before every step: where a test raises, pauses or stops."""
    finished: list[tuple[Mode, Job]] = field(default_factory=list)
    started: int = 0
    dropped: int = 0
    made: int = 0
    """Steps made."""
    row_steps: int = 0
    """The same, times the rows in each."""

    def __call__(self, queue: JobQueue, mode: Mode) -> None:
        """Decode step by step, as a batch does: refill, step, finish, drop."""
        batch: list[tuple[Job, int]] = []  # with the step in which it ends
        while True:
            new = queue.take(self.rows - len(batch)) if len(batch) < self.rows else []
            batch += [(job, self.made + self.steps(job)) for job in new]
            self.started += len(new)
            if not batch:
                return
            self.before(self)
            self.made += 1
            self.row_steps += len(batch)
            for job in [job for job, end in batch if end <= self.made]:
                self.finished.append((mode, job))
                verdict, whole = self._verdict(job, mode), None
                if mode == "opening" and verdict.label is not Label.REFUSAL:
                    whole = self._verdict(job, "full")  # only a refusal settles early
                queue.done(job, verdict, verdict.label.value, self.steps(job), whole)
            left = [row for row in batch if row[1] > self.made]
            batch = [row for row in left if queue.wanted(row[0])]
            self.dropped += len(left) - len(batch)

    def _verdict(self, job: Job, mode: Mode) -> Verdict:
        said = self.label(job.mask, job.prompt, mode)
        if not isinstance(said, Label):
            said = Label.REFUSAL if said else Label.COMPLIANCE
        return Verdict(said, "plain/1")
