"""Every family as the tests try it: a tiny config, and what is odd about it.

`assets/docs/families.md` is made from this table; imports no torch, so that the page is quick.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WINDOW, NEURONS = 7, 24
MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
_SLIDING = {"sliding_window": WINDOW, "layer_types": MIXED}


@dataclass(frozen=True)
class Tried:
    """One family, tiny, or a variant of it."""

    model_type: str
    odd: str
    """What it has that Llama has not; for the page."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of its config, besides `support.random_model`'s."""
    variant: str = ""
    """What is other than in most models of the family; empty for those."""

    @property
    def name(self) -> str:
        """Which of the table's rows this is."""
        return f"{self.model_type}-{self.variant}" if self.variant else self.model_type

    @property
    def slides(self) -> bool:
        """Is it tried with a window shorter than the prompt?"""
        return not {"sliding_window", "window_size"}.isdisjoint(self.settings)


ZOO: Mapping[str, Tried] = {
    tried.name: tried
    for tried in (
        Tried("llama", ""),
        Tried("mistral", "sliding window", {"sliding_window": WINDOW}),
        Tried("qwen2", "biases of q, k and v"),
        Tried("gemma", "scaled embeddings, norms around zero"),
        Tried("qwen3", "norms of q and k"),
        Tried(
            "gemma2",
            "norms before and after, soft caps, every other layer slides",
            {**_SLIDING, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 5.0,
             "final_logit_softcapping": 9.0},
        ),
        Tried(
            "gemma3_text",
            "norms before and after, norms of q and k, layers that slide have a rope of their own",
            {**_SLIDING, "query_pre_attn_scalar": 8},
        ),
        Tried("olmo2", "norms after attention and MLP only, norms of all of q and of k"),
        Tried("olmo3", "as OLMo 2; most layers slide", _SLIDING),
        Tried("exaone4", "norms after only, no positions where nothing slides", _SLIDING),
        Tried(
            "granite",
            "multipliers of embeddings, residuals, attention and logits",
            {"embedding_multiplier": 3.0, "residual_multiplier": 0.7, "attention_multiplier": 0.2,
             "logits_scaling": 2.0},
        ),
        Tried("smollm3", "some layers without positions", {"no_rope_layers": [1, 0, 1]}),
        Tried("ministral", "some layers slide", _SLIDING),
        Tried(
            "ministral3",
            "queries scaled by their positions",
            {"rope_parameters": {
                "rope_type": "yarn", "rope_theta": 1e6, "factor": 2.0, "beta_fast": 32.0,
                "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0,
                "llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 8}},
        ),
        Tried("olmo", "norms without weights", {"clip_qkv": 2.0}),
        Tried(
            "cohere",
            "attention and MLP side by side, interleaved positions, tied head, scaled logits",
            {"use_qk_norm": True, "logit_scale": 0.5},
        ),
        Tried(
            "cohere2",
            "attention and MLP side by side, no positions where nothing slides, tied head",
            {**_SLIDING, "logit_scale": 0.5},
        ),
        Tried("stablelm", "layer norms with biases, positions on a quarter of each head"),
        Tried(
            "phi3",
            "gate and up in one matrix, q, k and v in another",
            {"sliding_window": WINDOW},
        ),
        Tried("starcoder2", "no gate; biases, a sliding window", {"sliding_window": WINDOW}),
        Tried("phi", "no gate; attention and MLP side by side, biases, a head with a bias"),
        Tried(
            "gpt_neo",
            "no gate; learned positions, every other layer slides, attention without a scale",
            {"attention_types": [[["global", "local", "global"], 1]], "window_size": WINDOW},
        ),
        Tried("gpt_neox", "no gate; attention and MLP side by side, q, k and v in one matrix"),
        Tried("falcon", "no gate; one key and value for all heads, side by side, one norm"),
        Tried("gpt2", "no gate; learned positions, matrices stored the other way round, tied head"),
        Tried(
            "mixtral",
            "no gate of its own; a mixture of experts, sliding window",
            {"num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": WINDOW},
        ),
        Tried(
            "qwen2_moe",
            "no gate of its own; a mixture of experts, one more shared by all tokens",
            {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": NEURONS,
             "shared_expert_intermediate_size": NEURONS},
        ),
        Tried(
            "qwen3_moe",
            "no gate of its own; a mixture of experts, norms of q and k",
            {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": NEURONS},
        ),
        Tried(
            "gpt_oss",
            "no gate of its own; a mixture of experts with biases, attention sinks, most layers "
            "slide",
            {"num_local_experts": 5, "num_experts_per_tok": 2, **_SLIDING, "rope_parameters": {
                "rope_type": "yarn", "rope_theta": 150000.0, "factor": 2.0, "beta_fast": 32.0,
                "beta_slow": 1.0, "truncate": False, "original_max_position_embeddings": 32}},
        ),
        Tried("glm", "gate and up in one matrix, interleaved positions on a half of each head"),
        Tried("glm4", "gate and up in one matrix, norms before and after, interleaved positions"),
        Tried("falcon", "no gate; as the 40B: two norms, keys and values for groups of heads",
              {"new_decoder_architecture": True, "num_kv_heads": 2}, "grouped"),
        Tried("stablelm", "attention and MLP side by side", {"use_parallel_residual": True,
              "use_qkv_bias": True}, "parallel"),
        Tried("cohere", "without norms of q and k", {"use_qk_norm": False}, "plain"),
        Tried("gpt_neox", "no gate; the MLP behind attention", {"use_parallel_residual": False},
              "serial"),
    )
}  # fmt: skip


def third(families: Any, seed: int = 0) -> list[str]:
    """A seeded third of some families, Llama among them."""
    others = [name for name in families if name != "llama"]
    few = random.Random(seed).sample(others, max(1, len(others) // 3))
    return [name for name in families if name == "llama" or name in few]
