"""Confidence searches on planted models whose refusal is a sum of votes end with the right form."""

import pytest

from dapa.core.records import Mask, Prompt, Unit
from dapa.planted.graded import mixed_planting, share_refused, spread_planting
from dapa.planted.pairs import harmful_prompts, plant
from dapa.planted.wiring import ModelShape
from dapa.prompts.format import PromptFormat
from dapa.prompts.sets import PromptSet
from dapa.search.engine.inquiry import Inquiry
from dapa.search.engine.oracle import oracle
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.store.runs import Store

PROMPTS = 270
SEEDS = [pytest.param(seed, marks=[pytest.mark.full] if seed else []) for seed in range(10)]


def certified(planting, folder):
    """The record of a search of the planted pair, and its prompts."""
    texts = harmful_prompts(PROMPTS)
    prompts = PromptSet(
        "planted", "harmful", tuple(Prompt(t, f"kind {i % 6}") for i, t in enumerate(texts))
    )
    pair = plant(planting, seed=planting.seed).pair(f"votes-{planting.seed}")
    settings = SearchSettings(max_new_tokens=8, claim="confidence", full_length=False)
    return SearchJob(pair, prompts, settings, Store(folder)).run().confidence, texts


def loss(planting, units, texts):
    """What a set loses against all units, by construction."""
    whole = share_refused(planting, range(planting.layers), texts)
    return whole - share_refused(planting, [unit.layer for unit in units], texts)


@pytest.mark.parametrize("seed", SEEDS)
def test_refusal_that_every_layer_votes_for_is_called_spread(seed, tmp_path):
    planting = spread_planting(seed)
    record, texts = certified(planting, tmp_path)
    assert record.form == "spread" and len(record.floors) == 2 and 2 * record.floor >= 12
    assert loss(planting, record.units, texts) <= record.margin + 0.03
    for order in record.floors:
        lost = [link.units for link in order.tried if link.size <= record.floor]
        assert all(loss(planting, units, texts) > record.margin - 0.03 for units in lost)
    assert set(planting.facts["gate"]) >= {unit.layer for unit in record.firm}


@pytest.mark.parametrize("seed", SEEDS)
def test_few_strong_and_some_weak_layers_are_called_graded(seed, tmp_path):
    planting = mixed_planting(seed)
    record, texts = certified(planting, tmp_path)
    strong = {layer for layer, weight in planting.votes if weight == 0.25}
    assert record.form == "graded" and 0 < record.floor < len(record.units)
    assert strong <= {unit.layer for unit in record.firm} <= set(dict(planting.votes))
    assert loss(planting, record.units, texts) <= record.margin + 0.03


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_the_votes_of_a_planting_foretell_what_its_models_refuse(tmp_path, kv_heads):
    """Norms take a hundredth of each vote, so that prompts at the very edge may differ."""
    planting = mixed_planting(3)
    texts = harmful_prompts(60)
    prompts = [Prompt(text) for text in texts]
    pair = plant(planting, shape=ModelShape(kv_heads=kv_heads)).pair(f"foretold {kv_heads}")
    inquiry = Inquiry(oracle(pair, prompts, PromptFormat(), 8, Store(tmp_path)), "opening")
    voters = planting.facts["gate"]
    sets = [tuple(voters[:count]) for count in (7, 5, 2, 0)]
    masks = [Mask.of(Unit(layer) for layer in layers) for layers in sets]
    inquiry.judge(masks)
    for layers, mask in zip(sets, masks, strict=True):
        foretold = share_refused(planting, layers, texts)
        assert inquiry.rate(mask).value == pytest.approx(foretold, abs=0.08)
