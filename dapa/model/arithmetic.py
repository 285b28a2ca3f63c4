"""Where two configs compute differently with weights of one shape, and what that means for a mask.

The patched student runs the teacher's weights under its own arithmetic. Read from the configs as
transformers completes them, so that a default that one file leaves out is no difference.
"""

from __future__ import annotations

import json
from typing import Any

from dapa.model.findings import Finding

_POSITIONS = "turn positions otherwise, so attention units do less, or other, than in the teacher"
_WEIGHED = "weigh their attention otherwise than it was trained"
_OTHERWISE: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("rope", ("rope_parameters", "rope_theta", "rope_scaling"),
     f"transplanted queries and keys {_POSITIONS}"),
    ("rotary share", ("partial_rotary_factor",), f"transplanted queries and keys {_POSITIONS}"),
    ("norm epsilon", ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps"),
     "every transplanted unit reads states that are normed otherwise than in the teacher"),
    ("activation", ("hidden_act", "hidden_activation", "activation_function"),
     "transplanted gates run under the student's"),
    ("sliding window", ("sliding_window", "use_sliding_window", "max_window_layers", "layer_types"),
     "transplanted attention looks as far back as the student's; long prompts may part the two"),
    ("attention scaling", ("query_pre_attn_scalar", "attention_multiplier", "attn_scale"),
     f"transplanted queries and keys {_WEIGHED}"),
    ("experts", ("norm_topk_prob", "swiglu_alpha", "swiglu_limit"),
     "transplanted routers and experts bring the teacher's own, the others keep the student's"),
    ("attention softcap", ("attn_logit_softcapping",), f"transplanted queries and keys {_WEIGHED}"),
    ("logit softcap", ("final_logit_softcapping",),
     "a transplanted head is capped as the student's; log-odds of the two do not compare"),
    ("multipliers", ("embedding_multiplier", "residual_multiplier", "logits_scaling"),
     "transplanted units write at the student's scale"),
    ("attention bias", ("attention_bias", "qkv_bias"),
     "an attention unit brings weights without the biases that belong to them, or the reverse"),
    ("MLP bias", ("mlp_bias",),
     "an MLP unit brings weights without the biases that belong to them, or the reverse"),
)  # fmt: skip
"""What it is called, the settings that decide it, and what a difference does."""


def arithmetic(ours: Any, theirs: Any) -> list[Finding]:
    """A finding for each difference of arithmetic, with its consequence.

    Args:
        ours: The student's config.
        theirs: The teacher's.
    """
    found = []
    for title, keys, consequence in _OTHERWISE:
        apart = [
            _shown(title, key, a, b)
            for key in keys
            for a, b in ((getattr(ours, key, None), getattr(theirs, key, None)),)
            if _plain(a) != _plain(b)
        ]
        if apart:
            seen = "; ".join(dict.fromkeys(apart))  # one setting may stand in two places
            found.append(Finding("warns", title, f"{seen}; {consequence}"))
    return found


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _shown(title: str, key: str, a: Any, b: Any) -> str:
    """One setting's two values; of two tables or lists, what differs."""
    if isinstance(a, dict) and isinstance(b, dict):
        names = [n for n in sorted({*a, *b}, key=str) if _plain(a.get(n)) != _plain(b.get(n))]
        return "; ".join(_shown(title, n, a.get(n), b.get(n)) for n in names)
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        places = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
        return f"{key} differs in {len(places)} of {len(a)} layers, first in {places[0]}"
    if title == "activation":
        return f"the student's MLPs use {a}, the teacher's {b}"
    told = (json.dumps(x, default=str)[:60] for x in (a, b))
    return f"{key} is {next(told)} in the student and {next(told)} in the teacher"


__all__ = ["arithmetic"]
