"""What several test files build: random trios, really copied weights, masks, odd tokenizers."""

import random
from collections.abc import Collection
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM
from zoo import NEURONS, ZOO, third

from dapa.core.records import OUTSIDE, Mask, Site, Unit
from dapa.model.architectures import FAMILIES, family_of
from dapa.model.decode.generation import Batch
from dapa.model.families import Family, resolve, submodule
from dapa.model.pair import Pair, PairSpec
from dapa.planted.pairs import Planting, plant

FOLDERS = "planted"
LAYERS, EQUAL_GATE = 3, 1
TOKENIZER = plant(Planting(1, (0,))).tokenizer
ORDINARY = [i for i in range(len(TOKENIZER)) if i not in set(TOKENIZER.all_special_ids)]


@dataclass(frozen=True, eq=False, repr=False)
class Trio:
    """A wrapped pair, and the two models as they were before."""

    pair: Pair
    student: Any
    teacher: Any
    _made: dict[Mask, Any] = field(default_factory=dict, repr=False)

    def materialised(self, mask: Mask) -> Any:
        """The student with the mask's weights really copied; made once per mask."""
        if mask not in self._made:
            copy = deepcopy(self.student)
            self._made[mask] = materialise(copy, self.teacher, mask, self.pair.family)
        return self._made[mask]


def random_model(model_type: str, seed: int, dtype: torch.dtype = torch.float32, **extra: Any):
    """A small model with random weights, wide enough apart for clear-cut tokens.

    `model_type` may name a variant of `zoo.ZOO`.
    """
    settings = dict(
        vocab_size=len(TOKENIZER),
        hidden_size=32,
        **dict.fromkeys(("intermediate_size", "n_inner", "ffn_hidden_size"), NEURONS),
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        sliding_window=None,
        initializer_range=0.3,
        pad_token_id=TOKENIZER.pad_token_id,
        eos_token_id=TOKENIZER.eos_token_id,
        bos_token_id=None,
    )
    tried = ZOO[model_type]
    if tried.model_type == "falcon":
        del settings["head_dim"]  # cannot be set
    config = AutoConfig.for_model(tried.model_type, **{**settings, **tried.settings, **extra})
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval().requires_grad_(False)


def random_trio(
    model_type: str,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    kinds: Collection[str] = (),
    **extra: Any,
) -> Trio:
    """A pair that differs in everything but one gate, or in the sites of `kinds` only."""
    student = random_model(model_type, seed, dtype, **extra)
    teacher = deepcopy(student)
    family = family_of(student.config.model_type, student.config)
    generator = torch.Generator().manual_seed(seed + 1)
    for site in family.places(LAYERS):
        tied = site.module == "head" and student.config.tie_word_embeddings
        if site != Site(EQUAL_GATE, family.first) and site.module in (kinds or family.single):
            for weight in weights_of(teacher, family, site).values() if not tied else ():
                noise = torch.randn(weight.shape, generator=generator)
                weight.add_((0.3 * noise).to(dtype))
    kept = deepcopy(student), deepcopy(teacher)
    spec = PairSpec("random-student", "random-teacher", "", "float32", "cpu")
    pair = Pair(student, teacher, TOKENIZER, TOKENIZER, family, spec, f"{model_type}:{seed}")
    return Trio(pair, *kept)


def planted_models(model_type: str, planting: Planting | None = None, seed: int = 0):
    """A planted pair of four layers, of which 1 and 2 are needed."""
    return plant(planting or Planting(4, (1, 2), distractors=(3,)), model_type, seed)


def weights_of(model: Any, family: Family, site: Site) -> dict[str, torch.Tensor]:
    """A site's own weights in a plain model, (neurons, inputs), as views, however it has them."""
    found = {}
    for path, kinds in family.fused:
        if site.module in kinds:
            whole = submodule(model, f"{family.layers}.{site.layer}.{path}")
            for name, weight in whole.named_parameters():
                found[name] = weight.chunk(len(kinds))[kinds.index(site.module)]
            return found
    found = dict(submodule(model, family.path(site)).named_parameters())
    if site.module in family.turned:
        found["weight"] = found["weight"].T
    return found


