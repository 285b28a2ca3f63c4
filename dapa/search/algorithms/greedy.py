"""Greedy searches, the baselines everyone tries first: each step judges every unit in full."""

from __future__ import annotations

from typing import Any

from dapa.core.records import Outcome, Unit
from dapa.search.algorithms.certificate import certified
from dapa.search.algorithms.questions import Score, Search, Steps, algorithms, masks_of, without


def _best(outcomes: tuple[Outcome, ...]) -> int:
    """The index with the most defended prompts, the first of equals."""
    return max(range(len(outcomes)), key=lambda i: (outcomes[i].defended, -i))


def greedy_forward(units: tuple[Unit, ...]) -> Steps:
    """Add the unit that helps most until the target is reached, then see what can go again."""
    chosen: tuple[Unit, ...] = ()
    while len(chosen) < len(units):
        rest = without(units, chosen)
        count = len(rest)
        tries = masks_of([(*chosen, unit) for unit in rest])
        most = (count * (count + 1) + len(units) * (len(units) + 1)) // 2
        outcomes = yield Score(tries, left=(count, most))
        best = _best(outcomes)
        chosen = (*chosen, rest[best])
        if outcomes[best].satisfied:
            break
    return (yield from certified(tuple(u for u in units if u in set(chosen))))


def greedy_backward(units: tuple[Unit, ...]) -> Steps:
    """Drop the unit that is missed least while the target holds; it ends with its certificate."""
    kept = units
    while len(kept) > 1:
        rests = [without(kept, (unit,)) for unit in kept]
        count = len(kept)
        outcomes = yield Score(masks_of(rests), left=(count, count * (count + 1) // 2))
        best = _best(outcomes)
        if not outcomes[best].satisfied:
            break
        kept = rests[best]
    return (yield from certified(kept))


@algorithms.add("greedy-forward", "Greedy, adding the best unit")
def _forward(**_: Any) -> Search:
    return greedy_forward


@algorithms.add("greedy-backward", "Greedy, dropping the least missed unit")
def _backward(**_: Any) -> Search:
    return greedy_backward
