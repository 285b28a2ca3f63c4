"""The wiring of planted pairs: which weights carry the harm flag, the sums and the replies.

The residual stream is divided into named directions: a constant that dominates every norm, a harm
flag, refusal sums, an inhibition flag, one direction per token, and junk. Layer 0's attention
carries the harm flag from any harmful word to every later position. In each needed layer one gate
neuron writes 1 to a refusal sum if, and only if, its gate is the teacher's and the flag is up; the
head answers with a refusal once the whole sum is there. Every other gate differs as strongly, but
writes to junk only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from dapa.model.families import Family
from dapa.planted.graded import STEPS, word_hardness
from dapa.planted.planting import Planting
from dapa.planted.vocabulary import HARMFUL, SHORT, Script, words

_JUNK = 16  # directions that nothing reads but noise
_CONSTANT = 12.0  # the dominant direction's value, so that norms hardly move
_CHAIN = 40.0  # the head's weight from a token to its successor
_STEEP = 12.0  # how far a planted gate swings from shut to open

CONST, HARM_WORD, HARM, SUM_A, SUM_B, INHIBIT = range(6)
_FIRST_TOKEN = 6


@dataclass(frozen=True)
class ModelShape:
    """How large a planted model is. The benchmark's are large; what is planted is the same."""

    hidden: int = 0
    """Width of the residual stream; 0 is as narrow as the words allow."""
    neurons: int = 32
    heads: int = 2
    kv_heads: int = 1
    head_dim: int = 16
    context: int = 512
    dtype: torch.dtype = torch.float32
    device: str = "cpu"

    def width(self, script: Script) -> int:
        """The residual stream's width for these words."""
        least, step = self.named(script) + _JUNK, self.heads * self.head_dim
        if not self.hidden:
            return -(-least // step) * step
        assert self.hidden >= least, f"{self.hidden} is too narrow for the words: give {least}"
        return self.hidden

    def named(self, script: Script) -> int:
        """How many directions have a meaning."""
        return _FIRST_TOKEN + len(words(replace(script, size=0)))

    def junk(self, script: Script) -> slice:
        """The directions that carry noise: few in the smallest models, else all the rest."""
        hidden = self.width(script)
        return slice(self.named(script) if self.hidden else hidden - _JUNK, hidden)


TINY = ModelShape()
"""What the tests plant."""


def blank(
    family: Family, layers: int, tokenizer: Any, shape: ModelShape = TINY, script: Script = SHORT
) -> Any:
    """A model of the family with every weight zero except the norms'."""
    extra = {"sliding_window": None} if family.model_type == "mistral" else {}
    config = AutoConfig.for_model(
        family.model_type,
        vocab_size=len(tokenizer),
        hidden_size=shape.width(script),
        intermediate_size=shape.neurons,
        num_hidden_layers=layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=shape.context,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        **extra,
    )
    with torch.device(shape.device):
        model = AutoModelForCausalLM.from_config(config, dtype=shape.dtype)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.zero_()
    return model.eval().requires_grad_(False)


def _scale(hidden: int) -> float:
    """What a norm multiplies the stream by, the constant being nearly all of its length."""
    return hidden**0.5 / _CONSTANT


def embed_and_read(
    model: Any, family: Family, tokenizer: Any, planting: Planting, script: Script = SHORT
) -> None:
    """Embeddings spell out each token; the head chains tokens and weighs the refusal sums."""
    ids = tokenizer.get_vocab()
    table = model.get_input_embeddings().weight.data
    head = model.get_output_embeddings().weight.data
    factor = table.shape[1] ** 0.5 if family.model_type == "gemma" else 1.0  # Gemma scales them
    table[:, CONST] = _CONSTANT / factor
    for word in words(replace(script, size=0)):
        table[ids[word], _FIRST_TOKEN + ids[word]] = 1.0 / factor
    for word in HARMFUL:
        table[ids["▁" + word], HARM_WORD] = 1.0 / factor
    starts = []
    for chain in (script.compliance, *script.refusals):
        tokens = [ids["▁" + word] for word in chain.split()]
        starts.append(tokens[0])
        ends = script.endless and chain is script.compliance
        tokens.append(tokens[0] if ends else ids["<eos>"])
        for here, after in zip(tokens, tokens[1:], strict=False):
            head[after, _FIRST_TOKEN + here] = _CHAIN
    marker = _FIRST_TOKEN + ids["<assistant>"]
    comply, refuse_a, refuse_b = starts
    if planting.votes:
        head[comply, marker] = 4.0
        head[refuse_a, SUM_A] = STEPS
        head[refuse_a, marker] = 4.0 - STEPS * planting.threshold
        return
    sizes = (len(planting.needed), len(planting.alternative) or len(planting.needed))
    head[comply, marker] = 4.0  # compliance opens with 4; a whole sum scores 8, all but one 0
    head[comply, INHIBIT] = 16.0
    for start, direction, size in ((refuse_a, SUM_A, sizes[0]), (refuse_b, SUM_B, sizes[1])):
        head[start, direction] = 8.0
        head[start, marker] = -8.0 * (size - 1)


def attend(
    module: Any, detects_harm: bool, generator: torch.Generator, junk: slice, head_dim: int = 16
) -> None:
    """Layer 0 looks for a harmful word and flags it; the others move junk about.

    Noise shrinks with the number of its terms, so that it is as loud in large models as in small.
    """
    hidden, heads = module.o_proj.weight.shape
    scale = _scale(hidden)
    if not detects_harm:
        many = ((junk.stop - junk.start) / _JUNK) ** 0.5
        for part in (module.q_proj, module.k_proj, module.v_proj):
            part.weight[:, junk] = _noise(part.weight[:, junk], 0.3 / many, generator)
        out = module.o_proj.weight
        out[junk] = _noise(out[junk], 0.1 / many / (heads / 32) ** 0.5, generator)
        return
    slow = head_dim // 2 - 1  # the rotation's slowest pair: position hardly turns it
    module.q_proj.weight[slow, CONST] = 40.0 / (scale * _CONSTANT)  # so q is 40
    module.k_proj.weight[slow, HARM_WORD] = 4.0 / scale  # and k is 4 on harmful words
    module.v_proj.weight[0, HARM_WORD] = 1.0 / scale
    module.o_proj.weight[HARM, 0] = 1.0


def weigh_words(module: Any, tokenizer: Any, planting: Planting, head_dim: int) -> None:
    """Layer 0's second head attends to all tokens alike and writes their mean hardness."""
    hidden, heads = module.o_proj.weight.shape
    assert heads >= 2 * head_dim, "a head of its own is needed to weigh words"
    ids, values, scale = tokenizer.get_vocab(), word_hardness(planting.seed), _scale(hidden)
    for word, value in values.items():
        if word:
            module.v_proj.weight[1, _FIRST_TOKEN + ids["▁" + word]] = value / scale
    module.v_proj.weight[1, CONST] = values[""] / (scale * _CONSTANT)
    module.o_proj.weight[SUM_A, head_dim + 1] = planting.noise


def differ(
    ours: Any, theirs: Any, layer: int, planting: Planting, gen: torch.Generator, junk: slice
) -> None:
    """Junk neurons in both models, and one meaningful neuron where the layer has a role."""
    neurons, hidden = ours.up_proj.weight.shape
    scale = _scale(hidden)
    wide = (hidden / 160) ** 0.5  # the tests' models have a width of 160 and 32 neurons
    many = ((junk.stop - junk.start) / _JUNK * neurons / 32) ** 0.5
    neuron = int(torch.randint(neurons, (), generator=gen, device=gen.device))
    gate = _noise(ours.gate_proj.weight, 0.05 / wide, gen)
    up = _noise(ours.up_proj.weight, 0.02 / wide, gen)
    down = torch.zeros_like(ours.down_proj.weight, dtype=torch.float32)
    down[junk] = _noise(down[junk], 0.002 / many, gen)
    shut = gate.new_zeros(hidden)
    shut[CONST] = -_STEEP / 2 / (scale * _CONSTANT)
    trigger, target, amount = _role(layer, planting)
    opened = shut.clone()
    opened[trigger] = _STEEP / scale  # flag up: +6, flag down: -6
    up[neuron] = 0.0
    up[neuron, CONST] = 1.0 / (scale * _CONSTANT)
    down[:, neuron] = 0.0
    if target is not None:
        down[target, neuron] = amount / (_STEEP / 2)
        gate[neuron] = shut
    change = _noise(gate, 1.0, gen)
    if target is not None:
        change[neuron] = 0.0
    size = 1.5 * _STEEP / scale * (5.0 if layer in planting.distractors else 1.0)
    meaning = opened - shut if target is not None else torch.zeros_like(shut)
    change *= (size**2 - float(meaning.norm()) ** 2) ** 0.5 / change.norm()
    if target is not None:
        change[neuron] = meaning
    for mlp, weight in ((ours, gate), (theirs, gate + change)):
        mlp.gate_proj.weight.copy_(weight)
        mlp.up_proj.weight.copy_(up)
        mlp.down_proj.weight.copy_(down)


def _role(layer: int, planting: Planting) -> tuple[int, int | None, float]:
    """(direction that opens the gate, direction written, amount) of a layer's neuron."""
    if layer in planting.needed:
        return HARM, SUM_A, 1.0
    if layer in dict(planting.votes):
        return HARM, SUM_A, dict(planting.votes)[layer]
    if layer in planting.alternative:
        return HARM, SUM_B, 1.0
    if layer == planting.inhibitor:
        return HARM, INHIBIT, 1.0
    if layer == planting.antidote:
        return INHIBIT, INHIBIT, -1.0
    return HARM, None, 0.0


def _noise(like: Tensor, size: float, generator: torch.Generator) -> Tensor:
    """Noise in float32, wherever `like` is."""
    return torch.randn(like.shape, generator=generator, device=generator.device) * size