def materialise(student_copy: Any, teacher: Any, mask: Mask, family: Family) -> Any:
    """Copy or blend the mask's weights into a plain copy of the student; returns the copy."""
    for site, strength in resolve(mask).items():
        if site.module not in family.single:
            continue
        ours, theirs = (weights_of(m, family, site) for m in (student_copy, teacher))
        if not isinstance(strength, tuple):
            for mine, new in zip(ours.values(), theirs.values(), strict=True):
                mine.copy_(new if strength == 1.0 else mine + strength * (new - mine))
            continue
        for start, stop, value in strength:
            part = slice(start, stop)
            if site.module == "down":  # its neurons are its columns; its bias belongs to none
                pairs = [(ours["weight"][:, part], theirs["weight"][:, part])]
            else:
                pairs = [(ours[name][part], theirs[name][part]) for name in ours]
            for mine, new in pairs:
                mine.copy_(new if value == 1.0 else mine + value * (new - mine))
    return student_copy


PLAIN_NORMS = ("input_layernorm", "post_attention_layernorm")
STRENGTHS = st.sampled_from([1.0, 1.0, 1.0, 0.5, 0.25, 0.9])
BASE = ("llama", "mistral", "qwen2", "gemma")
"""The first four families, of one structure: enough where only that matters."""


GATED = tuple(name for name, family in FAMILIES.items() if family.first == "gate")


def some(families: Collection[str] = tuple(ZOO), few: Collection[str] = ()) -> list[Any]:
    """A seeded third of the families, or these few, and all of them for `pytest -m full`."""
    every = [pytest.param(f, id=f"full-{f}", marks=pytest.mark.full) for f in families]
    return [*(few or third(families)), *every]


@st.composite
def blocks(draw: Any) -> tuple[tuple[int, int, float], ...]:
    """One or two disjoint blocks of neurons, with strengths."""
    cuts = sorted(draw(st.lists(st.integers(0, NEURONS), min_size=2, max_size=4, unique=True)))
    cuts = cuts[: len(cuts) // 2 * 2]
    return tuple((a, b, draw(STRENGTHS)) for a, b in zip(cuts[::2], cuts[1::2], strict=True))


@st.composite
def masks(draw: Any, family: Family, layers: int = LAYERS) -> Mask:
    """Any mask: groups, single sites, fractions and blocks of neurons, layer by layer; ends."""
    entries: list[tuple[Unit, float]] = []
    for kind, _ in family.ends:
        if draw(st.integers(0, 2)) == 0:
            entries.append((Unit(OUTSIDE, kind), draw(STRENGTHS)))
    for layer in range(layers):
        if draw(st.integers(0, 5)) == 0:
            entries.append((Unit(layer, "layer"), draw(STRENGTHS)))
            continue
        for whole in ("attention", "norms"):
            parts = family.parts(whole)
            if parts and draw(st.integers(0, 3)) == 0:
                entries.append((Unit(layer, whole), draw(STRENGTHS)))
            else:
                some = [kind for kind in parts if draw(st.integers(0, 3)) == 0]
                entries += [(Unit(layer, kind), draw(STRENGTHS)) for kind in some]
        if draw(st.integers(0, 3)) == 0:
            entries.append((Unit(layer, "mlp"), draw(STRENGTHS)))
            continue
        for kind in family.parts("mlp"):
            choice = draw(st.sampled_from(["none", "none", "whole", "blocks"]))
            if choice == "whole":
                entries.append((Unit(layer, kind), draw(STRENGTHS)))
            elif choice == "blocks":
                entries += [(Unit(layer, kind, (a, b)), s) for a, b, s in draw(blocks())]
    return Mask(tuple(entries))


def prompts_of_ids(max_size: int = 9) -> st.SearchStrategy[tuple[int, ...]]:
    """Prompts as token ids."""
    return st.lists(st.sampled_from(ORDINARY), min_size=1, max_size=max_size).map(tuple)


@lru_cache(maxsize=4096)
def generated(model: Any, ids: tuple[int, ...], limit: int) -> list[int]:
    """New tokens of transformers' own greedy loop on this prompt alone."""
    prompt = torch.tensor([ids])
    out = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=limit,
        pad_token_id=TOKENIZER.pad_token_id,
        eos_token_id=TOKENIZER.eos_token_id,
    )
    return out[0, len(ids) :].tolist()


def sweep(cases: list[tuple[Any, ...]]) -> list[Any]:
    """A seeded fifth of the cases, and all of them for `pytest -m full`."""
    few = random.Random(0).sample(cases, len(cases) // 5)
    names = {case: "-".join(map(str, case)) for case in cases}
    every = [pytest.param(*c, id=f"full-{names[c]}", marks=pytest.mark.full) for c in cases]
    return [*(pytest.param(*c, id=names[c]) for c in few), *every]


def run_out(batch: Batch) -> None:
    """Step until no row is in flight."""
    while batch.rows:
        batch.step()
