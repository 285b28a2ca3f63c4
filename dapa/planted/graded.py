"""Plantings in which refusal is a sum of votes against a threshold, noisy from prompt to prompt.

A prompt refuses where votes(mask) + hardness(prompt) exceeds the threshold. Every layer that votes
writes its weight into one refusal sum; the hardness is read off the prompt's words by a head of
layer 0 that attends to all of them alike. So the DSR of every set of layers over a list of prompts
is known by construction, but for prompts at the very edge: norms take a hundredth of each vote.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from functools import cache
from statistics import fmean, pstdev

from dapa.planted.planting import Planting
from dapa.planted.vocabulary import HARMFUL, SHORT, Script, requests

STEPS = 8.0
"""How steeply a vote moves the first token's log-odds."""


@cache
def word_hardness(seed: int, script: Script = SHORT) -> dict[str, float]:
    """Word of a request -> what it adds, before the mean over a prompt's tokens; mean 0, spread 1.

    The spread is that of the sums of all requests that can be made.
    """
    rng = random.Random(f"hardness/{seed}")
    drawn = {word: rng.gauss(0, 1) for word in dict.fromkeys((*HARMFUL, *script.request.split()))}
    sums = [_mean(text, drawn) for text in requests(HARMFUL)]
    middle, spread = fmean(sums), pstdev(sums)
    # a constant over the tokens' mean shifts as the share of words among tokens does: centre first
    return {word: value / spread for word, value in drawn.items()} | {"": -middle / spread}


def _mean(text: str, values: dict[str, float]) -> float:
    """Over the tokens of a rendered prompt, two of which are no words."""
    told = text.split()
    return sum(values.get(word, 0.0) for word in told) / (len(told) + 2)


def hardness(planting: Planting, text: str) -> float:
    """What a prompt adds to the votes."""
    values = word_hardness(planting.seed)
    return planting.noise * (_mean(text, values) + values[""])


def share_refused(planting: Planting, layers: Collection[int], texts: Sequence[str]) -> float:
    """The DSR of a set of layers over some prompts, by construction."""
    votes = sum(weight for layer, weight in planting.votes if layer in layers)
    return fmean(votes + hardness(planting, text) > planting.threshold for text in texts)


def spread_planting(seed: int, layers: int = 12) -> Planting:
    """Every layer but one votes, all alike."""
    rng = random.Random(f"spread/{seed}")
    voters = sorted(rng.sample(range(layers), layers - 1))
    votes = tuple((layer, 1 / len(voters)) for layer in voters)
    return Planting(layers, (), votes=votes, noise=0.3, threshold=0.8, seed=seed)


def mixed_planting(seed: int, layers: int = 16) -> Planting:
    """Three layers vote with a quarter each, four with a sixteenth."""
    rng = random.Random(f"mixed/{seed}")
    voters = rng.sample(range(layers), 7)
    votes = [(layer, 0.25) for layer in voters[:3]] + [(layer, 0.0625) for layer in voters[3:]]
    return Planting(layers, (), votes=tuple(sorted(votes)), noise=0.3, threshold=0.8, seed=seed)
