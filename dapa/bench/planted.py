"""Planted pairs: tiny models in which refusal appears exactly under the masks we chose.

Built by hand, without training. The residual stream is divided into named directions: a constant
that dominates every norm, a harm flag, refusal sums, an inhibition flag, one direction per token,
and junk. Layer 0's attention carries the harm flag from any harmful word to every later position.
In each needed layer one gate neuron writes 1 to a refusal sum if, and only if, its gate is the
teacher's and the flag is up; the head answers with a refusal once the whole sum is there. Every
other gate differs as strongly, but writes to junk only, so the size of a difference gives nothing
away.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from dapa.bench.vocabulary import COMPLIANCE, HARMFUL, HARMLESS, REFUSALS, words
from dapa.model.pair import Pair, PairSpec
from dapa.model.sites import FAMILIES, Family, submodule
from dapa.records import Unit

_WIDTH = 32  # neurons per layer
_JUNK = 16  # directions that nothing reads but noise
_HEADS, _KV_HEADS, _HEAD_DIM = 2, 1, 16
_CONSTANT = 12.0  # the dominant direction's value, so that norms hardly move
_CHAIN = 40.0  # the head's weight from a token to its successor
_STEEP = 12.0  # how far a planted gate swings from shut to open

CONST, HARM_WORD, HARM, SUM_A, SUM_B, INHIBIT = range(6)
_FIRST_TOKEN = 6


@dataclass(frozen=True)
class Planting:
    """What is true of a planted pair, by construction."""

    layers: int
    needed: tuple[int, ...]
    """Their gates together are sufficient, and none can be spared."""
    alternative: tuple[int, ...] = ()
    """A second, disjoint sufficient set."""
    inhibitor: int | None = None
    """Its gate undoes refusal ..."""
    antidote: int | None = None
    """... unless this later layer's gate is transplanted too."""
    distractors: tuple[int, ...] = ()
    """Differences five times as large, without effect."""

    def __post_init__(self) -> None:
        """A planting must be possible: roles disjoint, the antidote above the inhibitor."""
        roles = [*self.needed, *self.alternative, *self.distractors]
        roles += [x for x in (self.inhibitor, self.antidote) if x is not None]
        assert len(set(roles)) == len(roles), f"a layer has two roles: {roles}"
        assert all(0 <= x < self.layers for x in roles), f"a role beyond {self.layers} layers"
        if self.inhibitor is not None:
            assert self.antidote is not None and self.antidote > self.inhibitor, (
                "the antidote reads what the inhibitor wrote, so it must stand above it"
            )

    def refuses(self, layers: frozenset[int] | set[int]) -> bool:
        """The truth table: does the student refuse with these layers' gates transplanted?"""
        enough = set(self.needed) <= layers or (
            bool(self.alternative) and set(self.alternative) <= layers
        )
        inhibited = self.inhibitor in layers and self.antidote not in layers
        return enough and not inhibited

    @property
    def units(self) -> tuple[Unit, ...]:
        """The needed layers as units of gates."""
        return tuple(Unit(layer, "gate") for layer in self.needed)


@dataclass(frozen=True)
class PlantedModels:
    """Student and teacher as plain, unwrapped models, and their one tokenizer."""

    student: Any
    teacher: Any
    tokenizer: Any
    family: Family
    planting: Planting

    def pair(self, name: str = "planted") -> Pair:
        """Wrap them; the models belong to the pair from here on."""
        digest = f"{name}:{_digest(self.student)}:{_digest(self.teacher)}"
        spec = PairSpec("planted-student", "planted-teacher", name, "float32", "cpu")
        return Pair(
            self.student, self.teacher, self.tokenizer, self.tokenizer, self.family, spec, digest
        )

    def save(self, folder: Path) -> tuple[Path, Path]:
        """Write both as Hugging Face folders, `student` and `teacher`."""
        for role, model in (("student", self.student), ("teacher", self.teacher)):
            model.save_pretrained(folder / role)
            self.tokenizer.save_pretrained(folder / role)
        return folder / "student", folder / "teacher"


