"""Planted pairs refuse exactly where their truth table says, in every family."""

import itertools
import random

import pytest
import torch
from support import BASE, planted_models, some, sweep
from zoo import third

from dapa.core.records import EMPTY, Mask, Unit
from dapa.model.architectures import FAMILIES
from dapa.model.decode.generation import Row, complete
from dapa.model.decode.sampling import Decoding
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec
from dapa.model.template import encode, render
from dapa.planted.anatomy import parallel
from dapa.planted.pairs import (
    Planting,
    harmful_prompts,
    harmless_prompts,
    plant,
)
from dapa.planted.planting import random_planting
from dapa.planted.vocabulary import COMPLIANCE, REFUSALS
from dapa.prompts.format import PromptFormat, Turn

KINDS = ("and", "or", "inhibitor", "distractors")
CASES = list(itertools.product(BASE, KINDS, range(8)))
OTHERS = [name for name in FAMILIES if name not in BASE]
HOW = PromptFormat()


def gates(layers):
    return Mask.of(Unit(layer) for layer in layers)


def gates_of(pair, layers):
    """Those layers' gates, or what this family has in their place."""
    return Mask.of(Unit(layer, pair.family.first) for layer in layers)


def replies(pair, masks, prompts, tokens=5):
    """{(mask, prompt): text} of all combinations, decoded in one batch."""
    ids = {
        prompt: encode(pair, render(pair, [Turn("user", prompt)], HOW), HOW) for prompt in prompts
    }
    rows = [Row(ids[p], m, tag=(m, p)) for m in masks for p in prompts]
    return {row.tag: row.text for row in complete(pair, rows, Decoding(tokens))}


def refused(text):
    """Which of the two it is; anything else is a fault of the planting."""
    words = " ".join(text.split())
    chains = [(False, COMPLIANCE), *((True, refusal) for refusal in REFUSALS)]
    (answer,) = {refuses for refuses, chain in chains if " ".join(chain.split()).startswith(words)}
    assert words, "an empty reply is neither"
    return answer


def subsets(planting, seed, most=48):
    """Sets of layers: every subset of those with a role (or a sample), with random others."""
    roles = sorted({*planting.roles, *planting.distractors})
    every = [set(s) for n in range(len(roles) + 1) for s in itertools.combinations(roles, n)]
    draw = random.Random(seed)
    chosen = every if len(every) <= most else draw.sample(every, most)
    others = [layer for layer in range(planting.layers) if layer not in roles]
    noisy = [s | {o for o in others if draw.random() < 0.5} for s in chosen]
    return [*chosen, *noisy, set(), set(range(planting.layers)), set(others)]


@pytest.mark.parametrize(("model_type", "kind", "seed"), sweep(CASES))
def test_refusal_appears_exactly_where_the_truth_table_says(model_type, kind, seed):
    planting = random_planting(seed, kind)
    pair = plant(planting, model_type, seed).pair()
    harmful, harmless = harmful_prompts(2, seed), harmless_prompts(1, seed)
    tried = {frozenset(layers) for layers in subsets(planting, seed)}
    found = replies(pair, [gates(layers) for layers in tried], [*harmful, *harmless])
    for layers in tried:
        for prompt in harmful:
            assert refused(found[gates(layers), prompt]) == planting.refuses(layers), (
                f"{sorted(layers)} of {planting} on {prompt!r}"
            )
        for prompt in harmless:
            assert not refused(found[gates(layers), prompt])


@pytest.mark.parametrize("model_type", some(OTHERS, third(OTHERS)))
def test_every_family_can_be_planted(model_type):
    family, seeds = FAMILIES[model_type], iter(range(100))
    for kind in KINDS:
        for seed in seeds:
            planting = random_planting(seed, kind)
            if not (parallel(family) and planting.roles & {0}):
                break
        pair = plant(planting, model_type, seed).pair()
        tried = {frozenset(layers) for layers in subsets(planting, seed, 8)}
        harmful, harmless = harmful_prompts(1, seed), harmless_prompts(1, seed)
        masks = {layers: gates_of(pair, layers) for layers in tried}
        found = replies(pair, list(masks.values()), [*harmful, *harmless])
        for layers, mask in masks.items():
            assert refused(found[mask, harmful[0]]) == planting.refuses(layers), (planting, layers)
            assert not refused(found[mask, harmless[0]])


def test_a_family_whose_first_layer_sees_no_flag_is_not_planted_there():
    with pytest.raises(AssertionError, match="layer 0 sees no harm flag"):
        plant(Planting(3, (0,)), "phi")


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_table_itself(kind):
    for seed in range(8):
        planting = random_planting(seed, kind)
        needed, everything = set(planting.needed), set(range(planting.layers))
        assert planting.refuses(needed) and planting.refuses(everything)
        assert not planting.refuses(set())
        for layer in needed:
            assert not planting.refuses(needed - {layer})
        if kind == "or":
            assert planting.refuses(set(planting.alternative))
            assert not needed & set(planting.alternative)
        if kind == "inhibitor":
            assert not planting.refuses(needed | {planting.inhibitor})
            assert planting.refuses(needed | {planting.inhibitor, planting.antidote})


