"""Rankings of units that need no oracle: divergence, mask gradients, single units, weights.

A prior moves the order in which a search asks, never an answer. It reads search prompts only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch

from dapa.core.masks import HEADS
from dapa.core.records import ENDS, Mask, Unit
from dapa.core.registry import Registry
from dapa.core.resident import give_back
from dapa.localize.causes.flips import single_effects
from dapa.localize.causes.gradients import MovesWhole, integrated_gradients
from dapa.localize.divergence.divergence import divergence
from dapa.localize.divergence.recording import sites_of_pair
from dapa.model.decode.log_odds import past_blanks
from dapa.model.decode.openers import NoOpeners
from dapa.model.pair import Pair
from dapa.model.template import at_answer, encode, render
from dapa.prompts.format import PromptFormat, Turn
from dapa.search.algorithms.best_of import smallest
from dapa.search.algorithms.questions import PRIORS, Steps, algorithms
from dapa.search.engine.control import Halted

T = TypeVar("T")
Prior = Mapping[Unit, float]
"""Unit -> how much it promises; higher is likelier."""
Progress = Callable[[int, int], None]
Make = Callable[
    [Pair, Sequence[Unit], Sequence[str], PromptFormat, threading.Event | None, Progress | None],
    Prior,
]
"""(pair, units, prompts, their format, stop, progress) -> the ranking; Halted where stopped."""

priors: Registry[Make] = Registry("prior")
"""Name -> how the ranking is made."""
PROMPTS = 16
"""Prompts that a prior reads at most: ranks settle long before rates do."""


@dataclass(frozen=True)
class Ranking:
    """A prior with its name, for the report."""

    name: str
    values: Prior
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        values = {str(unit): float(value) for unit, value in self.values.items()}
        return {"name": self.name, "values": values, "seconds": self.seconds}


class Led:
    """A search in the order of a prior, which is made once, before the first question."""

    def __init__(
        self,
        algorithm: str,
        seed: int = 0,
        make: Callable[[], tuple[str, Prior]] | None = None,
        orders: int = 1,
    ) -> None:
        """Begin nothing yet.

        Args:
            algorithm: Its name.
            seed: Its seed, and that of other orders.
            make: What makes the prior; None where the algorithm reads none.
            orders: In how many orders of the units it searches.
        """
        self.ranking: Ranking | None = None
        self._make, self._search = make, partial(algorithms[algorithm], seed=seed)
        self._orders, self._seed = orders, seed

    def prepare(self) -> None:
        """Make the prior. Halted where that was stopped."""
        make, self._make = self._make, None  # it holds the pair
        if make is not None:
            began = time.monotonic()
            name, values = make()
            self.ranking = Ranking(name, values, time.monotonic() - began)

    def __call__(self, units: tuple[Unit, ...]) -> Steps:
        """Begin to search."""
        search = self._search(prior=self.ranking.values if self.ranking else None)
        return smallest(search, self._orders, self._seed)(units)


def weight_distance(pair: Pair, units: Sequence[Unit]) -> Prior:
    """Relative Frobenius distance of a unit's weights, |W_T - W_S| / |W_S|."""
    found = {}
    for unit in units:
        apart = size = 0.0
        for site in pair.sites_of(unit):
            wrapped = pair.sites[site]
            theirs = dict(wrapped.teacher.named_parameters())
            for name, ours in wrapped.student.named_parameters():
                other = theirs.get(name, torch.zeros_like(ours))
                own = [(ours, other)]
                if unit.block is not None or unit.kind in HEADS:
                    places = [
                        where
                        for start, stop in pair.reach(unit, site)
                        for where in wrapped.places(name, start, stop)
                    ]
                    own = [(ours[where], other[where]) for where in places]
                for mine, new in own:
                    size += float(mine.float().square().sum())
                    if unit.rank is not None and mine.dim() > 1:
                        apart += wrapped.low_rank(unit.rank).kept
                    else:
                        apart += float((new.float() - mine.float()).square().sum())
        found[unit] = (apart / size) ** 0.5 if size else float("inf")
    return found


