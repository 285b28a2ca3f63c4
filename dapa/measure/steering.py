"""A baseline that changes no weight: the refusal direction, added to the residual stream.

Difference of means between harmful and harmless prompts, at the last prompt token and one layer,
added at that layer to every token (Arditi et al., "Refusal in language models is mediated by a
single direction", arXiv 2406.11717, activation addition). The states are the teacher's, which
refuses: like a transplant, the baseline may look at the teacher.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dapa.model.decode.log_odds import padded
from dapa.model.decode.serving import row_capacity
from dapa.model.pair import Pair
from dapa.model.substitution import Substituted
from dapa.model.template import encode, render
from dapa.model.transplant import Tap, watching
from dapa.prompts.format import PromptFormat, Turn
from dapa.search.engine.control import Halted


class Steered(Substituted):
    """The student with a vector added behind one layer, seen by one context only."""

    def __init__(self, pair: Pair, layer: int, vector: Tensor) -> None:
        """Args: the pair, the layer behind which it is added, and what, (d_model,)."""
        mark = hashlib.blake2b(vector.float().cpu().numpy().tobytes(), digest_size=8).hexdigest()
        super().__init__(pair, "student", {}, f"steered:{layer}:{mark}")
        self.layer, self.vector = layer, vector

    def _look(
        self, tap: Tap, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> Any:
        if (tap.role, tap.kind, tap.layer) != ("student", "residual", self.layer):
            return None
        if isinstance(out, tuple):
            return (out[0] + self.vector.to(out[0].dtype), *out[1:])
        return out + self.vector.to(out.dtype)


def refusal_directions(
    pair: Pair,
    harmful: Sequence[str],
    harmless: Sequence[str],
    how: PromptFormat,
    stop: threading.Event | None = None,
) -> Tensor:
    """Difference of means of the teacher's residual at the last token, (layers, d_model).

    Raises:
        PromptError: A prompt that the teacher cannot read.
        Halted: It was stopped.
    """
    means = [_mean_states(pair, texts, how, stop) for texts in (harmful, harmless)]
    return means[0] - means[1]


@torch.inference_mode()
def _mean_states(
    pair: Pair, texts: Sequence[str], how: PromptFormat, stop: threading.Event | None
) -> Tensor:
    ids = [encode(pair, render(pair, [Turn("user", t)], how), how, "teacher") for t in texts]
    total: dict[int, Tensor] = {}

    def keep(tap: Tap, module: Any, args: Any, kwargs: Any, out: Any) -> None:
        if (tap.role, tap.kind) == ("teacher", "residual"):
            states = out[0] if isinstance(out, tuple) else out
            here = states[:, -1].float().sum(0)  # padded on the left
            total[tap.layer] = total.get(tap.layer, 0) + here

    size = row_capacity(pair)
    for start in range(0, len(ids), size):
        if stop is not None and stop.is_set():
            raise Halted("stopped")
        with watching(keep):
            inputs = padded(ids[start : start + size], pair.device)
            pair.teacher.get_decoder()(**inputs, use_cache=False)
    return torch.stack([total[layer] for layer in range(pair.n_layers)]) / len(ids)
