"""What several test files build: random trios, really copied weights, masks, odd tokenizers."""

import multiprocessing
import os
import random
from collections.abc import Collection
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing.forkserver import ensure_running
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM
from zoo import NEURONS, ZOO, third

from dapa.core.masks import HEADS
from dapa.core.records import OUTSIDE, Mask, Site, Unit
from dapa.model.architectures import FAMILIES, family_of
from dapa.model.decode.generation import Batch
from dapa.model.families import MATRICES, Family, submodule
from dapa.model.pair import Pair
from dapa.model.spec import PairSpec
from dapa.model.strengths import LowRank, resolve
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


def by_head(model: Any, family: Family, unit: Unit) -> list[list[torch.Tensor]]:
    """What each head of a unit's kind owns in a plain model, as views.

    Told apart as transformers' own attention does, with reshapes and nothing of ours.
    """
    queries = model.config.num_attention_heads
    out = weights_of(model, family, Site(unit.layer, "o"))["weight"].unflatten(1, (queries, -1))
    size = out.shape[-1]
    heads: list[list[torch.Tensor]] = [[] for _ in range(queries)]
    kv: list[list[torch.Tensor]] = []

    def give(to: list[list[torch.Tensor]], rows: Any) -> None:
        to.extend([] for _ in range(len(rows) - len(to)))
        for own, part in zip(to, rows, strict=True):
            own.append(part)

    if "q" in family.single:
        for kind, to in (("q", heads), ("k", kv), ("v", kv)):
            for whole in weights_of(model, family, Site(unit.layer, kind)).values():
                give(to, whole.unflatten(0, (-1, size)))
    else:
        for fused in weights_of(model, family, Site(unit.layer, "qkv")).values():
            keys = (len(fused) // size - queries) // 2
            if family.model_type in ("phi3", "gpt2"):
                q, k, v = fused.split([queries * size, keys * size, keys * size])
                for to, one in ((heads, q), (kv, k), (kv, v)):
                    give(to, one.unflatten(0, (-1, size)))
            else:
                groups = fused.unflatten(0, (keys, queries // keys + 2, size))
                give(heads, [head for group in groups[:, :-2] for head in group])
                give(kv, groups[:, -2])
                give(kv, groups[:, -1])
    if unit.kind == "kv":
        return kv
    give(heads, out.transpose(0, 1))
    return heads


def materialise(student_copy: Any, teacher: Any, mask: Mask, family: Family) -> Any:
    """Copy or blend the mask's weights into a plain copy of the student; returns the copy."""
    heads = [(unit, value) for unit, value in mask.entries if unit.kind in HEADS]
    for unit, value in heads:
        part = slice(*(unit.block or (None,)))
        ours, theirs = (by_head(m, family, unit)[part] for m in (student_copy, teacher))
        for head, other in zip(ours, theirs, strict=True):
            for mine, new in zip(head, other, strict=True):
                mine.copy_(new if value == 1.0 else mine + value * (new - mine))
        out = Site(unit.layer, "o")
        if unit.kind == "heads" and unit.block is None:  # o is moved whole, its bias too
            for m, n in zip(
                *(weights_of(w, family, out).items() for w in (student_copy, teacher)), strict=True
            ):
                if m[0] == "bias":
                    m[1].copy_(n[1] if value == 1.0 else m[1] + value * (n[1] - m[1]))
    others = Mask(tuple(entry for entry in mask.entries if entry not in heads))
    for site, strength in resolve(others).items():
        if site.module not in family.single:
            continue
        ours, theirs = (weights_of(m, family, site) for m in (student_copy, teacher))
        if isinstance(strength, LowRank):
            apart = (theirs["weight"] - ours["weight"]).double().numpy()
            u, s, v = np.linalg.svd(apart, full_matrices=False)
            k = strength.rank
            near = torch.from_numpy((u[:, :k] * s[:k]) @ v[:k]).float()
            ours["weight"].add_(strength.share * near)
            if "bias" in ours:
                ours["bias"].add_(strength.share * (theirs["bias"] - ours["bias"]))
            continue
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


RANKS = st.integers(1, 20)
HEADS_OF = {"heads": 4, "kv": 2}
"""How many the random models have; families without groups have as many of both."""


@st.composite
def heads_and_ranks(draw: Any, family: Family, layer: int) -> list[tuple[Unit, float]]:
    """Some heads, whole or blended, or attention's matrices at a rank, or neither."""
    choice = draw(st.sampled_from(["none", "none", "heads", "rank"]))
    if choice == "rank":
        some = [kind for kind in family.parts("attention") if kind in MATRICES]
        return [(Unit(layer, kind, None, draw(st.integers(1, 12))), draw(STRENGTHS))
                for kind in some if draw(st.booleans())]  # fmt: skip
    found = []
    for kind in HEADS if choice == "heads" else ():
        count = 1 if kind == "kv" and family.model_type == "falcon" else HEADS_OF[kind]
        if draw(st.integers(0, 3)) == 0:
            found.append((Unit(layer, kind), draw(STRENGTHS)))
            continue
        some = draw(st.sets(st.integers(0, count - 1)))
        found += [(Unit(layer, kind, (head, head + 1)), draw(STRENGTHS)) for head in some]
    return found


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
            fine = draw(heads_and_ranks(family, layer)) if whole == "attention" else []
            if fine:
                entries += fine
                entries += [(Unit(layer, one), draw(STRENGTHS)) for one in parts if "norm" in one]
            elif parts and draw(st.integers(0, 3)) == 0:
                entries.append((Unit(layer, whole), draw(STRENGTHS)))
            else:
                some = [kind for kind in parts if draw(st.integers(0, 3)) == 0]
                entries += [(Unit(layer, kind), draw(STRENGTHS)) for kind in some]
        if draw(st.integers(0, 3)) == 0:
            entries.append((Unit(layer, "mlp"), draw(STRENGTHS)))
            continue
        for kind in family.parts("mlp"):
            choice = draw(st.sampled_from(["none", "none", "whole", "blocks", "rank"]))
            if choice == "rank":
                entries.append((Unit(layer, kind, None, draw(RANKS)), draw(STRENGTHS)))
            elif choice == "whole":
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


@lru_cache
def forkserver() -> Any:
    """Processes forked from a server that has imported torch, and what is killed, once.

    Python 3.11 starts that server without the path of its parent, and is silent where it then
    finds no module: every process would import torch by itself.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed", "evaluated"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.path.dirname(__file__), prepend=os.pathsep)
        ensure_running()
    return context
