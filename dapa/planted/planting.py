"""What is true of a planted pair by construction, and drawing such truths at random."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dapa.core.records import Unit


@dataclass(frozen=True)
class Planting:
    """What is true of a planted pair, by construction."""

    layers: int
    needed: tuple[int, ...]
    """Their gates together are sufficient, and none can be spared."""
    alternative: tuple[int, ...] = ()
    """A second, disjoint sufficient set."""
    inhibitor: int | None = None
    """Its gate undoes refusal ..."""
    antidote: int | None = None
    """... unless this later layer's gate is transplanted too."""
    distractors: tuple[int, ...] = ()
    """Differences five times as large, without effect."""
    votes: tuple[tuple[int, float], ...] = ()
    """(layer, weight): in place of all the above, weights that are summed against a threshold."""
    noise: float = 0.0
    """How far prompts differ in what they add to the votes (a standard deviation)."""
    threshold: float = 1.0
    """Votes and hardness together that make a prompt refused."""
    seed: int = 0
    """Of the words' hardness."""
    heads: tuple[tuple[int, int], ...] = ()
    """(layer, head) of query heads that are needed besides `needed`."""
    kv: tuple[tuple[int, int], ...] = ()
    """The same of heads of keys and values; both from layer 1 on, which sees the harm flag."""

    def __post_init__(self) -> None:
        """A planting must be possible: roles disjoint, the antidote above the inhibitor."""
        roles = [*self.needed, *self.alternative, *self.distractors, *dict(self.votes)]
        roles += [x for x in (self.inhibitor, self.antidote) if x is not None]
        assert len(set(roles)) == len(roles), f"a layer has two roles: {roles}"
        assert all(0 <= x < self.layers for x in roles), f"a role beyond {self.layers} layers"
        fine = [layer for layer, _ in (*self.heads, *self.kv)]
        assert all(0 < x < self.layers for x in fine), f"heads of {fine} see no harm flag"
        if self.inhibitor is not None:
            assert self.antidote is not None and self.antidote > self.inhibitor, (
                "the antidote reads what the inhibitor wrote, so it must stand above it"
            )

    @property
    def roles(self) -> frozenset[int]:
        """The layers whose gates have a meaning."""
        other = {self.inhibitor, self.antidote} - {None}
        return frozenset({*self.needed, *self.alternative, *other, *dict(self.votes)})  # type: ignore[arg-type]

    def refuses(self, layers: frozenset[int] | set[int]) -> bool:
        """The truth table: does the student refuse with these layers' gates transplanted?"""
        enough = set(self.needed) <= layers or (
            bool(self.alternative) and set(self.alternative) <= layers
        )
        inhibited = self.inhibitor in layers and self.antidote not in layers
        return enough and not inhibited

    @property
    def facts(self) -> dict[str, list[int]]:
        """Kind of site -> the planted layers, as a bundled pair tells them."""
        gates = {"gate": sorted((*self.needed, *dict(self.votes)))}
        fine = {"heads": self.heads, "kv": self.kv}
        return gates | {kind: sorted(dict(at)) for kind, at in fine.items() if at}

    @property
    def units(self) -> tuple[Unit, ...]:
        """The needed layers as units of gates, and the needed heads."""
        fine = [("heads", at) for at in self.heads] + [("kv", at) for at in self.kv]
        heads = [Unit(layer, kind, (head, head + 1)) for kind, (layer, head) in fine]
        return (*(Unit(layer, "gate") for layer in self.needed), *heads)


def random_planting(seed: int, kind: str = "and", layers: int | None = None) -> Planting:
    """Draw a planting: `and`, `or`, `inhibitor` or `distractors`."""
    generator = torch.Generator().manual_seed(1000 + seed)

    def between(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    n = layers or between(6, 12)
    order = torch.randperm(n, generator=generator).tolist()
    m = between(1, 3)
    needed = tuple(sorted(order[:m]))
    rest = order[m:]
    if kind == "or":
        return Planting(n, needed, alternative=tuple(sorted(rest[: between(1, 3)])))
    if kind == "inhibitor":
        low, high = sorted(rest[:2])
        return Planting(n, needed, inhibitor=low, antidote=high)
    if kind == "distractors":
        return Planting(n, needed, distractors=tuple(sorted(rest[:2])))
    assert kind == "and", f"unknown kind of planting {kind!r}"
    return Planting(n, needed)