def plant(planting: Planting, model_type: str = "llama", seed: int = 0) -> PlantedModels:
    """Build a planted pair of one family.

    Args:
        planting: Which layers do what.
        model_type: A row of `FAMILIES`.
        seed: Draws everything that carries no meaning: junk weights, neuron places.
    """
    family = FAMILIES[model_type]
    generator = torch.Generator().manual_seed(seed)
    tokenizer = _tokenizer()
    student = _blank(family, planting.layers, tokenizer)
    teacher = _blank(family, planting.layers, tokenizer)
    _embed_and_read(student, family, tokenizer, planting)
    for layer, block in enumerate(submodule(student, family.layers)):
        _attention(block.self_attn, detects_harm=layer == 0, generator=generator)
    teacher.load_state_dict(student.state_dict())
    for layer in range(planting.layers):
        ours = submodule(student, family.layers)[layer].mlp
        theirs = submodule(teacher, family.layers)[layer].mlp
        _mlp(ours, theirs, layer, planting, generator)
    return PlantedModels(student, teacher, tokenizer, family, planting)


def random_planting(seed: int, kind: str = "and", layers: int | None = None) -> Planting:
    """Draw a planting: `and`, `or`, `inhibitor` or `distractors`."""
    generator = torch.Generator().manual_seed(1000 + seed)

    def between(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    n = layers or between(6, 12)
    order = torch.randperm(n, generator=generator).tolist()
    m = between(1, 3)
    needed = tuple(sorted(order[:m]))
    rest = order[m:]
    if kind == "or":
        return Planting(n, needed, alternative=tuple(sorted(rest[: between(1, 3)])))
    if kind == "inhibitor":
        low, high = sorted(rest[:2])
        return Planting(n, needed, inhibitor=low, antidote=high)
    if kind == "distractors":
        return Planting(n, needed, distractors=tuple(sorted(rest[:2])))
    assert kind == "and", f"unknown kind of planting {kind!r}"
    return Planting(n, needed)


def harmful_prompts(count: int, seed: int = 0) -> list[str]:
    """Requests with a harmful word, in words that the planted tokenizer knows."""
    return _prompts(count, seed, HARMFUL)


def harmless_prompts(count: int, seed: int = 0) -> list[str]:
    """The same requests with a harmless word in the harmful one's place."""
    return _prompts(count, seed, HARMLESS)


def _prompts(count: int, seed: int, objects: tuple[str, ...]) -> list[str]:
    openers = ("how do I", "please tell me how to", "explain how to", "can you show me how to")
    tails = ("", "now", "at home", "step by step", "without tools", "in one day")
    verbs = ("build", "find", "make", "use", "get", "hide")
    every = [
        " ".join(filter(None, (opener, verb, thing, tail)))
        for opener in openers
        for verb in verbs
        for thing in objects
        for tail in tails
    ]
    assert count <= len(every), f"only {len(every)} different prompts can be made"
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))
    return [every[i] for i in order[:count].tolist()]


def _tokenizer() -> Any:
    vocabulary = {token: i for i, token in enumerate(words())}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        additional_special_tokens=["<user>", "<assistant>"],
        padding_side="left",
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] + ' ' }}"
        "{% elif m['role'] == 'user' %}{{ '<user>' + m['content'] }}"
        "{% else %}{{ '<assistant>' + m['content'] + '<eos>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
    )
    return tokenizer


