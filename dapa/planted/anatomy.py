"""What the wiring of planted pairs has to know of a family: where weights are, and what norms do.

A norm behind a block would make whatever the block writes as long as anything else. There the
block writes a constant too, which dominates that norm as the stream's dominates those before it;
the norm's own weights then undo the scale and leave the constant out of the stream (`anchored`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dapa.core.records import Site
from dapa.model.families import Family, submodule

_WIDE: Mapping[str, Any] = {"sliding_window": 2**20}
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "gemma2": {"query_pre_attn_scalar": 16, **_WIDE},
    "gemma3_text": {"query_pre_attn_scalar": 16, **_WIDE},
    "falcon": {"parallel_attn": False},
    "gpt_neox": {"use_parallel_residual": False},
    "olmo3": _WIDE,
    "exaone4": _WIDE,
    "ministral": _WIDE,
    "ministral3": {
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "llama_4_scaling_beta": 0.1,
            "original_max_position_embeddings": 16384,
        }
    },
    "granite": {"attention_multiplier": 0.25},
    "cohere": {"logit_scale": 1.0},
    "cohere2": {"logit_scale": 1.0, **_WIDE},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {"num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": True},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": True},
    "gpt_oss": {
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "swiglu_alpha": 1.0,
        **_WIDE,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
}
_SCALED = ("gemma", "gemma2", "gemma3_text")
_PARALLEL = ("cohere", "cohere2", "phi")
_INTERLEAVED = ("cohere", "cohere2")
_GELU = ("starcoder2", "phi", "gpt_neo", "gpt_neox", "falcon", "gpt2")
_SHARED_OUT = ("stablelm", *_GELU)
_CENTRED = ("olmo", "cohere", "cohere2", "stablelm", *_GELU)


def settings_of(family: Family, layers: int, hidden: int, head_dim: int) -> dict[str, Any]:
    """What its config needs, so that attention sees the whole prompt at a known scale."""
    own = dict(_SETTINGS.get(family.model_type, {}))
    if "sliding_window" in own:  # these build a mask for it, whether a layer slides or not
        own["layer_types"] = ["full_attention"] * layers
    if family.model_type == "gpt_neo":
        own["attention_types"] = [[["global"], layers]]
    if shares_out(family):  # as many heads as the stream has room for
        own |= dict.fromkeys(("num_attention_heads", "num_key_value_heads"), hidden // head_dim)
    return {"sliding_window": None, **own}


def shares_out(family: Family) -> bool:
    """Is a head's size the stream's width by the number of heads, whatever the config says?"""
    return family.model_type in _SHARED_OUT


def scales_embeddings(family: Family) -> bool:
    """Does the model multiply its embeddings by the root of their width?"""
    return family.model_type in _SCALED


def parallel(family: Family) -> bool:
    """Do a layer's attention and MLP read the same states, so that layer 0 sees no flag?"""
    return family.model_type in _PARALLEL


def centred(family: Family) -> bool:
    """Do norms subtract the mean, which is the constant's share?"""
    return family.model_type in _CENTRED


def reads_raw(family: Family) -> bool:
    """Is there no norm before attention and MLP?"""
    return "input_layernorm" not in family.single and not family.bare_norm


def anchored(family: Family) -> bool:
    """Is there a norm behind attention and another behind the MLP?"""
    return "post_feedforward_layernorm" in family.single


def weight(model: Any, family: Family, site: Site) -> Tensor:
    """A site's weight, (outputs, inputs): a view of the model's own."""
    stored = family.stored(site)
    return stored.take(model.get_parameter(stored.name))  # type: ignore[no-any-return]


def mlps(model: Any, family: Family, layer: int) -> list[tuple[Tensor | None, Tensor, Tensor]]:
    """Gate (if there is one), up and down of a layer's MLP, or of each of its experts: views."""
    if not family.mixture:
        gate = weight(model, family, Site(layer, "gate")) if "gate" in family.single else None
        up, down = (weight(model, family, Site(layer, kind)) for kind in ("up", "down"))
        return [(gate, up, down)]
    experts = submodule(model, family.path(Site(layer, "experts")))
    found: list[tuple[Tensor | None, Tensor, Tensor]] = []
    for both, down in zip(experts.gate_up_proj, experts.down_proj, strict=True):
        if family.model_type == "gpt_oss":  # stored as (inputs, outputs), gate and up by turns
            found.append((both.T[::2], both.T[1::2], down.T))
        else:
            found.append((*both.chunk(2), down))
    return found


def projections(model: Any, family: Family, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of a layer by heads, each (heads, head size, d): views."""
    config = model.config
    heads = config.num_attention_heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    if getattr(config, "multi_query", False):  # Falcon's
        shared = 1
    parts = (heads, shared, shared)
    if "q" in family.single:
        whole = [weight(model, family, Site(layer, kind)) for kind in "qkv"]
    else:
        fused = weight(model, family, Site(layer, "qkv"))
        if family.model_type == "gpt_neox":  # query, key and value of each head side by side
            by_heads = fused.unflatten(0, (heads, 3, -1))
            return by_heads[:, 0], by_heads[:, 1], by_heads[:, 2]
        size = fused.shape[0] // sum(parts)
        whole = list(fused.split([size * count for count in parts]))
    views = [w.unflatten(0, (n, -1)) for w, n in zip(whole, parts, strict=True)]
    return views[0], views[1], views[2]


def slowest(model: Any, family: Family, size: int) -> int:
    """The place in a head that positions hardly turn."""
    rope = getattr(model.config, "rope_parameters", None) or {}
    if rope.get("partial_rotary_factor", 1.0) < 1.0:
        return size - 1  # not turned at all
    return size - 2 if family.model_type in _INTERLEAVED else size // 2 - 1


def norm_weight(model: Any, family: Family, layer: int, kind: str) -> tuple[Tensor, float]:
    """A norm's own weight, and what it stands for besides: Gemma's are around zero."""
    block = submodule(model, family.layers)[layer]
    found: Tensor = submodule(block, family.site_path(kind)).weight
    return found, 1.0 if "gemma" in family.model_type else 0.0
