"""Attention heads: which rows of q, k, v and columns of o belong to which head.

A unit `heads` moves query heads, their rows of q and their columns of o; a unit `kv` the heads that
a group of queries shares, their rows of k and v. The two never overlap, so that a head can be moved
without touching what its group's other heads read. Norms of q and k and the bias of o belong to no
head: they stay the student's unless they are moved themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dapa.core.records import Site
from dapa.model.families import Family, submodule

Ranges = tuple[tuple[int, int], ...]
"""[start, stop) of rows (of o: columns), ascending."""


@dataclass(frozen=True)
class HeadShape:
    """How many heads every layer of a model has, and how they lie in its matrices."""

    queries: int
    keys: int
    """Heads of k and of v: fewer than queries where groups share them."""
    size: int
    """Rows of a head."""
    by_group: bool = False
    """As `Family.by_group`."""

    def count(self, kind: str) -> int:
        """How many heads a layer's unit of `heads` or of `kv` has."""
        return self.queries if kind == "heads" else self.keys

    def ranges(self, kind: str, module: str, block: tuple[int, int] | None) -> Ranges:
        """What heads [start, stop) of `heads` or `kv` own of a site; None for all of them."""
        heads = range(*(block or (0, self.count(kind))))
        return _joined(
            [
                (start * self.size, (start + many) * self.size)
                for head in heads
                for start, many in self._places(kind, module, head)
            ]
        )

    def _places(self, kind: str, module: str, head: int) -> list[tuple[int, int]]:
        """(first, how many) of a head's own, in heads."""
        if module != "qkv":
            return [(head, 1)]
        group = self.queries // self.keys
        if not self.by_group:
            behind = self.queries
            return [(head, 1)] if kind == "heads" else [
                (behind + head, 1), (behind + self.keys + head, 1)
            ]  # fmt: skip
        if kind == "heads":
            return [(head // group * (group + 2) + head % group, 1)]
        return [(head * (group + 2) + group, 2)]


def _joined(parts: list[tuple[int, int]]) -> Ranges:
    """The same, neighbours as one."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(parts):
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return tuple(found)


def head_shape(model: Any, family: Family) -> HeadShape | None:
    """How a model's heads lie, once `linears.plain` was there; None where that is not clear.

    The config only tells how many queries there are; all else is read off the matrices, which must
    agree in every layer.
    """
    config = model.config.get_text_config()
    queries = int(getattr(config, "num_attention_heads", 0) or 0)
    found = {
        _shape_of(model, family, layer, queries)
        for layer in range(len(submodule(model, family.layers)))
    }
    return found.pop() if len(found) == 1 else None


def _shape_of(model: Any, family: Family, layer: int, queries: int) -> HeadShape | None:
    def module(kind: str) -> Any:
        return submodule(model, family.path(Site(layer, kind)))

    have = set(family.single)
    if not queries or "o" not in have or not ("qkv" in have or have >= {"q", "k", "v"}):
        return None
    linears = [module(kind) for kind in ("q", "k", "v", "qkv", "o") if kind in have]
    if not all(hasattr(one, "in_features") and hasattr(one, "out_features") for one in linears):
        return None
    size, left = divmod(module("o").in_features, queries)
    if left or not size:
        return None
    if "qkv" in have:
        keys, left = divmod(module("qkv").out_features - queries * size, 2 * size)
    else:
        wide = {module(kind).out_features for kind in ("k", "v")}
        keys, left = divmod(min(wide), size)
        if len(wide) > 1 or module("q").out_features != queries * size:
            return None
    if left or keys < 1 or queries % keys:
        return None
    return HeadShape(queries, keys, size, family.by_group)
