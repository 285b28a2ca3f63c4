"""What was computed of prompts under masks, kept for masks that begin alike.

The states that enter a layer depend on the prompt and on what the mask does below that layer, on
nothing above. So a prompt's readings form a trie over masks, layer by layer: a new mask walks down
it as far as it agrees with an earlier one and enters the model there (`reentry`). What one reading
made stays together in a `Block`; the least recently used blocks are dropped beyond a budget.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import count
from threading import Lock
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from dapa.core.records import Mask

_ENDS = ("final_norm", "head")  # units behind the last layer: no layer's states depend on them


@dataclass(frozen=True)
class Path:
    """A mask as the stream meets it."""

    before: Hashable
    """What it does to the embeddings."""
    levels: tuple[Hashable, ...]
    """What it does in each layer."""


def path_of(mask: Mask, layers: int) -> Path:
    """The mask's steps through a model of so many layers."""
    before: tuple[Hashable, ...] = ()
    levels: list[tuple[Hashable, ...]] = [()] * layers
    for unit, strength in mask.entries:
        step = (unit.kind, unit.block, unit.rank, strength)
        if unit.layer >= 0:
            levels[unit.layer] = (*levels[unit.layer], step)
        elif unit.kind not in _ENDS:
            before = (*before, step)
    return Path(before, tuple(levels))


@dataclass(eq=False)
class Block:
    """What one forward pass over prompts made: rows of one width, tokens on the right."""

    made: list[Tensor | None] = field(default_factory=list)
    """The states that entered each layer, and those behind the last, (rows, tokens, d); as far as
    they are kept."""
    keys: list[Any] = field(default_factory=list)
    """Of each layer, (rows, heads, tokens, d), for the rows that were at work in it; none where no
    reply goes on from the reading."""
    values: list[Any] = field(default_factory=list)
    alive: bool = True
    used: int = 0
    size: int = 0

    def fill(self, made: list[Tensor | None], keys: list[Any], values: list[Any]) -> None:
        """Keep what a pass made."""
        self.made, self.keys, self.values = made, keys, values
        every = [x for x in (*made, *keys, *values) if x is not None]
        self.size = sum(x.numel() * x.element_size() for x in every)

    def drop(self) -> None:
        """Forget it; whoever walks past finds nothing here any more."""
        self.alive, self.made, self.keys, self.values, self.size = False, [], [], [], 0


class Ref:
    """A row of a block; which one is known once the rows are in order."""

    __slots__ = ("block", "row")

    def __init__(self, block: Block) -> None:
        """A row to be told."""
        self.block, self.row = block, -1


class _Node:
    __slots__ = ("children", "ref")

    def __init__(self, ref: Ref | None = None) -> None:
        self.ref = ref
        self.children: dict[Hashable, _Node] = {}


@dataclass(eq=False)
class Trail:
    """One row's way through the layers: who made, or makes, its states there."""

    refs: list[Ref]
    """For each layer, the row whose pass through it is this row's too."""
    split: int
    """The first layer that it goes through itself."""
    own: Ref


class States:
    """The kept readings of one model of a pair; for one thread at a time, which holds `lock`."""

    def __init__(self, layers: int, budget: int, stride: int = 1) -> None:
        """Nothing is kept yet.

        Args:
            layers: How many the model has.
            budget: Bytes that may be kept between readings.
            stride: A row enters at a multiple of so many layers, or behind the last; blocks need
                not have what entered the others.
        """
        self.layers, self.budget, self.stride = layers, budget, stride
        self.lock, self.used = Lock(), 0.0
        self._roots: dict[Hashable, _Node] = {}
        self._blocks: list[Block] = []
        self._clock = count(1)

    @property
    def size(self) -> int:
        """Bytes kept."""
        return sum(block.size for block in tuple(self._blocks))

    def walk(self, prompt: Hashable, path: Path, block: Block) -> Trail:
        """Go down as far as is known, and enter the rest as made by a new row of `block`.

        Rows of one batch meet here too: what the first of two makes, the second need not.
        """
        now = next(self._clock)
        node = self._roots.setdefault((prompt, path.before), _Node())
        refs: list[Ref] = []
        own = Ref(block)
        split = None
        for layer, level in enumerate(path.levels):
            below = node.children.get(level)
            if below is None:
                below = node.children[level] = _Node()
            ref = below.ref
            if split is None and (ref is None or not ref.block.alive):
                split = layer
            if split is not None or ref is None:
                ref = below.ref = own
            ref.block.used = now
            refs.append(ref)
            node = below
        if split is None:
            return Trail(refs, self.layers, own)
        start = split - split % self.stride
        refs[start:split] = [own] * (split - start)
        return Trail(refs, start, own)

    def thin(self, made: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Of what entered each layer, and left the last, that at which rows may enter."""
        return [
            x if layer % self.stride == 0 or layer == self.layers else None
            for layer, x in enumerate(made)
        ]

    def keep(self, block: Block) -> None:
        """A reading is whole."""
        self._blocks.append(block)

    def clear(self) -> None:
        """Drop everything."""
        for block in self._blocks:
            block.drop()
        self._blocks.clear()
        self._roots.clear()

    def trim(self) -> None:
        """Drop what exceeds the budget, that first which was used longest ago."""
        self.used = monotonic()
        over = self.size - self.budget
        for old in sorted(self._blocks, key=lambda block: block.used):
            if over <= 0:
                break
            over -= old.size
            old.drop()
        self._blocks = [block for block in self._blocks if block.alive]
        if not self._blocks:
            self._roots.clear()


def gather(
    parts: Sequence[tuple[Tensor, int]], width: int, dim: int
) -> Tensor:  # (rows, ..., width, ...)
    """Rows out of several tensors, each row's tokens on the right.

    Args:
        parts: (tensor, row of it) for each row wanted; the tensors may differ in width.
        width: Places of the result.
        dim: Which dimension the places are.
    """
    groups: dict[int, tuple[Tensor, list[int], list[int]]] = {}
    for i, (x, row) in enumerate(parts):
        group = groups.setdefault(id(x), (x, [], []))
        group[1].append(row)
        group[2].append(i)
    first = parts[0][0]
    if len(groups) == 1 and first.shape[dim] == width:
        return first.index_select(0, torch.tensor(groups[id(first)][1], device=first.device))
    shape = [len(parts), *first.shape[1:]]
    shape[dim] = width
    out = first.new_zeros(shape)
    for x, rows, places in groups.values():
        wide = min(x.shape[dim], width)
        found = x.index_select(0, torch.tensor(rows, device=x.device))
        found = found.narrow(dim, x.shape[dim] - wide, wide)
        out.narrow(dim, width - wide, wide).index_copy_(
            0, torch.tensor(places, device=x.device), found
        )
    return out
