"""What the rows run on: a planted pair of a chosen size, plain copies for rivals, and prompts.

The pair refuses under the planted gates and under no others, a refusal takes 23 tokens with its
end, and compliance never ends by itself, so that it runs to the token limit.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from statistics import mean
from typing import Any

import torch

from dapa.bench import timing
from dapa.core.records import Unit
from dapa.model.pair import Pair
from dapa.model.template import encode, render
from dapa.planted.graded import spread_planting
from dapa.planted.pairs import PlantedModels, Planting, harmful_prompts, plant
from dapa.planted.vocabulary import COMPLIANCE, Script
from dapa.planted.wiring import ModelShape
from dapa.prompts.format import PromptFormat, Turn
from dapa.search.algorithms import algorithms
from dapa.search.algorithms.questions import Search
from dapa.search.engine.predicate import play

FILLER = """
for my old friend who lives near that mill and likes long walks along a quiet river when evening
comes after work
"""
SCRIPT = Script(
    compliance=COMPLIANCE,
    refusals=(
        "I'm sorry, but we cannot assist with planning that because it could hurt people, and "
        "nobody responsible would ever want someone else injured.",
        "I can't help you here, since such things may cause serious harm.",
    ),
    endless=True,
    request="how do I please tell me to explain can you show build find make use get hide now at "
    "home step by without tools in one day" + FILLER,
    size=2048,
)


@dataclass(frozen=True)
class Size:
    """How large, and how much of everything."""

    name: str
    layers: int
    shape: ModelShape
    prompts: int
    """Of a search."""
    length: tuple[int, int]
    """Shortest and longest request, in words."""
    tokens: int
    """The limit of every reply."""
    needed: int = 4
    """Gates that carry the planted refusal."""
    model_type: str = "llama"
    vocabulary: int = 0
    """Tokens of the vocabulary, where more than the script's own."""
    spread: bool = False
    """Is refusal a sum of small votes of all layers but one, in place of a few needed gates?"""

    @property
    def script(self) -> Script:
        """What models of this size read and say."""
        return replace(SCRIPT, size=self.vocabulary) if self.vocabulary else SCRIPT


QUICK = Size(
    "quick",
    12,
    ModelShape(hidden=192, neurons=320, heads=6, kv_heads=2, head_dim=32),
    24,
    (12, 24),
    32,
    3,
)
FULL = Size(
    "full",
    32,
    ModelShape(hidden=320, neurons=576, heads=10, kv_heads=2, head_dim=32),
    48,
    (20, 40),
    32,
)
MICRO = Size(
    "micro", 6, ModelShape(hidden=192, neurons=32, heads=3, head_dim=32), 6, (8, 12), 24, 2
)
"""For tests of the benchmark itself."""


def draws(units: tuple[Unit, ...], needed: int, trials: int = 200) -> list[frozenset[Unit]]:
    """Seeded draws of needed units."""
    return [frozenset(Random(100 * seed + needed).sample(units, needed)) for seed in range(trials)]


def count_tests(search: Search, units: tuple[Unit, ...], need: frozenset[Unit], memo: bool) -> int:
    """How many tests a search makes where exactly `need` must be there.

    The two opening checks are not counted.
    """
    found, tests = play(search, units, need.issubset, memo=memo)
    assert set(found.units) == need, f"found {found.units}, planted {sorted(need)}"
    return tests


def ordinary(layers: int, needed: int) -> Planting:
    """One of 200 draws, neither a lucky one nor an unlucky one for the rival.

    It is the one for which delta debugging with memo is nearest to its own mean over all of them.
    """
    units = tuple(Unit(layer) for layer in range(layers))
    every = draws(units, needed)
    counts = [count_tests(algorithms["ddmin"](), units, need, True) for need in every]
    middle = mean(counts)
    best = min(range(len(every)), key=lambda i: abs(counts[i] - middle))
    return Planting(layers, tuple(sorted(unit.layer for unit in every[best])))


def requests(count: int, length: tuple[int, int], seed: int = 0) -> list[str]:
    """Harmful requests, padded with harmless words to between `length` words each, evenly."""
    words, made = FILLER.split(), []
    low, high = length
    for i, text in enumerate(harmful_prompts(count, seed)):
        wanted = low + (high - low) * i // max(count - 1, 1)
        parts, j = text.split(), i
        while len(parts) < wanted:
            parts.append(words[j % len(words)])
            j += 1
        made.append(" ".join(parts))
    Random(seed).shuffle(made)
    return made


def own_gates(model: Any) -> Any:
    """A copy of a model that shares every weight with it but the gates, which are overwritten."""
    gates = {id(m.weight) for name, m in model.named_modules() if name.endswith("gate_proj")}
    return deepcopy(model, {id(p): p for p in model.parameters() if id(p) not in gates})


@dataclass
class Scene:
    """One size, made once; the pair is wrapped, the rivals' models are untouched copies."""

    size: Size
    rounds: int = field(default_factory=lambda: timing.ROUNDS)
    how: PromptFormat = field(default_factory=PromptFormat)

    @cached_property
    def planting(self) -> Planting:
        """What is true of the pair."""
        if self.size.spread:
            return spread_planting(0, self.size.layers)
        return ordinary(self.size.layers, self.size.needed)

    @cached_property
    def _models(self) -> PlantedModels:
        size = self.size
        models = plant(
            self.planting, size.model_type, 0, size.shape, size.script, shared=self.device != "cpu"
        )
        self.plain = own_gates(models.student), own_gates(models.teacher)
        return models

    @cached_property
    def pair(self) -> Pair:
        """The row-masked pair."""
        return self._models.pair(f"bench-{self.size.name}")

    @cached_property
    def rivals(self) -> tuple[Any, Any]:
        """Plain student and teacher."""
        _ = self._models
        return self.plain

    @property
    def device(self) -> str:
        """Where everything runs."""
        return self.size.shape.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.size.shape.dtype

    @property
    def tokenizer(self) -> Any:
        """Of both models."""
        return self.pair.tokenizer

    @cached_property
    def texts(self) -> list[str]:
        """The search's requests."""
        return requests(self.size.prompts, self.size.length)

    @cached_property
    def ids(self) -> list[tuple[int, ...]]:
        """The same, rendered and encoded."""
        return self.encoded(self.texts, self.how)

    def encoded(self, texts: list[str], how: PromptFormat) -> list[tuple[int, ...]]:
        """Requests as the models read them."""
        return [
            encode(self.pair, render(self.pair, [Turn("user", text)], how), how) for text in texts
        ]

    @cached_property
    def parameters(self) -> int:
        """Of one model."""
        return sum(p.numel() for p in self.rivals[0].parameters())

    @property
    def title(self) -> str:
        """For people."""
        size, shape = self.size, self.size.shape
        return (
            f"planted {size.model_type} of {self.parameters / 1e6:.1f} M parameters, {size.layers} "
            f"layers of width {shape.hidden}, {size.needed} gates needed "
            f"({', '.join(map(str, self.planting.needed))})"
        )


def pin(threads: int = 1) -> None:
    """Threads beside a busy neighbour wait for each other; one is steady."""
    torch.set_num_threads(threads)
