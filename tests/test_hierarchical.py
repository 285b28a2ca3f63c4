"""Coarse to fine: a branch falls whole, the end is 1-minimal in the finest units."""

from random import Random
from tempfile import TemporaryDirectory

import pytest
from searched import AND, prompt_set, searched

from dapa.core.records import Mask, SettingError, Unit
from dapa.model.blocks import finest
from dapa.prompts.sets import bundled
from dapa.search.algorithms.ddmin import ddmin_complement
from dapa.search.algorithms.hierarchical import hierarchical
from dapa.search.algorithms.questions import First, Score, Settle
from dapa.search.engine.driver import Driver
from dapa.search.engine.predicate import play
from dapa.search.job import SearchJob
from dapa.search.settings import SearchRules, SearchSettings
from dapa.store.runs import Store


def tree(layers=16, blocks=4):
    gates = [
        Unit(layer, "gate", (8 * b, 8 * b + 8)) for layer in range(layers) for b in range(blocks)
    ]
    return tuple(sorted([*gates, *(Unit(n, k) for n in range(layers) for k in ("up", "down"))],
                        key=lambda u: (u.layer, u.kind, u.block or ())))  # fmt: skip


def test_it_finds_the_blocks_that_are_needed():
    needed = {Unit(3, "gate", (8, 16)), Unit(9, "gate", (0, 8)), Unit(9, "down")}
    for within in (None, ddmin_complement):
        result, _ = play(hierarchical(within), tree(), lambda kept: needed <= kept)
        assert set(result.units) == needed and result.one_minimal


def test_where_few_layers_hold_all_that_is_needed_it_costs_less_than_the_blocks_at_once():
    units = tree(32, 8)
    ways = {"flat": ddmin_complement, "ddmin": hierarchical(ddmin_complement), "": hierarchical()}
    tests = dict.fromkeys(ways, 0)
    for seed in range(10):
        layers = Random(seed).sample(range(32), 4)
        needed = frozenset(u for u in units if u.layer in layers and u.kind == "gate")
        for name, way in ways.items():
            tests[name] += play(way, units, lambda kept, needed=needed: needed <= kept)[1]
    assert tests[""] < 0.75 * tests["ddmin"] < 0.75 * tests["flat"]


@pytest.mark.parametrize("seed", range(20))
def test_any_oracle_ends_1_minimal_in_the_finest_units(seed):
    units = tree(4, 2)

    def satisfies(kept):
        if not kept or len(kept) == len(units):
            return bool(kept)
        return Random(f"{seed}/{sorted(map(str, kept))}").random() < 0.4

    result, _ = play(hierarchical(), units, satisfies)
    found = set(result.units)
    assert result.one_minimal and satisfies(frozenset(found))
    assert not any(satisfies(frozenset(found - {unit})) for unit in found)


def test_coarse_levels_claim_nothing_and_ask_curtailed():
    steps, kinds, answer = hierarchical()(tree(4, 2)), [], None
    needed = {Unit(2, "gate", (0, 8))}
    with pytest.raises(StopIteration):
        while True:
            question = steps.send(answer)
            kinds.append(type(question))
            yes = [needed <= set(mask) for mask in question.masks]
            if isinstance(question, First):
                answer = yes.index(True) if True in yes else None
            else:
                from dapa.core.records import Outcome

                answer = tuple(
                    Outcome(m, 1, 1, int(y), satisfied=y)
                    for m, y in zip(question.masks, yes, strict=True)
                )
    assert Settle in kinds and kinds.count(Score) == 1 and kinds[-1] is Score


def test_one_unit_a_layer_is_the_inner_search_itself():
    units = tuple(Unit(layer) for layer in range(12))
    for needed in ({1, 7}, {4}, {0, 5, 11}):
        wanted = frozenset(Unit(layer) for layer in needed)
        ours = play(
            hierarchical(ddmin_complement), units, lambda kept, wanted=wanted: wanted <= kept
        )
        assert ours == play(ddmin_complement, units, lambda kept, wanted=wanted: wanted <= kept)


def test_a_planted_pair_down_to_blocks_of_neurons():
    job = searched()
    pair = job.pair
    units = finest(pair, blocks=4)
    assert len(units) == 24 and all(unit.kind == "gate" for unit in units)
    settings = SearchRules(supersets=1)
    report = Driver(hierarchical(), units, job.split, settings=settings).run()
    assert report.one_minimal and report.layers == AND.needed and len(report.units) == 2
    assert pair.share(report.mask).fraction < pair.share(Mask.of(AND.units)).fraction / 3


def test_the_finest_units_of_a_pair():
    pair = searched().pair
    assert finest(pair, ["gate"], blocks=1) == pair.units("gate")
    parts = finest(pair, blocks=5)[:5]
    assert [u.block for u in parts] == [(0, 6), (6, 12), (12, 19), (19, 25), (25, 32)]
    for bad in ({"blocks": 0}, {"kinds": ["mlp"]}, {"kinds": ["nose"]}):
        with pytest.raises(SettingError):
            finest(pair, **bad)


def run(pair, prompts, **settings):
    with TemporaryDirectory() as folder:
        job = SearchJob(pair, prompts, SearchSettings(**settings), Store(folder))
        return job, job.run()


def test_a_job_goes_down_to_the_block_of_the_planted_neuron():
    pair = searched().pair
    job, report = run(
        pair, prompt_set(), algorithm="hierarchical", kind="mlp", blocks=4, max_new_tokens=12
    )
    assert job.unit_kind == "block" and job.total == len(job.units)
    assert report.one_minimal and report.layers == AND.needed
    assert {unit.kind for unit in report.units} == {"gate"}
    assert all(unit.block for unit in report.units) and len(report.units) == 2
    assert report.rates["held_out"].value == 1.0
    assert pair.share(report.mask).fraction < pair.share(searched().report.mask).fraction


def test_blocks_serve_every_algorithm_and_whole_units_are_the_default():
    job, report = run(
        searched().pair, prompt_set(), algorithm="bisect", blocks=2, max_new_tokens=12
    )
    assert report.one_minimal and report.layers == AND.needed
    assert all(unit.block in ((0, 16), (16, 32)) for unit in report.units)
    assert searched().unit_kind == "gate"


def test_it_runs_on_the_toy(toy_pair):
    prompts = bundled()["toy_harmful"]
    job, report = run(
        toy_pair, prompts, algorithm="hierarchical", blocks=2, prompt_limit=8, max_new_tokens=16
    )
    assert report.one_minimal and job.total == 2 * len(toy_pair.units("gate"))
    assert 0 < len(report.units) < job.total and any(unit.block for unit in report.units)
