"""Read prompts under masks: the states that decoding goes on from, computed where they are new.

Two things are known before a prompt is read. What an earlier reading of the same prompt made below
the lowest layer in which the two masks differ (`States`); and what all prompts begin with (the
head: a system prompt, a template's opening), which is read once a mask and put before each prompt's
own tokens, without a hole between them. The plain reader knows neither and reads every token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import proxy

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from dapa.core.records import Mask
from dapa.model.decode.branches import Node, attention_of, tree_of
from dapa.model.decode.optimizations import Optimizations
from dapa.model.decode.states import Block, Path, States, Trail, gather, path_of
from dapa.model.machine import free_memory
from dapa.model.pair import Pair
from dapa.model.reentry import Entry, entering
from dapa.model.transplant import masked

Ids = tuple[int, ...]
Pieces = list[tuple[Tensor, Tensor]]  # keys and values of consecutive rows


@dataclass(eq=False)
class Prefilled:
    """Prompts that were read, in an order of their own."""

    order: list[int]
    """Which of the rows asked for stands at each place."""
    logits: Tensor
    """Of the last position, (rows, vocabulary); of a reader with nodes the prompt's end and every
    node, (rows, 1 + nodes, vocabulary)."""
    layers: list[Pieces]
    """For each layer, the rows' keys and values with the tokens on the right; none of a reader with
    nodes."""
    length: int
    """The longest row's tokens."""
    computed: float
    """Tokens that went through the model; through half of its layers counts half."""
    padding: float
    """Places without a token that went through it, counted alike."""


