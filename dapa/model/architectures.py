"""The families, one row of data each. A new one is a row here and one in tests/zoo.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dapa.core.records import PairError
from dapa.model.families import BEFORE, GATED, SPLIT, Family, Sites

_HEAD_NORMS: Sites = tuple((f"{kind}_norm", f"self_attn.{kind}_norm") for kind in "qk")
_AFTER: Sites = tuple((kind, kind) for kind in (
    "post_attention_layernorm", "post_feedforward_layernorm"))  # fmt: skip
_AROUND: Sites = (
    ("input_layernorm", "input_layernorm"),
    ("post_attention_layernorm", "post_attention_layernorm"),
    ("pre_feedforward_layernorm", "pre_feedforward_layernorm"),
    ("post_feedforward_layernorm", "post_feedforward_layernorm"),
)
_HALVES = (("mlp.gate_up_proj", ("gate", "up")),)
_FUSED_GATE: Sites = (
    ("gate", "mlp.gate_up_proj.gate"),
    ("up", "mlp.gate_up_proj.up"),
    ("down", "mlp.down_proj"),
)

_FOUR: Sites = (("up", "mlp.dense_h_to_4h"), ("down", "mlp.dense_4h_to_h"))

_ROUTED: Sites = (("router", "mlp.gate"), ("experts", "mlp.experts"))
_EXPERTS = (("experts", ("gate_up_proj", "down_proj")),)
_EACH = (
    ("gate_up_proj", ("gate_proj.weight", "up_proj.weight")),
    ("down_proj", ("down_proj.weight",)),
)


def _joined(attention: str) -> Sites:
    return (("qkv", f"{attention}.query_key_value"), ("o", f"{attention}.dense"))


def _two_norms(config: Any) -> bool:
    """Has a Falcon layer a norm for attention and another for the MLP, side by side?"""
    count = config.num_ln_in_parallel_attn
    if count is None:
        count = 2 if config.new_decoder_architecture else 1
    return bool(config.parallel_attn) and count == 2


def _dense(config: Any) -> str:
    """Which layers of a Qwen mixture have a plain MLP in the experts' place."""
    only, step = config.mlp_only_layers or (), config.decoder_sparse_step
    layers = range(config.num_hidden_layers)
    plain = [n for n in layers if n in only or not config.num_experts or (n + 1) % step]
    if not plain:
        return ""
    named = ", ".join(map(str, plain[:4])) + (" ..." if len(plain) > 4 else "")
    return f"{len(plain)} of its {len(layers)} layers ({named}) have a plain MLP, not experts"


FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        Family("llama", "Llama"),
        Family("mistral", "Mistral"),
        Family("qwen2", "Qwen2"),
        Family("gemma", "Gemma"),
        Family("qwen3", "Qwen3", sites=(*GATED, *SPLIT, *_HEAD_NORMS, *BEFORE)),
        Family("gemma2", "Gemma 2", sites=(*GATED, *SPLIT, *_AROUND)),
        Family("gemma3_text", "Gemma 3", sites=(*GATED, *SPLIT, *_HEAD_NORMS, *_AROUND)),
        Family("olmo2", "OLMo 2", sites=(*GATED, *SPLIT, *_HEAD_NORMS, *_AFTER)),
        Family("olmo3", "OLMo 3", sites=(*GATED, *SPLIT, *_HEAD_NORMS, *_AFTER)),
        Family("exaone4", "EXAONE 4", sites=(*GATED, *SPLIT, *_HEAD_NORMS, *_AFTER)),
        Family("granite", "Granite"),
        Family("smollm3", "SmolLM3"),
        Family("ministral", "Ministral"),
        Family("ministral3", "Ministral 3"),
        Family("olmo", "OLMo", sites=(*GATED, *SPLIT), bare_norm=True),
        Family(
            "cohere",
            "Cohere",
            sites=(*GATED, *SPLIT, *_HEAD_NORMS, BEFORE[0]),
            optional=tuple((path, lambda c: bool(c.use_qk_norm)) for _, path in _HEAD_NORMS),
        ),
        Family("cohere2", "Cohere 2", sites=(*GATED, *SPLIT, BEFORE[0])),
        Family(
            "stablelm",
            "StableLM",
            sites=(
                *GATED,
                *SPLIT,
                *BEFORE,  # a norm a head, where it has them, is no site
            ),
            optional=((BEFORE[1][1], lambda c: not c.use_parallel_residual),),
        ),
        Family(
            "phi3",
            "Phi-3",
            sites=(
                *_FUSED_GATE,
                ("qkv", "self_attn.qkv_proj"),
                ("o", "self_attn.o_proj"),
                *BEFORE,
            ),
            fused=_HALVES,
            own_code=True,
        ),
        Family("glm", "GLM", sites=(*_FUSED_GATE, *SPLIT, *BEFORE), fused=_HALVES),
        Family(
            "glm4",
            "GLM 4",
            sites=(
                *_FUSED_GATE,
                *SPLIT,
                ("input_layernorm", "input_layernorm"),  # the others by what they do, as in Gemma
                ("post_attention_layernorm", "post_self_attn_layernorm"),
                ("pre_feedforward_layernorm", "post_attention_layernorm"),
                ("post_feedforward_layernorm", "post_mlp_layernorm"),
            ),
            fused=_HALVES,
        ),
        Family(
            "starcoder2",
            "StarCoder2",
            sites=(("up", "mlp.c_fc"), ("down", "mlp.c_proj"), *SPLIT, *BEFORE),
        ),
        Family(
            "phi",
            "Phi",
            sites=(
                ("up", "mlp.fc1"),
                ("down", "mlp.fc2"),
                *SPLIT[:3],
                ("o", "self_attn.dense"),
                ("q_norm", "self_attn.q_layernorm"),
                ("k_norm", "self_attn.k_layernorm"),
                BEFORE[0],
            ),
            norm="model.final_layernorm",
            optional=tuple(
                (f"self_attn.{one}_layernorm", lambda c: bool(c.qk_layernorm)) for one in "qk"
            ),
            own_code=True,
        ),
        Family(
            "gpt_neox",
            "GPT-NeoX",
            layers="gpt_neox.layers",
            sites=(*_FOUR, *_joined("attention"), *BEFORE),
            attention="attention",
            by_group=True,
            embeddings="gpt_neox.embed_in",
            norm="gpt_neox.final_layer_norm",
            also=(("lm_head.", "embed_out."),),
        ),
        Family(
            "gpt_neo",
            "GPT-Neo",
            layers="transformer.h",
            sites=(
                ("up", "mlp.c_fc"),
                ("down", "mlp.c_proj"),
                *((kind, f"attn.attention.{kind}_proj") for kind in "qkv"),
                ("o", "attn.attention.out_proj"),
                ("input_layernorm", "ln_1"),
                ("post_attention_layernorm", "ln_2"),
            ),
            attention="attn",
            embeddings="transformer.wte",
            norm="transformer.ln_f",
            tuples=True,
            banded=True,
        ),
        Family(
            "falcon",
            "Falcon",
            layers="transformer.h",
            sites=(
                *_FOUR,
                *_joined("self_attention"),
                *BEFORE,
                ("input_layernorm", "ln_attn"),
                ("pre_feedforward_layernorm", "ln_mlp"),
            ),
            attention="self_attention",
            by_group=True,
            embeddings="transformer.word_embeddings",
            norm="transformer.ln_f",
            optional=(
                ("input_layernorm", lambda c: not _two_norms(c)),
                ("post_attention_layernorm", lambda c: not c.parallel_attn),
                ("ln_attn", lambda c: _two_norms(c)),
                ("ln_mlp", lambda c: _two_norms(c)),
            ),
            tuples=True,
            own_code=True,
        ),
        Family(
            "mixtral",
            "Mixtral",
            sites=(*_ROUTED, *SPLIT, *BEFORE),
            inner=_EXPERTS,
            each=(("gate_up_proj", ("w1.weight", "w3.weight")), ("down_proj", ("w2.weight",))),
            also=((".mlp.", ".block_sparse_moe."),),
        ),
        Family(
            "qwen2_moe",
            "Qwen2 MoE",
            sites=(
                *_ROUTED,
                ("shared", "mlp.shared_expert"),
                ("shared_gate", "mlp.shared_expert_gate"),
                *SPLIT,
                *BEFORE,
            ),
            inner=(
                *_EXPERTS,
                ("shared", ("gate_proj.weight", "up_proj.weight", "down_proj.weight")),
            ),
            each=_EACH,
            uneven=_dense,
        ),
        Family(
            "qwen3_moe",
            "Qwen3 MoE",
            sites=(*_ROUTED, *SPLIT, *_HEAD_NORMS, *BEFORE),
            inner=_EXPERTS,
            each=_EACH,
            uneven=_dense,
        ),
        Family(
            "gpt_oss",
            "GPT-OSS",
            sites=(("router", "mlp.router"), ("experts", "mlp.experts"), *SPLIT, *BEFORE),
            inner=(
                (
                    "experts",
                    ("gate_up_proj", "gate_up_proj_bias", "down_proj", "down_proj_bias"),
                ),
            ),
            beside=("self_attn.sinks",),
        ),
        Family(
            "gpt2",
            "GPT-2",
            layers="transformer.h",
            sites=(
                ("up", "mlp.c_fc"),
                ("down", "mlp.c_proj"),
                ("qkv", "attn.c_attn"),
                ("o", "attn.c_proj"),
                ("input_layernorm", "ln_1"),
                ("post_attention_layernorm", "ln_2"),
            ),
            attention="attn",
            embeddings="transformer.wte",
            norm="transformer.ln_f",
            turned=("up", "down", "qkv", "o"),
            also=(("transformer.", ""),),
        ),
    )
}
"""`model_type` -> row; `discovery.learn` adds what a person confirmed, for this process."""


