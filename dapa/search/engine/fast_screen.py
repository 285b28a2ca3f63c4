"""The fast screen: refusal log-odds from one forward pass order what is asked, and never decide.

Which prompts are asked first, and in which order a question's candidates are tried. Every verdict
is still the judge's. How far the screen is to be trusted is measured after the search: its rank
correlation with the verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dapa.core.records import Label, Mask, SearchResult, Unit
from dapa.search.algorithms.questions import First, Search, Steps
from dapa.search.engine.ledger import Ledger

Floats = NDArray[np.float64]
Odds = Callable[[Sequence[Mask], Sequence[int]], Floats]
"""(masks, prompts) -> refusal log-odds, (masks, prompts)."""
SAMPLE = 16
"""Prompts by which candidates are ordered."""
MASKS = 12
"""Masks whose verdicts the screen is held against, at most."""
_DRAWS = 1000


@dataclass(frozen=True)
class Screening:
    """How well the screen foretold the verdicts."""

    value: float
    """Rank-biserial correlation of log-odds with refusal over the replies (2 AUC - 1): 1 where
    every refusal stands above every other reply; NaN where all verdicts agree."""
    low: float
    high: float
    """95 % bootstrap over prompts."""
    replies: int
    masks: int

    def as_dict(self) -> dict[str, float | int | None]:
        """The JSON form, None for what is not defined."""
        body = {"value": self.value, "low": self.low, "high": self.high}
        told: dict[str, float | int | None] = {
            key: value if np.isfinite(value) else None for key, value in body.items()
        }
        return {**told, "n": self.replies, "masks": self.masks}


class FastScreen:
    """One search's screen: each (mask, prompt) is read once."""

    def __init__(self, odds: Odds, prompts: int) -> None:
        """Args: what reads log-odds, and over how many prompts."""
        self._odds, self.prompts = odds, prompts
        self._known: dict[tuple[Mask, int], float] = {}
        count = min(SAMPLE, prompts)
        self.sample = [i * prompts // count for i in range(count)]

    def odds(self, masks: Sequence[Mask], prompts: Sequence[int]) -> Floats:
        """Log-odds, (masks, prompts)."""
        new = [m for m in dict.fromkeys(masks) if any((m, p) not in self._known for p in prompts)]
        if new:
            found = self._odds(new, prompts)
            for i, mask in enumerate(new):
                for j, prompt in enumerate(prompts):
                    self._known[mask, prompt] = float(found[i, j])
        return np.array([[self._known[mask, prompt] for prompt in prompts] for mask in masks])

    def lead(self, full: Mask) -> list[int]:
        """The prompts, those first that the full mask would refuse least surely."""
        every = list(range(self.prompts))
        odds = self.odds([full], every)[0]
        return sorted(every, key=lambda prompt: (odds[prompt], prompt))

    def promise(self, masks: Sequence[Mask]) -> Floats:
        """About the DSR that each mask will have, from the sample of prompts; (masks,)."""
        return np.asarray((1 / (1 + np.exp(-self.odds(masks, self.sample)))).mean(1))

    def held_against(self, ledger: Ledger, masks: Sequence[Mask], seed: int = 0) -> Screening:
        """The screen beside the verdicts of masks that were judged in full, at most `MASKS`."""
        count = min(MASKS, len(masks))
        chosen = [masks[i * len(masks) // count] for i in range(count)]
        odds = self.odds(chosen, self.sample)
        said = np.array(
            [[ledger[mask].labels[p] is Label.REFUSAL for p in self.sample] for mask in chosen]
        ).reshape(odds.shape)
        value = rank_biserial(odds, said)
        random, n = np.random.default_rng(seed), len(self.sample)
        drawn = [random.integers(n, size=n) for _ in range(_DRAWS)]
        again = np.array([rank_biserial(odds[:, i], said[:, i]) for i in drawn])
        again = again[np.isfinite(again)]
        low, high = np.quantile(again, [0.025, 0.975]) if len(again) else (np.nan, np.nan)
        return Screening(value, float(low), float(high), odds.size, len(chosen))


def rank_biserial(odds: Floats, said: NDArray[np.bool_]) -> float:
    """2 AUC - 1: how surely a refusal's log-odds stand above another reply's. NaN without both."""
    yes, no = odds[said], odds[~said]
    if not len(yes) or not len(no):
        return float("nan")
    order = np.sort(no)
    below = np.searchsorted(order, yes, "left") + np.searchsorted(order, yes, "right")
    return float(below.mean() / len(no) - 1)  # a tie counts half


def screened(search: Search, screen: FastScreen) -> Search:
    """`search`, whose candidates are asked in the order of their promise, the best first.

    An algorithm that asks which of several satisfies is content with any of them, so it may be
    handed the likeliest first; what it is told is still a verdict.
    """

    def ordered(units: tuple[Unit, ...]) -> Steps:
        steps, answer = search(units), None
        while True:
            try:
                question = steps.send(answer)
            except StopIteration as stop:
                result: SearchResult = stop.value
                return result
            if not isinstance(question, First) or len(question.masks) < 2:
                answer = yield question
                continue
            promise = screen.promise(question.masks)
            order = sorted(range(len(question.masks)), key=lambda i: (-promise[i], i))
            masks = tuple(question.masks[i] for i in order)
            found = yield replace(question, masks=masks)
            answer = None if found is None else order[found]

    return ordered
