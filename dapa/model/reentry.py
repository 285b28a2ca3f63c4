"""Let the rows of a batch enter the model at different layers, where their states are known.

Below the layer where a row enters, its states are those of an earlier reading, so nothing is
computed for it there. Rows are ordered by the layer where they enter: at each layer the rows at
work are the first ones of the batch. The model's own loop runs over all its layers, and a layer in
which no row is at work hands on what it was given. As with masks, what is under way belongs to a
context (a ContextVar), and without one a layer runs as it always did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

Fetch = Callable[[int, Sequence[int], Tensor, int], Tensor]
"""(layer, rows that enter there, states of the rows at work, tokens) -> (rows, tokens, d).
The layer behind the last one stands for the model's end."""


class Entry:
    """One forward pass: who enters where, and what every layer made."""

    def __init__(self, splits: Sequence[int], layers: int, fetch: Fetch) -> None:
        """Get ready for one pass.

        Args:
            splits: The layer where each row enters, ascending; `layers` where it is all known.
            layers: How many layers there are.
            fetch: Where known states come from.
        """
        assert list(splits) == sorted(splits), f"rows enter out of order: {splits}"
        self.rows, self.layers, self._fetch = len(splits), layers, fetch
        self.at_work = [sum(s <= layer for s in splits) for layer in range(layers + 1)]
        """How many rows each layer computes, and how many there are at the end."""
        self.made: list[Tensor | None] = [None] * (layers + 1)
        """What entered each layer from the one below; the first layer's is not kept."""

    def run(
        self, layer: int, plain: Callable[..., Any], x: Tensor, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """One layer of the pass, on the rows that are at work in it."""
        count = self.at_work[layer]
        x = x[:count] if layer == 0 else self._enter(layer, x)
        out: Any = x
        if count:
            out = plain(x, *self._part(args, count), **self._part(kwargs, count))
        states: Tensor = out[0] if isinstance(out, tuple) else out
        self.made[layer + 1] = states if count else None
        if layer + 1 < self.layers:
            return out
        states = self._enter(self.layers, states)
        return (states, *out[1:]) if isinstance(out, tuple) else states

    def _enter(self, layer: int, x: Tensor) -> Tensor:
        """The rows at work below, and under them those that enter at this layer."""
        before, now = self.at_work[layer - 1], self.at_work[layer]
        if now == before:
            return x
        known = self._fetch(layer, range(before, now), x, x.shape[1])
        return torch.cat([x, known]) if before else known

    def _part(self, x: Any, count: int) -> Any:
        """The same arguments for the first `count` rows."""
        if count == self.rows:
            return x
        if isinstance(x, Tensor):
            return x[:count] if x.dim() and x.shape[0] == self.rows else x
        if isinstance(x, (tuple, list)):
            return type(x)(self._part(part, count) for part in x)
        if type(x) is dict:
            return {name: self._part(part, count) for name, part in x.items()}
        return x


_ENTRY: ContextVar[Entry | None] = ContextVar("dapa_entry", default=None)


@contextmanager
def entering(entry: Entry | None) -> Iterator[None]:
    """Run one forward pass as `entry` says in this context. Never hold it open across a yield."""
    token = _ENTRY.set(entry)
    try:
        yield
    finally:
        _ENTRY.reset(token)


def install_entry(layer: nn.Module, index: int, tuples: bool = False) -> None:
    """Let rows enter the model at this decoder layer; inert while this context has no entry.

    `tuples`: does the layer return more than states, whoever is at work in it?
    """
    plain = layer.forward

    @wraps(plain)
    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        entry = _ENTRY.get()
        if entry is None:
            return plain(hidden_states, *args, **kwargs)
        out = entry.run(index, plain, hidden_states, args, kwargs)
        return (out, None) if tuples and isinstance(out, Tensor) else out

    layer.forward = forward  # type: ignore[method-assign]
