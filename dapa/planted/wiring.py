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

from dapa.core.records import Site
from dapa.model.families import Family, submodule
from dapa.planted.anatomy import (
    anchored,
    centred,
    mlps,
    norm_weight,
    projections,
    reads_raw,
    scales_embeddings,
    settings_of,
    shares_out,
    slowest,
    weight,
)
from dapa.planted.graded import STEPS, word_hardness
from dapa.planted.planting import Planting
from dapa.planted.vocabulary import HARMFUL, SHORT, Script, words

_JUNK = 16  # directions that nothing reads but noise
_CONSTANT = 12.0  # the dominant direction's value, so that norms hardly move
_CHAIN = 40.0  # the head's weight from a token to its successor
_NO_SINK = -100.0  # a logit of attention that draws nothing
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
    settings = dict(
        vocab_size=len(tokenizer),
        hidden_size=shape.width(script),
        **dict.fromkeys(("intermediate_size", "n_inner", "ffn_hidden_size"), shape.neurons),
        num_hidden_layers=layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=shape.context,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    if shares_out(family):
        del settings["head_dim"]  # Falcon's cannot be set
    if family.mixture:
        widths = ("moe_intermediate_size", "shared_expert_intermediate_size")
        settings |= dict.fromkeys(widths, shape.neurons)
    settings |= settings_of(family, layers, shape.width(script), shape.head_dim)
    config = AutoConfig.for_model(family.model_type, **settings)
    with torch.device(shape.device):
        model = AutoModelForCausalLM.from_config(config, dtype=shape.dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 or name.endswith("bias"):
                parameter.zero_()  # all but the norms
            if name.endswith("sinks"):
                parameter.fill_(_NO_SINK)
            if name.endswith("gate_up_proj_bias"):  # GPT-OSS adds 1 to what up says
                parameter[:, 1::2] = -1.0
        family = family.fitted(config)
        for layer in range(layers):
            _calm(model, family, layer)
    return model.eval().requires_grad_(False)


def _calm(model: Any, family: Family, layer: int) -> None:
    """Set norms of queries to the length that `attend` wants, and those behind a block to undo."""
    if "q_norm" in family.single and layer == 0:
        norm, base = norm_weight(model, family, layer, "q_norm")
        norm.fill_(10.0 - base)  # of a query that looks for one thing, a norm leaves 4 or more
    if anchored(family):
        for kind in ("post_attention_layernorm", "post_feedforward_layernorm"):
            norm, base = norm_weight(model, family, layer, kind)
            norm.fill_(_CONSTANT / len(norm) ** 0.5 - base)
            norm[CONST] = -base


def _scale(family: Family, hidden: int) -> float:
    """What a norm multiplies the stream by, the constant being nearly all of its length."""
    return 1.0 if reads_raw(family) else hidden**0.5 / _CONSTANT


def embed_and_read(
    model: Any, family: Family, tokenizer: Any, planting: Planting, script: Script = SHORT
) -> None:
    """Embeddings spell out each token; the head chains tokens and weighs the refusal sums."""
    ids = tokenizer.get_vocab()
    table = model.get_input_embeddings().weight.data
    head = model.get_output_embeddings().weight.data
    factor = table.shape[1] ** 0.5 if scales_embeddings(family) else 1.0
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
    whole = len(planting.needed) + len(planting.heads) + len(planting.kv)
    sizes = (whole, len(planting.alternative) or whole)
    head[comply, marker] = 4.0  # compliance opens with 4; a whole sum scores 8, all but one 0
    head[comply, INHIBIT] = 16.0
    for start, direction, size in ((refuse_a, SUM_A, sizes[0]), (refuse_b, SUM_B, sizes[1])):
        head[start, direction] = 8.0
        head[start, marker] = -8.0 * (size - 1)
    if centred(family):
        head[:, CONST] += head.sum(1) / (head.shape[1] - 1)


def _of(family: Family, hidden: int, direction: int) -> Tensor:
    """What reads one direction behind a norm, (d,); a norm that centres has moved it."""
    reader = torch.zeros(hidden)
    reader[direction] = 1.0
    if centred(family):
        reader[direction] = 1.02  # the tokens' and flags' own share of the mean
        reader[CONST] += 1.0 / (hidden - 1)
    return reader


def attend(model: Any, family: Family, layer: int, generator: torch.Generator, junk: slice) -> None:
    """Layer 0 looks for a harmful word and flags it; the others move junk about.

    Noise shrinks with the number of its terms, so that it is as loud in large models as in small.
    """
    query, key, value = projections(model, family, layer)  # (heads, head size, d) each
    out = weight(model, family, Site(layer, "o"))
    hidden, heads = out.shape
    scale = _scale(family, hidden)
    if layer == 0:
        slow = slowest(model, family, query.shape[1])
        query[0, slow, CONST] = 40.0 / (scale * _CONSTANT)  # so q is 40
        harm = _of(family, hidden, HARM_WORD).to(out.device, out.dtype) / scale
        key[0, slow] = 4.0 * harm  # and k is 4 on harmful words
        value[0, 0] = harm
        out[HARM, 0] = 1.0
    else:
        many = ((junk.stop - junk.start) / _JUNK) ** 0.5
        for part in (query, key, value):
            part[..., junk] = _noise(part[..., junk], 0.3 / many, generator)
        out[junk] = _noise(out[junk], 0.1 / many / (heads / 32) ** 0.5, generator)
    if anchored(family):
        value[0, 2] = 0.0
        value[0, 2, CONST] = 1.0 / (scale * _CONSTANT)
        out[:, 2] = 0.0
        out[CONST, 2] = _CONSTANT


def weigh_words(model: Any, family: Family, tokenizer: Any, planting: Planting) -> None:
    """Layer 0's second head attends to all tokens alike and writes their mean hardness."""
    query, _, value = projections(model, family, 0)
    heads, size, hidden = query.shape
    assert heads >= 2, "a head of its own is needed to weigh words"
    row = value[len(value) // heads, 1]  # of the second head's values
    ids, values, scale = tokenizer.get_vocab(), word_hardness(planting.seed), _scale(family, hidden)
    for word, hard in values.items():
        if word:
            row[_FIRST_TOKEN + ids["▁" + word]] = hard / scale
    row[CONST] = values[""] / (scale * _CONSTANT)
    weight(model, family, Site(0, "o"))[SUM_A, size + 1] = planting.noise


def differ(
    ours: Any,
    theirs: Any,
    family: Family,
    layer: int,
    planting: Planting,
    gen: torch.Generator,
    junk: slice,
) -> None:
    """Junk neurons in both models, and one meaningful neuron where the layer has a role.

    Where a family has no gate, its up projection is what the others' gate is.
    """
    parts = mlps(ours, family, layer)
    _, first, out = parts[0]
    neurons, hidden = first.shape
    scale = _scale(family, hidden)
    wide = (hidden / 160) ** 0.5  # the tests' models have a width of 160 and 32 neurons
    many = ((junk.stop - junk.start) / _JUNK * neurons / 32) ** 0.5
    neuron = int(torch.randint(neurons, (), generator=gen, device=gen.device))
    gate = _noise(first, 0.05 / wide, gen)
    up = _noise(first, 0.02 / wide, gen)
    down = torch.zeros_like(out, dtype=torch.float32)
    down[junk] = _noise(down[junk], 0.002 / many, gen)
    shut = gate.new_zeros(hidden)
    shut[CONST] = -_STEEP / 2 / (scale * _CONSTANT)
    trigger, target, amount = _role(layer, planting)
    opened = shut.clone()
    opened += _of(family, hidden, trigger).to(gate) * (_STEEP / scale)  # +6 or -6 by the flag
    one = torch.zeros_like(shut)
    one[CONST] = 1.0 / (scale * _CONSTANT)
    up[neuron] = one
    down[:, neuron] = 0.0
    if target is not None:
        down[target, neuron] = amount / (_STEEP / 2)
        gate[neuron] = shut
    change = _noise(gate, 1.0, gen)
    if target is not None:
        change[neuron] = 0.0
    if anchored(family):
        anchor = (neuron + 1) % neurons
        gate[anchor], up[anchor], change[anchor], down[:, anchor] = -shut, one, 0.0, 0.0
        down[CONST, anchor] = _CONSTANT / (_STEEP / 2)
    size = 1.5 * _STEEP / scale * (5.0 if layer in planting.distractors else 1.0)
    meaning = opened - shut if target is not None else torch.zeros_like(shut)
    change *= (size**2 - float(meaning.norm()) ** 2) ** 0.5 / change.norm()
    if target is not None:
        change[neuron] = meaning
    for model, moved in ((ours, gate), (theirs, gate + change)):
        for turn, (gates, ups, downs) in enumerate(mlps(model, family, layer)):
            # each expert has the same neurons, at other places
            if gates is not None:
                gates.copy_(moved.roll(turn, 0))
            ups.copy_((moved if gates is None else up).roll(turn, 0))
            downs.copy_(down.roll(turn, 1))
    if family.mixture:
        router = submodule(ours, family.path(Site(layer, "router"))).weight
        router[:, junk] = _noise(router[:, junk], 1.0, gen)
        submodule(theirs, family.path(Site(layer, "router"))).weight.copy_(router)


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
