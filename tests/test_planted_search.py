"""A whole search on planted pairs: what was planted is what is found, on every family."""

import pytest
from support import BASE, some, sweep
from zoo import third

from dapa.core.records import Prompt
from dapa.model.architectures import FAMILIES
from dapa.planted.pairs import harmful_prompts, plant
from dapa.planted.planting import Planting, random_planting
from dapa.prompts.sets import PromptSet
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.store.runs import Store

KINDS = ("and", "or", "inhibitor", "distractors")
OTHERS = [name for name in FAMILIES if name not in BASE]
CASES = [(family, kind, seed) for family in BASE for kind in KINDS for seed in range(8)]


@pytest.mark.parametrize(("family", "kind", "seed"), sweep(CASES))
def test_the_planted_layers_are_found(family, kind, seed, tmp_path):
    search(family, kind, seed, random_planting(seed, kind), tmp_path)


@pytest.mark.parametrize("family", some(OTHERS, third(OTHERS)[:3]))
def test_the_planted_layers_are_found_in_every_family(family, tmp_path):
    search(family, "distractors", 1, Planting(4, (1, 2), distractors=(3,)), tmp_path)


def search(family, kind, seed, planting, tmp_path):
    """Search a planted pair and hold what is found against what was planted."""
    pair = plant(planting, family, seed).pair(f"{family}-{kind}-{seed}")
    texts = harmful_prompts(20, seed)
    prompts = [Prompt(t, split="search" if i < 14 else "held_out") for i, t in enumerate(texts)]
    harmful = PromptSet("planted", "harmful", tuple(prompts))
    settings = SearchSettings(max_new_tokens=20, kind=pair.family.first)
    report = SearchJob(pair, harmful, settings, Store(tmp_path)).run()
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