AS: Mapping[str, str] = {"qwen2_vl": "qwen2", "qwen2_5_vl": "qwen2", "qwen3_vl": "qwen3"}
"""Multimodal models whose text model has no class of its own, and the family that it is: of text,
the three positions by which it turns queries and keys are one."""
WRAPPERS = (
    *("gemma3", "llava", "llava_next", "llava_onevision", "mistral3", "internvl"),
    *("idefics3", "smolvlm"),
    *AS,
)
"""Multimodal models whose text model is used alone: with text only, both compute the same."""
INSIDE: Mapping[str, str] = {
    r"^language_model\.model\.": "model.",
    r"^model\.language_model\.": "model.",
    r"^model\.text_model\.": "model.",
    r"^language_model\.lm_head\.": "lm_head.",
}
"""What wrappers' files call a text model's tensors, as patterns -> the text model's own prefix."""


_ELSEWHERE = re.compile(r"vision|visual|projector|connector|image|audio")


def inside_name(name: str) -> str | None:
    """What the text model alone calls a wrapper's tensor; None for one of the wrapper's rest."""
    if _ELSEWHERE.search(name):
        return None
    for pattern, ours in INSIDE.items():
        if re.search(pattern, name):
            return re.sub(pattern, ours, name)
    return name


def family_of(model_type: str, config: Any = None) -> Family:
    """The row for a config's `model_type`; PairError names what is supported.

    With a config, as its models have it: sites that they lack are left out.
    """
    if model_type in FAMILIES:
        family = FAMILIES[model_type]
        return family if config is None else family.fitted(config)
    raise PairError(
        f"model_type {model_type!r} is not a supported family; choose one of {', '.join(FAMILIES)} "
        "(a new family is one row in dapa/model/architectures.py)"
    )