@priors.add("divergence", PRIORS["divergence"])
def divergence_prior(
    pair: Pair,
    units: Sequence[Unit],
    prompts: Sequence[str],
    how: PromptFormat,
    stop: threading.Event | None = None,
    progress: Progress | None = None,
) -> Prior:
    """Local divergence (cosine distance, last token) of a unit's sites, their mean.

    Blocks of one site share its value. Units that are not on the map, such as the head, stand
    at the mean of the others.

    Raises:
        Halted: It was stopped before the end.
    """
    seen_here = sites_of_pair(pair)
    on_map = {
        unit: [site for site in pair.sites_of(unit) if site.module in seen_here]
        for unit in units
        if unit.kind not in ENDS
    }
    kinds = {site.module: None for sites in on_map.values() for site in sites}
    if not kinds:
        return dict.fromkeys(units, 0.0)
    seen = divergence(pair, prompts, how, sites=tuple(kinds), progress=progress, stop=stop)
    if seen.n < seen.asked:
        raise Halted("stopped")
    cells = np.nan_to_num(seen.values, nan=0.0)  # (layers, sites)
    rows, columns = seen.layers.index, seen.sites.index
    inside = {
        unit: float(np.mean([cells[rows(s.layer), columns(s.module)] for s in sites]))
        for unit, sites in on_map.items()
        if sites
    }
    middle = float(np.mean(list(inside.values())))
    return {unit: inside.get(unit, middle) for unit in units}


@priors.add("gradient", PRIORS["gradient"])
def gradient_prior(
    pair: Pair,
    units: Sequence[Unit],
    prompts: Sequence[str],
    how: PromptFormat,
    stop: threading.Event | None = None,
    progress: Progress | None = None,
) -> Prior:
    """Each unit's share of the whole effect on refusal log-odds, by integrated mask gradients.

    Raises:
        NoOpeners: The vocabulary has no refusal opener.
        Halted: It was stopped before the end.
    """
    ids = opening_ids(pair, prompts, how, units)
    found = integrated_gradients(pair, ids, units, stop=stop, progress=progress)
    give_back()  # what the backward passes kept, before replies need room
    if found.whole.n < found.asked:
        raise Halted("stopped")
    return dict(zip(found.units, found.values.tolist(), strict=True))


@priors.add("single", PRIORS["single"])
def single_prior(
    pair: Pair,
    units: Sequence[Unit],
    prompts: Sequence[str],
    how: PromptFormat,
    stop: threading.Event | None = None,
    progress: Progress | None = None,
) -> Prior:
    """What each unit alone adds to the student's refusal log-odds.

    Raises:
        NoOpeners: The vocabulary has no refusal opener.
        Halted: It was stopped before the end.
    """
    ids = opening_ids(pair, prompts, how, units)
    found = single_effects(pair, ids, units, stop=stop, progress=progress)
    if found.whole.n < found.asked:
        raise Halted("stopped")
    return dict(zip(found.units, found.values.tolist(), strict=True))


priors.add("weights", PRIORS["weights"])(
    lambda pair, units, prompts, how, stop, progress: weight_distance(pair, units)
)


def opening_ids(
    pair: Pair,
    prompts: Sequence[str],
    how: PromptFormat,
    units: Sequence[Unit],
    before: Sequence[Turn] = (),
) -> list[tuple[int, ...]]:
    """Prompts as tokens, up to where the answer's first word stands: behind thought and blanks.

    `before` are the turns of a conversation that each of them goes on with.
    """
    asked = [[*before, Turn("user", prompt)] for prompt in prompts]
    ids = [encode(pair, at_answer(render(pair, turns, how), how), how) for turns in asked]
    return past_blanks(pair, ids, Mask.of(units))


def few(prompts: Sequence[T], most: int = PROMPTS) -> list[T]:
    """At most so many of the prompts, evenly spread, so that every category has its part."""
    count = min(most, len(prompts))
    return [prompts[i * len(prompts) // count] for i in range(count)]


def rank(
    name: str | None,
    pair: Pair,
    units: Sequence[Unit],
    prompts: Sequence[str],
    how: PromptFormat,
    stop: threading.Event | None = None,
    progress: Progress | None = None,
) -> tuple[str, Prior]:
    """The prior called `name`; None takes gradients, or divergence where there are none.

    Returns:
        The name of the prior that was made, and its values.

    Raises:
        SettingError: There is no prior of this name.
        NoOpeners: It was asked for by name, and the vocabulary has no refusal opener.
        Halted: It was stopped before the end.
    """
    if name is None and pair.stages:  # offloaded weights are gone when a gradient comes back
        name = "divergence"
    if name is None:
        try:
            return "gradient", priors["gradient"](pair, units, prompts, how, stop, progress)
        except (NoOpeners, MovesWhole):
            name = "divergence"
    return name, priors[name](pair, units, prompts, how, stop, progress)
