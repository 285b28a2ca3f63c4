"""What would a confidence search cost, and what can it show? Played on pairs on paper.

Refusal sits in a few units or in most of them there, so the range is wide: where it is concentrated
the chain is short, where it is spread nearly every unit is asked about.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dapa.search.confidence.course import Course, answered, confident
from dapa.search.confidence.plan import PromptParts
from dapa.search.confidence.truths import Truth, TruthShape, VerdictTable

PAPER = ("concentrated", "spread", "mixed")
"""Truths that are searched on paper, as far as the units suffice."""
LEAST = {"concentrated": 6, "spread": 2, "mixed": 19}
DRAWS = 2


@dataclass(frozen=True)
class PaperCosts:
    """What searches on paper asked, one entry a search."""

    tests: tuple[int, ...]
    replies: tuple[int, ...]
    readings: tuple[int, ...]


def on_paper(parts: PromptParts, units: int, readable: bool = True) -> PaperCosts:
    """Search truths of as many units, on as many prompts.

    Args:
        parts: The prompts by what they do.
        units: How many units are searched.
        readable: Are there log-odds?
    """
    measured = 3 * len(parts.locked) if parts.plan.claim == "confidence" else 0
    tests, replies, readings = list[int](), list[int](), list[int]()
    for kind in [kind for kind in PAPER if units >= LEAST[kind]] or ["spread"]:
        for draw in range(DRAWS):
            truth = Truth(TruthShape(kind, units, pairs=0.0), (17, draw))
            rng = np.random.default_rng([17, draw, units])
            table = VerdictTable(truth, len(parts.asked), rng)
            places = (parts.choose, parts.more, parts.certify)
            course = Course(parts.plan, truth.units, truth.prior(rng), *places, readable=readable)
            answered(confident(course), table)
            closing = 2 * len(parts.certify) + min(100, len(parts.certify)) * 2
            tests.append(table.masks)
            replies.append(table.replies + closing + measured)
            readings.append(table.readings)
    return PaperCosts(tuple(tests), tuple(replies), tuple(readings))


def reading_pace(read: Callable[[], object], prompts: int) -> float:
    """Seconds of one reading, from reading so many."""
    began = time.monotonic()
    read()
    return (time.monotonic() - began) / max(prompts, 1)