class Prefiller:
    """Reads on the (masked) student or on the teacher."""

    def __init__(
        self,
        pair: Pair,
        role: str = "student",
        states: States | None = None,
        head: Ids = (),
        reuse: bool = True,
        nodes: Sequence[Node] = (),
    ) -> None:
        """Get ready.

        Args:
            pair: Whose model reads.
            role: `student` or `teacher`.
            states: Where readings are kept; None keeps nothing and looks for nothing.
            head: What prompts may begin with; needs `states`. A prompt that does not begin so, or
                is no longer than this, is read whole.
            reuse: Look for what masks that begin alike left behind; off, only heads are kept.
            nodes: Beginnings of replies that are read behind every prompt in the same pass, as in
                `branches`. Such a reading is for its logits: no reply can go on from it.
        """
        self.pair, self.role, self._states, self.head = pair, role, states, head
        self._reuse, self._nodes = reuse, tuple(nodes)
        self.model = pair.student if role == "student" else pair.teacher
        self._paths: dict[Mask, Path] = {}

    def read(self, rows: Sequence[tuple[Ids, Mask]]) -> Prefilled:
        """Read prompts, each under its mask.

        Args:
            rows: (prompt, mask) pairs, at least one.
        """
        tail = tuple(node.token for node in self._nodes)
        rows = [((*ids, *tail), mask) for ids, mask in rows] if tail else rows
        if self._states is None:
            return self._pass(rows, None, None, nodes=self._nodes)
        head, states = self.head, self._states
        with states.lock:
            try:
                if head and all(
                    len(ids) > len(head) + len(tail) and ids[: len(head)] == head for ids, _ in rows
                ):
                    return self._headed(rows, states)
                return self._known(rows, states, None)
            finally:
                states.trim()
                self.pair.room.keep(states, states.budget)

    def forget(self) -> None:
        """Let go of what was kept; it is read again when it is needed."""
        if self._states is not None:
            with self._states.lock:
                self._states.clear()

    def _headed(self, rows: Sequence[tuple[Ids, Mask]], states: States) -> Prefilled:
        """The head once a mask, then what follows it."""
        masks = list(dict.fromkeys(mask for _, mask in rows))
        block = Block()
        asked = [(self.head, mask) for mask in masks]
        trails = [states.walk((0, self.head), self._path(mask), block) for mask in masks]
        computed = 0.0
        if any(trail.own in trail.refs for trail in trails):
            computed = self._run(asked, trails, block, states, None, ()).computed
        heads = dict(zip(masks, trails, strict=True))
        reading = self._known(rows, states, heads)
        reading.computed += computed  # heads are of one length: they have no padding
        return reading

    def _known(
        self, rows: Sequence[tuple[Ids, Mask]], states: States, heads: dict[Mask, Trail] | None
    ) -> Prefilled:
        """Read what is new. What follows a head and what was read whole are kept apart."""
        if not self._reuse:
            return self._pass(rows, None, heads, nodes=self._nodes)
        block, before = Block(), len(self.head) if heads is not None else 0
        trails = [states.walk((before, ids), self._path(mask), block) for ids, mask in rows]
        return self._run(rows, trails, block, states, heads, self._nodes)

    def _run(
        self,
        rows: Sequence[tuple[Ids, Mask]],
        trails: Sequence[Trail],
        block: Block,
        states: States,
        heads: dict[Mask, Trail] | None,
        nodes: Sequence[Node],
    ) -> Prefilled:
        """Read and keep; what breaks off leaves nothing behind."""
        order = sorted(range(len(rows)), key=lambda i: trails[i].split)
        for place, i in enumerate(order):
            trails[i].own.row = place
        ordered = [trails[i] for i in order]
        try:
            reading = self._pass([rows[i] for i in order], ordered, heads, block, nodes)
        except BaseException:
            block.drop()
            raise
        states.keep(block)
        reading.order = order
        return reading

    def _path(self, mask: Mask) -> Path:
        mask = mask if self.role == "student" else Mask()
        path = self._paths.get(mask)
        if path is None:
            path = self._paths[mask] = path_of(mask, self.pair.n_layers)
        return path

    def _pass(
        self,
        rows: Sequence[tuple[Ids, Mask]],
        trails: Sequence[Trail] | None,
        heads: dict[Mask, Trail] | None,
        block: Block | None = None,
        nodes: Sequence[Node] = (),
    ) -> Prefilled:
        """One forward pass; `rows` in order of where they enter, ending in the nodes' tokens."""
        device, layers = self.pair.device, self.pair.n_layers
        before = len(self.head) if heads is not None else 0
        own = [ids[before:] for ids, _ in rows]
        length = max(map(len, own))
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        for i, tokens in enumerate(own):
            ids[i, length - len(tokens) :] = torch.tensor(tokens)
        pads = torch.tensor([length - len(tokens) for tokens in own])
        real = torch.arange(before + length)[None] >= pads[:, None]  # (rows, tokens)
        places = (real.cumsum(-1) - 1).clamp_min(0)
        attention: Any = real.to(device)
        if nodes:
            end = before + length - len(nodes)
            places, seen = tree_of(self.model, real[:, :end], places[:, :end], nodes)
            attention = attention_of(self.model, seen[:, before:].to(device), places.to(device))
        positions = places[:, before:]
        entry = None
        masks = [mask for _, mask in rows]
        if trails is not None:
            splits = [trail.split for trail in trails]
            entry = Entry(splits, layers, _Fetch(trails, block))
        front = None
        if heads is not None:
            front = _Front([heads[mask] for mask in masks], before, pads, device)
        cache = _Passing(layers, front)
        plan = None
        if self.role == "student":
            plan = self.pair.plan(masks, entry and entry.at_work)
        with masked(plan), entering(entry):
            out = self.model(
                input_ids=ids.to(device),
                attention_mask=attention,
                position_ids=positions.to(device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1 + len(nodes),
            )
        tokens, places_read = sum(map(len, own)), float(len(own) * length)
        pieces: list[Pieces] = [] if nodes else [[layer.seen] for layer in cache.layers]
        if entry is not None and trails is not None and block is not None:
            tokens = sum(
                len(t) * (layers - trail.split) / layers
                for t, trail in zip(own, trails, strict=True)
            )
            places_read = sum(length * (layers - trail.split) / layers for trail in trails)
            if nodes and self._states is not None:  # read for its logits alone
                block.fill(self._states.thin(entry.made), [], [])
            else:
                block.fill(entry.made, *cache.own())
                pieces = [
                    _pieces(layer, count, cache.layers[layer].seen, trails, front, length)
                    for layer, count in enumerate(entry.at_work[:layers])
                ]
        logits = out.logits[:, -1 - len(nodes) :] if nodes else out.logits[:, -1]
        order, padding = list(range(len(rows))), places_read - tokens
        return Prefilled(order, logits, pieces, before + length, float(tokens), padding)


_ENTRIES = 10
"""Layers, about, at which a reading for its logits can enter: what is kept of each then takes so
little that the readings of several masks stay."""
_WORTH = 4  # a shared beginning of fewer tokens is not worth a reading of its own


def prefiller_for(
    pair: Pair, prompts: Sequence[Ids], optimizations: Optimizations, nodes: Sequence[Node] = ()
) -> Prefiller:
    """A reader for many masks on one list of prompts, as far as the optimizations allow."""
    budget = optimizations.memory if optimizations.memory is not None else _budget(pair)
    head: Ids = ()
    if optimizations.share and len(prompts) > 1:
        head = _common([ids[:-1] for ids in prompts])
        head = head if len(head) >= _WORTH else ()
    if not (optimizations.reuse or head):
        return Prefiller(pair, nodes=nodes)
    stride = max(1, pair.n_layers // _ENTRIES) if nodes else 1
    states = States(pair.n_layers, budget, stride)
    return Prefiller(pair, "student", states, head, optimizations.reuse, nodes)


def _budget(pair: Pair) -> int:
    """Bytes for what all readers of a pair keep, or a quarter of what a graphics card has free.

    On a CPU half of what the student takes, an eighth of a GiB at least and half a GiB at most.
    """
    if pair.device.type == "cpu":
        size = next(pair.student.parameters()).element_size()
        return min(2**29, max(2**27, pair.parameters * size // 2))
    return free_memory(str(pair.device)) // 4


def _common(prompts: Sequence[Ids]) -> Ids:
    """What all of them begin with."""
    first, last = min(prompts), max(prompts)  # whatever these two share, all share
    same = 0
    while same < min(len(first), len(last)) and first[same] == last[same]:
        same += 1
    return first[:same]


class _Fetch:
    """Known states for an `Entry`: those of kept blocks, and those being made at the moment."""

    def __init__(self, trails: Sequence[Trail], block: Block | None) -> None:
        self._trails, self._block = trails, block

    def __call__(self, layer: int, rows: Sequence[int], x: Tensor, width: int) -> Tensor:
        parts = []
        for row in rows:
            ref = self._trails[row].refs[layer - 1]
            made = x if ref.block is self._block else ref.block.made[layer]
            assert made is not None, "a kept block has the states of every layer it made"
            parts.append((made, ref.row))
        return gather(parts, width, 1)


def _pieces(
    layer: int,
    count: int,
    seen: tuple[Tensor, Tensor] | None,
    trails: Sequence[Trail],
    front: _Front | None,
    length: int,
) -> Pieces:
    """A layer's keys and values of all rows: the first `count` were just made, the rest known."""
    made = [seen] if seen is not None else []
    rest = trails[count:]
    if not rest:
        return made
    refs = [trail.refs[layer] for trail in rest]
    keys = gather([(ref.block.keys[layer], ref.row) for ref in refs], length, 2)
    values = gather([(ref.block.values[layer], ref.row) for ref in refs], length, 2)
    if front is not None:
        keys, values = front.put(layer, slice(count, None), keys, values)
    return [*made, (keys, values)]


class _Front:
    """The head's keys and values, put before each row's own tokens without a hole."""

    def __init__(
        self, trails: Sequence[Trail], length: int, pads: Tensor, device: torch.device
    ) -> None:
        self._trails, self.length = trails, length
        self._pads = pads.to(device) if bool(pads.any()) else None

    def put(self, layer: int, rows: slice, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of these rows with the head's before them, (rows, heads, places, d)."""
        refs = [trail.refs[layer] for trail in self._trails[rows]]
        whole = []
        for own, kept in ((keys, "keys"), (values, "values")):
            parts = [(getattr(ref.block, kept)[layer], ref.row) for ref in refs]
            whole.append(torch.cat([gather(parts, self.length, 2), own], dim=2))
        if self._pads is None:
            return whole[0], whole[1]
        # A row with padding has it between head and tokens now: move the head up to the tokens.
        pads = self._pads[rows, None].to(keys.device)  # which may be another card's layer
        place = torch.arange(whole[0].shape[2], device=pads.device)[None]
        source = torch.where(place < pads + self.length, (place - pads).clamp_min(0), place)
        which = torch.arange(len(source), device=pads.device)[:, None]
        moved = [x.transpose(1, 2)[which, source].transpose(1, 2) for x in whole]
        return moved[0], moved[1]


class _Keeping(DynamicLayer):
    """One layer's keys and values of the tokens being read, and of all that they look at."""

    def __init__(self, passing: _Passing, index: int) -> None:
        super().__init__()
        self._passing: _Passing = proxy(passing)  # no circle: the states go with the last name
        self._index = index
        self.seen: Any = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        self.keys, self.values = key_states, value_states
        front = self._passing.front
        self.seen = (key_states, value_states)
        if front is not None:
            self.seen = front.put(self._index, slice(len(key_states)), key_states, value_states)
        return self.seen  # type: ignore[no-any-return]

    def get_seq_length(self) -> int:
        front = self._passing.front
        return front.length if front is not None else 0


class _Passing(Cache):  # type: ignore[misc]
    """The cache of one reading."""

    def __init__(self, layers: int, front: _Front | None) -> None:
        super().__init__(layers=[_Keeping(self, index) for index in range(layers)])
        self.front = front

    def own(self) -> tuple[list[Tensor], list[Tensor]]:
        """Keys and values of the tokens that were read, a layer each."""
        return [layer.keys for layer in self.layers], [layer.values for layer in self.layers]
