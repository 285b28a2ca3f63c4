"""Refusal planted in some heads only: the truth table holds, and searches find those heads."""

from functools import lru_cache
from tempfile import mkdtemp

import numpy as np
import pytest
from searched import prompt_set
from test_planted import refused, replies
from zoo import third

from dapa.core.masks import parse_units
from dapa.core.records import EMPTY, Mask, Unit
from dapa.model.architectures import FAMILIES
from dapa.model.pair import Pair
from dapa.planted.pairs import Planting, harmful_prompts, harmless_prompts, plant
from dapa.planted.wiring import ModelShape
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.store.runs import Store

SHAPE = ModelShape(heads=4, kv_heads=2)
HEADS = Planting(4, (), heads=((1, 1), (3, 2)))
BOTH = Planting(4, (2,), heads=((1, 3),), kv=((3, 0),))
WHOLE_NORMS = ("olmo2", "olmo3")
"""These norm all heads' queries together, so that no head of theirs can be planted alone."""


@lru_cache
def heads_pair(planting: Planting = HEADS, model_type: str = "llama") -> Pair:
    return plant(planting, model_type, shape=SHAPE).pair()


def run(planting, **settings):
    asked = SearchSettings(max_new_tokens=12, **settings)
    job = SearchJob(heads_pair(planting), prompt_set(), asked, Store(mkdtemp()))
    return job, job.run()


@pytest.mark.parametrize("planting", [HEADS, BOTH], ids=["heads", "mixed"])
@pytest.mark.parametrize("model_type", [f for f in third(FAMILIES) if f not in WHOLE_NORMS])
def test_all_that_is_planted_is_needed_and_nothing_else(planting, model_type):
    pair = heads_pair(planting, model_type)
    first = pair.family.first
    needed = {Unit(u.layer, first) if u.kind == "gate" else u for u in planting.units}
    others = [u for kind in (first, "heads", "kv") for u in pair.units(kind) if u not in needed]
    masks = {Mask.of(needed): True, EMPTY: False, Mask.of(others): False}
    masks |= {Mask.of(needed - {unit}): False for unit in needed}
    masks |= {Mask.of([*others, *needed]): True}
    masks |= {Mask.of({*others, *needed} - {unit}): False for unit in needed}
    harmful, harmless = harmful_prompts(2), harmless_prompts(1)
    found = replies(pair, list(masks), [*harmful, *harmless])
    for mask, refuses in masks.items():
        assert [refused(found[mask, p]) for p in harmful] == [refuses] * 2, mask.key
        assert not refused(found[mask, harmless[0]]), mask.key


def test_the_size_of_a_difference_does_not_give_a_planted_head_away():
    pair = heads_pair()
    from dapa.search.priors import weight_distance

    units = [u for u in pair.units("heads") if u.layer]
    found = weight_distance(pair, units)
    size = {u: np.sqrt(sum(_apart(pair, u, s) for s in pair.sites_of(u))) for u in units}
    middle = np.median(list(size.values()))
    assert all(0.5 * middle < size[u] < 2.0 * middle for u in HEADS.units)
    assert set(found) == set(units) and all(value > 0 for value in found.values())


def _apart(pair, unit, site):
    wrapped = pair.sites[site]
    apart = (wrapped.teacher.weight - wrapped.student.weight).square()
    return sum(
        float(apart[where].sum())
        for start, stop in pair.reach(unit, site)
        for where in wrapped.places("weight", start, stop)
    )


def test_a_search_over_heads_finds_exactly_the_planted_ones():
    job, report = run(HEADS, kind="heads")
    assert job.total == 12 == len(heads_pair().units("heads"))  # layer 0 is equal
    assert set(report.units) == set(HEADS.units) and report.one_minimal
    assert job.unit_kind == "heads" and report.rates["held_out"].value == 1.0
    assert report.moves["parameters"] == 2 * 2 * 16 * heads_pair().student.config.hidden_size
    assert [str(unit) for unit in report.units] == ["1.head[1]", "3.head[2]"]


def test_the_hierarchical_search_goes_down_to_heads_shared_heads_and_neurons():
    job, report = run(BOTH, kind="gate,attention", algorithm="hierarchical", blocks=4)
    assert report.one_minimal and len(report.units) == 3
    (gate,) = [unit for unit in report.units if unit.kind == "gate"]
    assert gate.layer == 2 and gate.block is not None and gate.block[1] - gate.block[0] == 8
    assert {*report.units} - {gate} == set(BOTH.units) - {Unit(2, "gate")}
    assert {unit.kind for unit in job.units} == {"gate", "heads", "kv"}
    assert job.unit_kind == "block"


def test_a_search_at_a_rank_moves_that_rank():
    job, report = run(Planting(4, (1, 2)), rank=3)
    assert set(report.units) == {Unit(1, "gate", None, 3), Unit(2, "gate", None, 3)}
    assert report.one_minimal and 0 < report.moves["energy"] < 1
    assert report.moves["parameters"] == 2 * 3 * (32 + job.pair.student.config.hidden_size)


def test_a_planted_head_has_the_largest_gradients():
    from dapa.localize.causes.gradients import integrated_gradients
    from dapa.model.template import encode, render
    from dapa.prompts.format import PromptFormat, Turn

    pair, how = heads_pair(), PromptFormat()
    ids = [
        tuple(encode(pair, render(pair, [Turn("user", p)], how), how)) for p in harmful_prompts(3)
    ]
    found = integrated_gradients(pair, ids, pair.units("heads"))
    assert set(found.ranked[:2]) == set(HEADS.units)
    assert found.error < 0.05  # q's and o's other heads and no key or value carry anything
    assert found.block(HEADS.units[0]) == pytest.approx(found.values.max(), rel=0.5)


def test_a_blend_of_a_head_refuses_from_some_strength_on():
    pair, prompt = heads_pair(), harmful_prompts(1)
    texts = [f"1.head[1]@{at},3.head[2]" for at in (0.05, 1.0)]
    masks = [parse_units(text) for text in texts]
    found = replies(pair, masks, prompt)
    assert [refused(found[mask, prompt[0]]) for mask in masks] == [False, True]
