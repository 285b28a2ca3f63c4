"""What a model does to its logits behind the head, for whoever calls the head by itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def scaled(model: Any, logits: Tensor) -> Tensor:
    """Logits as the model gives them: multiplied (Cohere), divided (Granite), capped (Gemma 2)."""
    config = model.config
    logits = logits * (getattr(config, "logit_scale", None) or 1.0)
    logits = logits / (getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return torch.tanh(logits / cap) * cap if cap else logits
