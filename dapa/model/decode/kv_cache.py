"""Room for the rows in flight: each layer's keys and values in one block of memory.

Rows stand on the right edge: row i's tokens fill the places before `end`, whatever its length, so
a window that counts places counts tokens. A step writes one place; rows come and go without the
others being copied. What is left of a row's first token is junk that the attention mask hides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import proxy

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

_AHEAD = 32  # places kept free behind the right edge
_LEAST = 8  # with fewer free ones than these, more are made


class _Layer(DynamicLayer):
    """One layer's places, of which the batch at hand sees `rows` x `start` to `end`."""

    def __init__(self, slots: KVCache) -> None:
        super().__init__()
        # a circle would keep the keys and values of every batch that ended until the collector
        # comes by, which counts objects and not bytes
        self._kv_cache: KVCache = proxy(slots)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write the tokens that are being read behind the edge, for every row."""
        at = self._kv_cache
        stop = at.end + key_states.shape[-2]
        assert self.keys is not None and self.values is not None, "rows are put in before a step"
        self.keys[: at.rows, :, at.end : stop] = key_states
        self.values[: at.rows, :, at.end : stop] = value_states
        seen = (slice(at.rows), slice(None), slice(at.start, stop))
        return self.keys[seen], self.values[seen]

    def get_seq_length(self) -> int:
        """Places in use; the same in every layer."""
        return self._kv_cache.end - self._kv_cache.start


class KVCache(Cache):  # type: ignore[misc]
    """A cache whose rows come and go: `put` them in, `step` once a token, `keep` who stays."""

    def __init__(self, layers: int) -> None:
        """An empty cache for a model of so many layers."""
        super().__init__(layers=[_Layer(self) for _ in range(layers)])
        self.rows = self.start = self.end = 0
        self._room = (0, 0)
        """Rows and places allocated."""

    @property
    def length(self) -> int:
        """Places in use: the longest row's tokens."""
        return self.end - self.start

    def put(
        self, layers: Sequence[Sequence[tuple[Tensor, Tensor]]], rows: int, length: int
    ) -> None:
        """Add rows below the present ones.

        Args:
            layers: For each layer, the keys and values of the new rows in pieces that follow one
                another, each (some rows, heads, places, d), with the tokens on the right.
            rows: How many come.
            length: The most tokens that any of them has.
        """
        if not self.rows:
            self.start = self.end  # whoever was here has left
        self._make_room(self.rows + rows, length)
        start = min(self.start, self.end - length)
        for layer, pieces in zip(self.layers, layers, strict=True):
            first = self.rows
            for keys, values in pieces:
                if layer.keys is None:
                    self._allocate(layer, keys, values)
                new = slice(first, first + len(keys))
                wide = min(keys.shape[2], length)
                for old, x in ((layer.keys, keys), (layer.values, values)):
                    old[new, :, self.end - wide : self.end] = x[:, :, -wide:]
                    old[new, :, start : self.end - wide] = 0  # what left may be no number
                first += len(keys)
            if start < self.start:
                layer.keys[: self.rows, :, start : self.start] = 0
                layer.values[: self.rows, :, start : self.start] = 0
        self.rows, self.start = self.rows + rows, start

    def step(self) -> None:
        """The token that was just read has its place."""
        self.end += 1

    def reserve(self) -> None:
        """See that there is a place for one more token."""
        if self.end == self._room[1]:
            self._make_room(self.rows, 0)

    def keep(self, rows: Sequence[int], length: int) -> None:
        """Keep these rows, in this order; of them the longest has `length` tokens."""
        moves = [(new, old) for new, old in enumerate(rows) if new != old]
        self.rows, self.start = len(rows), self.end - length
        if not moves:
            return
        new, old = torch.tensor(moves, device=self.layers[0].keys.device).T
        for layer in self.layers:  # of a pair that is spread, on other cards too
            to, of = new.to(layer.keys.device), old.to(layer.keys.device)
            for x in (layer.keys, layer.values):
                places = x[:, :, self.start : self.end]
                places.index_copy_(0, to, places.index_select(0, of))

    def _make_room(self, rows: int, length: int) -> None:
        """Have so many rows, `length` places before the edge and one or more behind it."""
        have_rows, have_places = self._room
        if rows <= have_rows and self.end >= length and self.end < have_places:
            return
        used = self.length
        before = max(used, length)
        if have_places < before + _LEAST:
            have_places = before + min(before // 2, 8 * _AHEAD) + _AHEAD
        if have_rows < rows:
            have_rows = max(rows, have_rows + have_rows // 2)
        room = (have_rows, have_places)
        for layer in self.layers:
            if layer.keys is None:
                continue
            for name in ("keys", "values"):
                old = getattr(layer, name)
                fresh = old.new_zeros(room[0], old.shape[1], room[1], old.shape[3])
                fresh[: self.rows, :, before - used : before] = old[
                    : self.rows, :, self.start : self.end
                ]
                setattr(layer, name, fresh)
        self._room = room
        self.start, self.end = before - used, before

    def _allocate(self, layer: Any, keys: Tensor, values: Tensor) -> None:
        rows, places = self._room
        layer.lazy_initialization(keys, values)
        layer.keys = keys.new_zeros(rows, keys.shape[1], places, keys.shape[3])
        layer.values = values.new_zeros(rows, values.shape[1], places, values.shape[3])
