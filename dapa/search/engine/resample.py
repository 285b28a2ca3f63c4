"""A split drawn again from another, with replacement: a bootstrap over prompts, one memory.

Bootstraps as in Efron (Annals of Statistics 7:1-26, 1979). A prompt that is drawn twice is decoded
once, and what it says is kept in the base split's memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from dapa.core.records import Mask, Verdict
from dapa.model.decode.optimizations import Work
from dapa.search.engine.contract import Job, JobQueue, Memory, Mode, Workload


def resampled(split: Workload, drawn: Sequence[int]) -> Workload:
    """A split whose prompt i is the base split's `drawn[i]`; a prompt drawn twice decodes once."""
    places: dict[int, list[int]] = defaultdict(list)
    for place, prompt in enumerate(drawn):
        places[prompt].append(place)

    def runner(queue: JobQueue, mode: Mode) -> None:
        split.runner(_Folded(queue, drawn, places), mode)

    return Workload(len(drawn), runner, _Drawn(split.memory, drawn, places))


class _Drawn:
    """The base split's memory under the resample's indices."""

    def __init__(
        self, base: Memory, drawn: Sequence[int], places: Mapping[int, Sequence[int]]
    ) -> None:
        self._base, self._drawn, self._places = base, drawn, places

    def recall(self, mode: Mode, mask: Mask) -> Mapping[int, tuple[Verdict, int]]:
        known = self._base.recall(mode, mask)
        return {
            place: (verdict, tokens if place == self._places[prompt][0] else 0)
            for prompt, (verdict, tokens) in known.items()
            for place in self._places.get(prompt, ())
        }

    def commit(self, mode: Mode, job: Job, verdict: Verdict, reply: str, tokens: int) -> None:
        prompt = self._drawn[job.prompt]
        if job.prompt == self._places[prompt][0]:
            self._base.commit(mode, Job(job.mask, prompt), verdict, reply, tokens)


class _Folded:
    """A queue in the base split's indices: one row answers every place of its prompt."""

    def __init__(
        self, queue: JobQueue, drawn: Sequence[int], places: Mapping[int, Sequence[int]]
    ) -> None:
        self._queue, self._drawn, self._places = queue, drawn, places
        self._flying: set[Job] = set()

    def take(self, room: int, spare: int | None = None) -> list[Job]:
        asked = self._queue.take(room, spare)
        jobs = {Job(job.mask, self._drawn[job.prompt]): None for job in asked}
        new = [job for job in jobs if job not in self._flying]
        self._flying.update(new)
        return new

    def wanted(self, job: Job) -> bool:
        asked = [self._queue.wanted(place) for place in self._every(job)]
        if not any(asked):
            self._flying.discard(job)
        return any(asked)

    def done(
        self, job: Job, verdict: Verdict, reply: str, tokens: int, whole: Verdict | None = None
    ) -> None:
        self._flying.discard(job)
        for place in self._every(job):
            self._queue.done(place, verdict, reply, tokens, whole)
            tokens = 0  # decoded once

    def spent(self, work: Work) -> None:
        self._queue.spent(work)

    def _every(self, job: Job) -> list[Job]:
        return [Job(job.mask, place) for place in self._places[job.prompt]]
