"""Several short continuations of a prompt in the one pass that reads it.

The tokens of all continuations stand behind the prompt, each seeing the prompt and its own
beginning alone, at the position where it would stand: a tree in one row (as in speculative decoding
by trees, arXiv 2305.09781). A row so costs a few tokens more instead of several passes, its mask of
what is transplanted stays one row's, and everything has a gradient. Where attention slides over a
window that the row exceeds, the window is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dapa.model.context import context_of


@dataclass(frozen=True)
class Node:
    """One beginning of a reply: its parent's tokens and one more."""

    parent: int
    """Index among the nodes; -1 is the start of the reply."""
    token: int
    ids: tuple[int, ...]
    """Tokens that end an opener behind it, ascending."""
    phrases: tuple[str, ...]
    """Those openers, whole, as text."""


def branched(
    model: Any, inputs: dict[str, Tensor], nodes: Sequence[Node]
) -> tuple[dict[str, Any], int]:
    """A batch with the nodes behind every prompt, and how many last positions to look at.

    Args:
        model: Who reads it.
        inputs: `input_ids` (rows, tokens) or `inputs_embeds` (rows, tokens, d), with
            `attention_mask` and `position_ids` (rows, tokens), padded on the left; the last two
            may be missing where no row is padded.
        nodes: Each behind its parent; none leaves the inputs as they are.
    """
    if not nodes:
        return inputs, 1
    first = inputs.get("input_ids", inputs.get("inputs_embeds"))
    assert first is not None, "a batch has tokens or embeddings"
    rows, length, device = first.shape[0], first.shape[1], first.device
    real = inputs.get("attention_mask", torch.ones(rows, length, device=device)).bool()
    positions = inputs.get("position_ids", torch.arange(length, device=device).expand(rows, -1))
    positions, seen = tree_of(model, real, positions, nodes)
    tokens = torch.tensor([node.token for node in nodes], device=device).expand(rows, -1)
    told: dict[str, Any] = {**inputs, "position_ids": positions}
    if "input_ids" in inputs:
        told["input_ids"] = torch.cat([inputs["input_ids"], tokens], 1)
    else:
        embedded = model.get_input_embeddings()(tokens)
        told["inputs_embeds"] = torch.cat([inputs["inputs_embeds"], embedded], 1)
    told["attention_mask"] = attention_of(model, seen, positions)
    return told, 1 + len(nodes)


def tree_of(
    model: Any, real: Tensor, positions: Tensor, nodes: Sequence[Node]
) -> tuple[Tensor, Tensor]:
    """Where tokens stand and at whom they look, with the nodes behind every prompt.

    A node that the context has no place for stands at its last one.

    Args:
        model: Who reads.
        real: Which places of the prompts hold a token, (rows, tokens), padded on the left.
        positions: Of those places, (rows, tokens).
        nodes: Each behind its parent.

    Returns:
        Positions (rows, tokens + nodes), and (rows, who looks, at whom) as booleans.
    """
    rows, length, device = real.shape[0], real.shape[1], real.device
    depth, sees = [], torch.eye(len(nodes), dtype=torch.bool)
    for at, node in enumerate(nodes):
        assert node.parent < at, "a node stands behind its parent"
        depth.append(1 + (depth[node.parent] if node.parent >= 0 else 0))
        if node.parent >= 0:
            sees[at] |= sees[node.parent]
    count = real.sum(1, keepdim=True)  # (rows, 1)
    behind = count - 1 + torch.tensor(depth, dtype=torch.long, device=device)  # (rows, nodes)
    positions = torch.cat([positions, behind.clamp_max(context_of(model.config) - 1)], 1)
    seen = torch.zeros(rows, length + len(nodes), length + len(nodes), dtype=torch.bool)
    seen = seen.to(device)
    seen[:, :length, :length] = real[:, None] & torch.ones_like(seen[0, :length, :length]).tril()
    seen[:, length:, :length] = real[:, None]
    seen[:, length:, length:] = sees.to(device)
    return positions, seen


def attention_of(model: Any, seen: Tensor, positions: Tensor) -> Tensor | dict[str, Tensor]:
    """The additive mask, (rows, 1, who looks, at whom); by kind of layer where only some slide.

    Args:
        model: Who reads.
        seen: (rows, who looks, at whom); who looks may be the last ones of those looked at.
        positions: Of those looked at, (rows, tokens).
    """
    plain, config = _additive(seen, model.dtype), model.config
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    slides = "sliding_attention" in kinds if kinds else window is not None
    if not window or not slides or not getattr(config, "use_sliding_window", True):
        return plain
    if seen.shape[2] <= window:
        return plain
    near = positions[:, -seen.shape[1] :, None] - positions[:, None, :] < window
    narrow = _additive(seen & near, model.dtype)
    if not kinds:
        return narrow
    return {"full_attention": plain, "sliding_attention": narrow}


def _additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    nothing = torch.zeros((), dtype=dtype, device=seen.device)
    return torch.where(seen, nothing, torch.finfo(dtype).min)[:, None]
