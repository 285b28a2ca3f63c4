"""Probabilistic delta debugging: drop what is least likely needed, learn from each refusal to go.

Wang et al., "Probabilistic delta debugging" (ESEC/FSE 2021), as analysed by Zhang et al.
(arXiv 2408.04735): each unit has a probability of being needed; the next set to drop maximises
the expected gain, its size times the probability that nothing in it is needed; where the drop
fails, Bayes' rule raises its units. By itself it is not 1-minimal (ibid.); the certificate is.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from dapa.core.records import Mask, Unit
from dapa.search.algorithms.certificate import certified
from dapa.search.algorithms.questions import First, Search, Steps, algorithms, without

FIRST_GUESS = 0.1
"""Every unit's probability at the start (the paper's default)."""


def likely_idle(belief: Mapping[Unit, float]) -> tuple[Unit, ...]:
    """The units whose removal has the highest expected gain; empty where all seem needed."""
    ranked = sorted(belief, key=lambda unit: belief[unit])  # stable: ties in the units' order
    best, size, free = 0.0, 0, 1.0
    for count, unit in enumerate(ranked, start=1):
        free *= 1 - belief[unit]
        if count * free > best:
            best, size = count * free, count
    return tuple(ranked[:size])


def raised(belief: dict[Unit, float], dropped: tuple[Unit, ...]) -> dict[Unit, float]:
    """Learn that `dropped` could not go: at least one of them is needed."""
    some = 1 - prod(1 - belief[unit] for unit in dropped)
    gone = set(dropped)
    # A single unit that could not go is needed: its own probability divided by itself.
    return {u: (1.0 if len(gone) == 1 else p / some) if u in gone else p for u, p in belief.items()}


def probdd(units: tuple[Unit, ...]) -> Steps:
    """Drop by expected gain until every unit left is thought needed; then the certificate."""
    kept = units
    belief = dict.fromkeys(units, FIRST_GUESS)
    while dropped := likely_idle(belief):
        rest = without(kept, dropped)
        if not rest:  # the student itself: known to fail, and learnt from as from any question
            belief = raised(belief, dropped)
            continue
        failed = raised(belief, dropped)
        passed = {u: p for u, p in belief.items() if u not in set(dropped)}
        follow = [(r, likely_idle(b)) for r, b in ((kept, failed), (rest, passed))]
        ahead = tuple(Mask.of(without(r, drop)) for r, drop in follow if 0 < len(drop) < len(r))
        sure = sum(p >= 1 for p in belief.values())
        left = (1 + sure, 1 + 3 * len(kept))
        if (yield First((Mask.of(rest),), ahead=ahead, left=left)) is None:
            belief = failed
        else:
            kept, belief = rest, passed
    return (yield from certified(kept))


@algorithms.add("probdd", "Probabilistic delta debugging")
def _probdd(**_: Any) -> Search:
    return probdd
