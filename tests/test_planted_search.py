"""A whole search on planted pairs: what was planted is what is found, on every family."""

import pytest
from support import sweep

from dapa.core.records import Prompt
from dapa.model.families import FAMILIES
from dapa.planted.pairs import harmful_prompts, plant
from dapa.planted.planting import random_planting
from dapa.prompts.sets import PromptSet
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.store.database import Store

KINDS = ("and", "or", "inhibitor", "distractors")
CASES = [(family, kind, seed) for family in FAMILIES for kind in KINDS for seed in range(8)]


@pytest.mark.parametrize(("family", "kind", "seed"), sweep(CASES))
def test_the_planted_layers_are_found(family, kind, seed, tmp_path):
    planting = random_planting(seed, kind)
    pair = plant(planting, family, seed).pair(f"{family}-{kind}-{seed}")
    texts = harmful_prompts(20, seed)
    prompts = [Prompt(t, split="search" if i < 14 else "held_out") for i, t in enumerate(texts)]
    harmful = PromptSet("planted", "harmful", tuple(prompts))
    report = SearchJob(pair, harmful, SearchSettings(max_new_tokens=20), Store(tmp_path)).run()
    found = report.layers
    assert report.one_minimal
    assert found in {planting.needed, planting.alternative} - {()}
    assert report.rates["held_out"].value == 1.0
    assert all(removal.outcome.dsr == 0.0 for removal in report.removals)
    violating = [{unit.layer for unit in v.added} for v in report.violations]
    if kind == "inhibitor":
        assert {planting.inhibitor} in violating, "found + the inhibitor alone must be reported"
        assert {planting.antidote} not in violating
    else:
        assert not violating
