"""A judge that asks about a text once, and answers from the run store afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dapa.core.records import Verdict
from dapa.judges.base import Judge
from dapa.store.replies import ReplyStore

CHUNK = 32
"""Verdicts between two commits: a kill loses so many calls at most."""


def remembered(
    judge: Judge, kept: ReplyStore, told: Callable[[int], None] = lambda count: None
) -> Judge:
    """The same judge with a memory; calls that failed are asked again next time.

    Args:
        judge: Who is asked.
        kept: Where its words are kept, under its name.
        told: Told how many pairs are decided, after every commit.
    """

    def many(pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        known = kept.judged(judge.name, pairs)
        told(len(known))
        left = [place for place in range(len(pairs)) if place not in known]
        for start in range(0, len(left), CHUNK):
            places = left[start : start + CHUNK]
            said = judge.all([pairs[place] for place in places])
            kept.rule({pairs[i]: word for i, word in zip(places, said, strict=True)})
            known.update(zip(places, said, strict=True))
            told(len(known))
        return [known[place] for place in range(len(pairs))]

    return replace(
        judge,
        judge=lambda prompt, reply: many([(prompt, reply)])[0],
        many=many,
        within=lambda: remembered(judge.inside, kept, told),
    )
