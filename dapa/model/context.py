"""How many tokens a model's positions bear, prompt and reply together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

BOUNDLESS = 2**30
"""Of a model that names no end."""


def context_of(config: Any) -> int:
    """The most tokens that one row may have.

    LongRoPE (Phi-3.5, Phi-4-mini) turns all positions otherwise as soon as one of a batch is past
    the length trained first: the rows beside it would change, and keys that are kept no longer fit.
    So a row ends there, where the config's own `max_position_embeddings` would let it go on.
    """
    most = int(getattr(config, "max_position_embeddings", 0) or BOUNDLESS)
    for rope in _ropes(getattr(config, "rope_parameters", None) or {}):
        if rope.get("rope_type") == "longrope":
            most = min(most, int(rope.get("original_max_position_embeddings") or most))
    return most


def _ropes(told: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """One set of settings, or one a kind of layer."""
    yield told
    yield from (each for each in told.values() if isinstance(each, Mapping))
