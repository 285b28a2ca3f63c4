"""Which card holds which part of a pair that is spread over several; nothing is loaded here.

Layer i of the student and layer i of the teacher stand on one card, since a masked forward may need
either. What is outside of the layers stands on the first, where prompts go in and logits come out.
Written by reading transformers and accelerate, and tested on the meta device only: no machine with
two cards was at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from dapa.core.records import PairError
from dapa.model.checkpoint import Checkpoint
from dapa.model.families import Family, submodule
from dapa.model.machine import ALL_CARDS, cards, free_memory
from dapa.model.memory import by_layer, gib

Placed = str | dict[str, str]
"""One device, or a device for each part of a model, by its path."""


def simulated(settings: Any) -> Any:
    """A model of this config on the meta device: its modules and shapes, not one number."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(settings).eval()


def placed(ours: Checkpoint, theirs: Checkpoint, dtype: torch.dtype, device: str) -> Placed:
    """Where the parts of both models go: the device, or a map over all cards for `cuda:all`."""
    if device != ALL_CARDS:
        return device
    width = torch.empty((), dtype=dtype).element_size()
    sides = (ours.shapes, theirs.shapes)
    sizes = [(name, width * prod(shape)) for side in sides for name, shape in side.items()]
    ends, layers = by_layer(sizes)
    there = cards(device)
    where = spread(layers, ends, [free_memory(card) for card in there])
    return device_map(simulated(ours.settings), ours.family, [there[i] for i in where], there[0])


def spread(layers: Sequence[int], ends: int, free: Sequence[int]) -> list[int]:
    """The card of each layer, in order, so that every card is filled by the same share.

    Args:
        layers: Bytes of each, of both models together.
        ends: Bytes outside of the layers; on the first card.
        free: Bytes that each card has.

    Raises:
        PairError: They do not fit, with the figures.
    """
    whole, room = ends + sum(layers), sum(free)
    where: list[int] = []
    card, used = 0, ends
    for size in layers:
        share = free[card] * whole / max(room, 1)
        while card + 1 < len(free) and used and used + size / 2 > share:
            card, used = card + 1, 0
            share = free[card] * whole / max(room, 1)
        where.append(card)
        used += size
    held = [sum(s for s, c in zip(layers, where, strict=True) if c == i) for i in range(len(free))]
    held[0] += ends
    over = [i for i, (need, has) in enumerate(zip(held, free, strict=True)) if need > has]
    if over:
        i = over[0]
        raise PairError(
            f"the pair needs {gib(held[i])} on card {i}, where {gib(free[i])} are free; "
            "use lean or offload memory, bfloat16, or smaller models"
        )
    return where


def device_map(model: Any, family: Family, where: Sequence[str], first: str) -> dict[str, str]:
    """What transformers calls so: a device for each layer, and the first for what is in none."""
    layers = submodule(model, family.layers)
    found = {path: first for path in _outside(model, layers, "")}
    return found | {f"{family.layers}.{i}": device for i, device in enumerate(where)}


def _outside(model: nn.Module, layers: nn.Module, path: str) -> Iterator[str]:
    for name, child in model.named_children():
        if child is layers:
            continue
        if any(part is layers for part in child.modules()):
            yield from _outside(child, layers, f"{path}{name}.")
        else:
            yield f"{path}{name}"