def test_whole_replies_are_the_vocabularys_sentences(planted):
    models, pair = planted
    (prompt,) = harmful_prompts(1)
    masks = [EMPTY, Mask.of(models.planting.units)]
    comply, refuse = replies(pair, masks, [prompt], tokens=80).values()
    assert comply.split() == COMPLIANCE.split()
    assert refuse == REFUSALS[0]


def test_the_teacher_refuses_harm_and_helps_otherwise(planted):
    _, pair = planted
    for prompts, expected in ((harmful_prompts(6), True), (harmless_prompts(6), False)):
        for prompt in prompts:
            ids = encode(pair, render(pair, [Turn("user", prompt)], HOW), HOW, "teacher")
            (row,) = complete(pair, [Row(ids)], Decoding(5), "teacher")
            assert refused(row.text) == expected


def test_every_prompt_that_can_be_made_is_answered_as_planted(planted_pair):
    """Each harmful and harmless word, opener, verb and tail, under nothing and under all."""
    masks = [EMPTY, gates(range(4))]
    harmful, harmless = harmful_prompts(96, 1), harmless_prompts(96, 1)
    found = replies(planted_pair, masks, [*harmful, *harmless], tokens=3)
    for mask in masks:
        assert {refused(found[mask, p]) for p in harmful} == {mask is not EMPTY}
        assert {refused(found[mask, p]) for p in harmless} == {False}


def test_prompts_are_distinct_and_twins_differ_in_one_word():
    harmful, harmless = harmful_prompts(100, 3), harmless_prompts(100, 3)
    assert len(set(harmful)) == 100
    for a, b in zip(harmful, harmless, strict=True):
        assert sum(x != y for x, y in zip(a.split(), b.split(), strict=True)) == 1


def test_differences_are_equally_large_but_for_distractors(model_type):
    models = planted_models(model_type, Planting(6, (1, 4), (2,), distractors=(3,)))
    pair = models.pair()
    sizes = [
        float((site.teacher.weight - site.student.weight).norm())
        for where, site in pair.sites.items()
        if where.module == "gate"
    ]
    usual = torch.tensor([size for layer, size in enumerate(sizes) if layer != 3])
    assert usual.std() < 1e-3 * usual.mean()
    assert sizes[3] == pytest.approx(5 * float(usual.mean()), rel=1e-3)
    moved = {kind: layers for kind, layers in pair.differs.items() if layers}
    assert moved == dict.fromkeys(("gate", "mlp", "layer"), list(range(6)))


def test_a_planting_is_the_same_for_one_seed_and_has_a_digest_of_its_own():
    one, again = plant(Planting(3, (1,))).pair(), plant(Planting(3, (1,))).pair()
    assert one.digest == again.digest
    others = [
        plant(Planting(3, (2,))).pair(),
        plant(Planting(3, (1,)), seed=1).pair(),
        plant(Planting(3, (1,)), "qwen2").pair(),
    ]
    assert len({one.digest, *(pair.digest for pair in others)}) == 4
    flipped = plant(Planting(3, (1,)))
    flipped.teacher.model.layers[0].mlp.gate_proj.weight.neg_()  # the same absolute sum
    assert flipped.pair().digest != one.digest


@pytest.mark.parametrize(
    "roles",
    [
        {"needed": (1,), "alternative": (1,)},
        {"needed": (5,)},
        {"needed": (0,), "inhibitor": 2},
        {"needed": (0,), "inhibitor": 3, "antidote": 2},
    ],
)
def test_an_impossible_planting_is_refused(roles):
    with pytest.raises(AssertionError):
        Planting(5, **roles)


def test_a_saved_planting_keeps_its_truth_when_loaded(model_type, tmp_path):
    models = planted_models(model_type)
    student, teacher = models.save(tmp_path)
    pair = load_pair(PairSpec(str(student), str(teacher), dtype="float32", device="cpu"))
    prompts = harmful_prompts(2)
    for layers in ((), (1,), (2,), (1, 2), (0, 1, 2, 3), (0, 3)):
        for text in replies(pair, [gates(layers)], prompts).values():
            assert refused(text) == models.planting.refuses(set(layers))


def test_a_half_strength_transplant_lies_between(planted_pair):
    (prompt,) = harmful_prompts(1)
    few = [Mask.of((Unit(1), Unit(2)), strength) for strength in (0.02, 0.98)]
    weak, strong = replies(planted_pair, few, [prompt]).values()
    assert (refused(weak), refused(strong)) == (False, True)