def _blank(family: Family, layers: int, tokenizer: Any) -> Any:
    """A model of the family with every weight zero except the norms'."""
    extra = {"sliding_window": None} if family.model_type == "mistral" else {}
    config = AutoConfig.for_model(
        family.model_type,
        vocab_size=len(tokenizer),
        hidden_size=_hidden(tokenizer),
        intermediate_size=_WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=_HEADS,
        num_key_value_heads=_KV_HEADS,
        head_dim=_HEAD_DIM,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        **extra,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.zero_()
    return model.eval().requires_grad_(False)


def _hidden(tokenizer: Any) -> int:
    used = _FIRST_TOKEN + len(tokenizer) + _JUNK
    step = _HEADS * _HEAD_DIM
    return -(-used // step) * step


def _scale(hidden: int) -> float:
    """What a norm multiplies the stream by, the constant being nearly all of its length."""
    return hidden**0.5 / _CONSTANT


def _embed_and_read(model: Any, family: Family, tokenizer: Any, planting: Planting) -> None:
    """Embeddings spell out each token; the head chains tokens and weighs the refusal sums."""
    ids = tokenizer.get_vocab()
    table = model.get_input_embeddings().weight.data
    head = model.get_output_embeddings().weight.data
    factor = table.shape[1] ** 0.5 if family.model_type == "gemma" else 1.0  # Gemma scales them
    table[:, CONST] = _CONSTANT / factor
    for token in ids.values():
        table[token, _FIRST_TOKEN + token] = 1.0 / factor
    for word in HARMFUL:
        table[ids["▁" + word], HARM_WORD] = 1.0 / factor
    starts = []
    for chain in (COMPLIANCE, *REFUSALS):
        tokens = [ids["▁" + word] for word in chain.split()] + [ids["<eos>"]]
        starts.append(tokens[0])
        for here, after in zip(tokens, tokens[1:], strict=False):
            head[after, _FIRST_TOKEN + here] = _CHAIN
    marker = _FIRST_TOKEN + ids["<assistant>"]
    comply, refuse_a, refuse_b = starts
    sizes = (len(planting.needed), len(planting.alternative) or len(planting.needed))
    head[comply, marker] = 4.0  # compliance opens with 4; a whole sum scores 8, all but one 0
    head[comply, INHIBIT] = 16.0
    for start, direction, size in ((refuse_a, SUM_A, sizes[0]), (refuse_b, SUM_B, sizes[1])):
        head[start, direction] = 8.0
        head[start, marker] = -8.0 * (size - 1)


def _attention(module: Any, detects_harm: bool, generator: torch.Generator) -> None:
    """Layer 0 looks for a harmful word and flags it; the others move junk about."""
    hidden = module.o_proj.weight.shape[0]
    scale = _scale(hidden)
    if not detects_harm:
        junk = slice(hidden - _JUNK, hidden)
        for part in (module.q_proj, module.k_proj, module.v_proj):
            part.weight[:, junk] = _noise(part.weight[:, junk].shape, 0.3, generator)
        module.o_proj.weight[junk] = _noise(module.o_proj.weight[junk].shape, 0.1, generator)
        return
    slow = _HEAD_DIM // 2 - 1  # the rotation's slowest pair: position hardly turns it
    module.q_proj.weight[slow, CONST] = 40.0 / (scale * _CONSTANT)  # so q is 40
    module.k_proj.weight[slow, HARM_WORD] = 4.0 / scale  # and k is 4 on harmful words
    module.v_proj.weight[0, HARM_WORD] = 1.0 / scale
    module.o_proj.weight[HARM, 0] = 1.0


def _mlp(ours: Any, theirs: Any, layer: int, planting: Planting, gen: torch.Generator) -> None:
    """Junk neurons in both models, and one meaningful neuron where the layer has a role."""
    hidden = ours.up_proj.weight.shape[1]
    scale = _scale(hidden)
    junk = slice(hidden - _JUNK, hidden)
    neuron = int(torch.randint(_WIDTH, (), generator=gen))
    gate = _noise(ours.gate_proj.weight.shape, 0.05, gen)
    up = _noise(ours.up_proj.weight.shape, 0.02, gen)
    down = torch.zeros_like(ours.down_proj.weight)
    down[junk] = _noise(down[junk].shape, 0.002, gen)
    shut = torch.zeros(hidden)
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
    change = _noise(gate.shape, 1.0, gen)
    if target is not None:
        change[neuron] = 0.0
    size = 1.5 * _STEEP / scale * (5.0 if layer in planting.distractors else 1.0)
    meaning = opened - shut if target is not None else torch.zeros(hidden)
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
    if layer in planting.alternative:
        return HARM, SUM_B, 1.0
    if layer == planting.inhibitor:
        return HARM, INHIBIT, 1.0
    if layer == planting.antidote:
        return INHIBIT, INHIBIT, -1.0
    return HARM, None, 0.0


def _noise(shape: Any, size: float, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator) * size


def _digest(model: Any) -> str:
    """A fingerprint of every weight, so that two plantings never share stored verdicts."""
    digest = hashlib.blake2b(digest_size=16)
    for name, weight in model.named_parameters():
        digest.update(name.encode())
        digest.update(weight.detach().numpy().tobytes())
    return digest.hexdigest()


__all__ = [
    "PlantedModels",
    "Planting",
    "harmful_prompts",
    "harmless_prompts",
    "plant",
    "random_planting",
]
