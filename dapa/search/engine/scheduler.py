"""Answers a coroutine's questions through a runner: curtailment, memo, running ahead, budgets.

The runner sees a scheduler as its `JobQueue`. A verdict comes in by `done`; when it settles a
question the next one is asked on the spot, and `take` serves it. Candidates are committed in their
order, so what ran ahead can change the costs and never the answer.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Any

from dapa.core.records import Mask, Outcome, Verdict
from dapa.model.decode.optimizations import Work
from dapa.search.algorithms.questions import First, Question, Score, Settle
from dapa.search.engine.contract import Job, Mode, Workload
from dapa.search.engine.control import Halted
from dapa.search.engine.ledger import Ledger
from dapa.search.engine.meter import Meter
from dapa.search.settings import SearchRules


class Scheduler:
    """One split in one verdict mode, for any number of coroutines, one after the other."""

    def __init__(self, split: Workload, mode: Mode, settings: SearchRules, meter: Meter) -> None:
        """Args: who decodes and remembers; how replies are judged; the rules; the costs."""
        self.split, self.mode, self.settings, self.meter = split, mode, settings, meter
        self.ledger = Ledger(split.prompts, curtail=settings.curtail)
        self._clear()

    def _clear(self) -> None:
        self._steps: Generator[Question, Any, Any] | None = None
        self._question: Question | None = None
        self._answer: Any = None
        self._front = 0
        self._entered = self._memo = False
        self._active: tuple[Mask, ...] = ()
        self._value: Any = None
        self._error: BaseException | None = None
        self._over = False

    # -- the driver's side ------------------------------------------------------------------

    def run(self, steps: Generator[Question, Any, Any]) -> Any:
        """Answer until the coroutine returns; its value.

        Raises:
            Halted: It was stopped or a budget ran out; all verdicts are kept.
            Exception: Whatever the coroutine or the runner raised.
        """
        self._clear()
        self._steps = steps
        try:
            with self.meter.lock:
                self._advance()
            if not self._over:  # memory may have had every answer
                self.split.runner(self, self.mode)
            if self._error is not None:
                raise self._error
            if not self._over:
                wanted = sum(self.split.prompts - len(self.ledger[m].labels) for m in self._active)
                raise RuntimeError(f"the runner went home with {wanted} verdicts still wanted")
            return self._value
        finally:
            steps.close()
            self.ledger.land()

    def judge(self, masks: Iterable[Mask], phase: str) -> tuple[Outcome, ...]:
        """Each mask judged in full, in their order. Raises as `run`."""
        answer: tuple[Outcome, ...] = self.run(_only(Score(tuple(masks), phase=phase)))
        return answer

    def settle(self, masks: Iterable[Mask]) -> tuple[Outcome, ...]:
        """Does each satisfy? Outcomes may be curtailed. Raises as `run`."""
        answer: tuple[Outcome, ...] = self.run(_only(Settle(tuple(masks))))
        return answer

    # -- the runner's side ------------------------------------------------------------------

    def take(self, room: int, spare: int | None = None) -> list[Job]:
        """Jobs in order of want; see `JobQueue`."""
        self.meter.control.wait()
        with self.meter.lock:
            self._check()
            jobs: list[Job] = []
            if self._over:
                return jobs
            telling = self.ledger.telling()
            for mask, rows, sure in self._wants():
                left = (room if sure or spare is None else min(room, spare)) - len(jobs)
                tally = self.ledger[mask]
                free = [p for p in telling if p not in tally.labels and p not in tally.flying]
                picked = free[: max(0, min(left, rows - len(tally.flying)))]
                tally.flying.update(picked)
                jobs += [Job(mask, prompt) for prompt in picked]
                if len(jobs) == room:
                    break
            return jobs

    def wanted(self, job: Job) -> bool:
        """See `JobQueue`; a job that is not wanted is no longer thought to be in flight."""
        self.meter.control.wait()
        with self.meter.lock:
            self._check()
            tally = self.ledger[job.mask]
            if job.mask in self._active and job.prompt not in tally.labels:
                return True
            tally.flying.discard(job.prompt)
            return False

    def done(
        self, job: Job, verdict: Verdict, reply: str, tokens: int, whole: Verdict | None = None
    ) -> None:
        """Commit first, then count, then ask on; see `JobQueue`."""
        self.split.memory.commit(self.mode, job, verdict, reply, tokens)
        if whole is not None and self.mode == "opening":
            self.split.memory.commit("full", job, whole, reply, 0)  # its tokens are paid for
        with self.meter.lock:
            tally = self.ledger[job.mask]
            tally.flying.discard(job.prompt)
            if not self.ledger.add(job.mask, job.prompt, verdict):
                return
            tally.unlogged += tokens
            tally.fresh = True
            self.meter.judged += 1
            self.meter.tokens += tokens
            self._check()
            if self._over or self._known(job.mask):  # else nothing has changed but a count
                self._advance()

    def spent(self, work: Work) -> None:
        """Onto the costs; see `JobQueue`."""
        with self.meter.lock:
            self.meter.work.add(work)

    # -- inside, under the lock -------------------------------------------------------------

    def _check(self) -> None:
        """Stopped, or out of tokens or seconds?"""
        if self._over:
            return
        limits, meter = self.settings, self.meter
        if meter.control.stopped:
            self._halt(Halted("stopped"))
        elif limits.max_seconds is not None and meter.seconds >= limits.max_seconds:
            self._halt(Halted(f"budget: {limits.max_seconds:g} seconds"))
        elif limits.max_tokens is not None and meter.all_tokens >= limits.max_tokens:
            self._halt(Halted(f"budget: {limits.max_tokens:,} tokens"))

    def _halt(self, error: BaseException) -> None:
        self._error, self._over = error, True
        self._want(())

    def _advance(self) -> None:
        """Go as far as the verdicts at hand allow."""
        while not self._over:
            if self._question is None:
                self._ask_on()
            elif not self._settle():
                break
        self._want(() if self._over else tuple(self._look()))

    def _want(self, masks: tuple[Mask, ...]) -> None:
        self._active = masks
        self.meter.judging = (self.ledger, masks)

    def _ask_on(self) -> None:
        """Hand the answer over and receive the next question."""
        assert self._steps is not None, "a scheduler answers only while it runs"
        answer, self._answer = self._answer, None
        try:
            self._question = self._steps.send(answer)
        except StopIteration as stop:
            self._over, self._value = True, stop.value
            return
        except Exception as error:  # carried past the runner and raised again by `run`
            self._halt(error)
            return
        self._front, self._entered = 0, False
        if not isinstance(self._question, Settle) and self._question.left is not None:
            self.meter.left = self._question.left
        if self.meter.counting and not self.settings.memo:
            for mask in self._question.masks:
                self.ledger.forget(mask)

    def _settle(self) -> bool:
        """Commit what is known of the question, in order; True once it is answered."""
        question = self._question
        assert question is not None
        while self._front < len(question.masks):
            mask = question.masks[self._front]
            if not self._entered and not self._enter(mask):
                return False
            if not self._known(mask):
                return False
            outcome = self._commit(mask, question)
            self._front, self._entered = self._front + 1, False
            if isinstance(question, First) and outcome.satisfied:
                self._answer, self._question = self._front - 1, None
                return True
        if not isinstance(question, First):
            self._answer = tuple(self.ledger.outcome(mask) for mask in question.masks)
        self._question = None
        return True

    def _enter(self, mask: Mask) -> bool:
        """The next candidate comes up for commitment: does the budget hold?"""
        meter, limit = self.meter, self.settings.max_tests
        self._recall(mask)
        self._memo = meter.counting and self.settings.memo and mask in self.ledger.questioned
        if meter.counting:
            if self._memo:
                meter.memo_hits += 1
            elif limit is not None and meter.tests >= limit:
                self._halt(Halted(f"budget: {limit} tests", tests_only=True))
                return False
            else:
                meter.tests += 1
        self.ledger.questioned.add(mask)
        self._entered = True
        return True

    def _known(self, mask: Mask) -> bool:
        """Is there enough to answer?"""
        if isinstance(self._question, Score):
            return self.ledger.full(mask)
        return self.ledger.satisfied(mask) is not None

    def _commit(self, mask: Mask, question: Question) -> Outcome:
        """Write the candidate into the log."""
        tally, outcome = self.ledger[mask], self.ledger.outcome(mask)
        phase = "search" if isinstance(question, First) else question.phase
        cut = question.granularity if isinstance(question, First) else None
        memo = self._memo or not tally.fresh
        self.meter.log(outcome, phase, memo, cut, tally.unlogged)
        tally.unlogged = 0
        if isinstance(question, Score) and self.mode == "opening":
            self.meter.saw(outcome)
        return outcome

    def _recall(self, mask: Mask) -> None:
        """Look into memory, once a mask."""
        if mask in self.ledger or not self.settings.memo:
            return
        known = self.split.memory.recall(self.mode, mask)
        for prompt, (verdict, tokens) in known.items():
            if self.ledger.add(mask, prompt, verdict):
                self.meter.recalled += 1
                self.meter.recalled_tokens += tokens

    def _look(self) -> Iterator[Mask]:
        """The open masks that are worth rows, most wanted first."""
        question = self._question
        assert question is not None
        if isinstance(question, First):
            yield from self._look_ahead(question)
            return
        limit, new = self.settings.max_tests, 0
        for mask in question.masks[self._front :]:
            if self.meter.counting and limit is not None and mask not in self.ledger.questioned:
                new += 1
                if self.meter.tests + new > limit:
                    return
            self._recall(mask)
            if not self._known(mask):
                yield mask

    def _look_ahead(self, question: First) -> Iterator[Mask]:
        """The candidate that is asked, then at most `lookahead` others."""
        front, *rest = question.masks[self._front :]
        yield front
        room = self.settings.lookahead
        for mask in (*rest, *question.ahead):
            if room == 0:
                return
            self._recall(mask)
            answer = self.ledger.satisfied(mask)
            if answer is None and mask != front:
                yield mask
                room -= 1
            elif answer and mask in rest:
                return  # nobody will ask about the candidates behind this one

    def _wants(self) -> Iterator[tuple[Mask, int, bool]]:
        """Each active mask with the rows it may hold, and whether its answer is surely needed.

        Read as rows are given out.
        """
        for place, mask in enumerate(self._active):
            if isinstance(self._question, Score):
                yield mask, self.ledger.asked, True
            else:
                sure = place == 0 or not isinstance(self._question, First)
                yield mask, self.ledger.useful(mask), sure
        if self.settings.eager:
            yield from ((mask, self.ledger.asked, False) for mask in self._active)


def _only(question: Question) -> Generator[Question, Any, Any]:
    """The least coroutine: one question, whose answer is its value."""
    return (yield question)
