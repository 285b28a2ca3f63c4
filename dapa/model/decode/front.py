"""What several prompts begin with, read once: a system prompt, a template's opening.

Its keys and values are computed for one row and stand before every prompt's own tokens, which are
padded on the right, so that no place lies between the two and causal attention never sees padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from transformers import DynamicCache

from dapa.core.records import Mask
from dapa.model.pair import Pair
from dapa.model.transplant import masked, watching


class Front:
    """The shared beginning in one of the two models."""

    def __init__(self, pair: Pair, role: str, ids: Sequence[int], mask: Mask) -> None:
        """Read when it is first asked for; `mask` is the student's."""
        self._pair, self._role, self._ids, self._mask = pair, role, ids, mask
        self.length = len(ids)

    @cached_property
    def _kept(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of every layer, one row."""
        pair, cache = self._pair, DynamicCache()
        student = self._role == "student"
        model = pair.student if student else pair.teacher
        plan = pair.plan([self._mask]) if student else None
        with torch.inference_mode(), masked(plan), watching(None):
            model.get_decoder()(
                input_ids=torch.tensor([list(self._ids)], device=pair.device),
                past_key_values=cache,
                use_cache=True,
            )
        return [(layer.keys, layer.values) for layer in cache.layers]

    def cache(self, rows: int) -> DynamicCache:
        """For so many prompts that go on from here."""
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(self._kept):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), layer)
        return cache
