"""A search with a limit on KL: cheap sets are preferred, and none is claimed that is not there."""

import tempfile
from random import Random

import pytest
from searched import prompt_set, searched

from dapa.core.records import Mask, SettingError, Unit
from dapa.measure.methods import MethodTable
from dapa.measure.utility import Utility
from dapa.planted.pairs import Planting, harmless_prompts, plant
from dapa.search.algorithms import algorithms
from dapa.search.algorithms.limited import within
from dapa.search.engine.contract import Notebook, Workload
from dapa.search.engine.driver import Driver
from dapa.search.engine.predicate import PredicateRunner, play
from dapa.search.job import SearchJob
from dapa.search.settings import SearchRules, SearchSettings
from dapa.store.runs import Store

UNITS = tuple(Unit(layer) for layer in range(12))
DEAR, CHEAP = {Unit(2), Unit(3)}, {Unit(7), Unit(8), Unit(9)}
COSTS = {unit: 5.0 if unit in DEAR else 0.1 for unit in UNITS}


def either(kept):
    return kept >= DEAR or kept >= CHEAP


def kl(mask):
    return sum(COSTS[unit] for unit in mask)


@pytest.mark.parametrize("name", ["ddmin-complement", "bisect", "probdd"])
def test_a_dear_set_is_set_aside_for_a_cheap_one(name):
    result, tests = play(within(algorithms[name](), kl, 1.0), UNITS, either)
    assert set(result.units) == CHEAP and result.one_minimal and result.reason == "done"
    free, fewer = play(within(algorithms[name](), kl, 100.0), UNITS, either)
    assert free.one_minimal and fewer <= tests


def test_where_no_set_keeps_the_limit_the_cheapest_is_told_with_its_cost():
    result, _ = play(within(algorithms["bisect"](), kl, 0.01), UNITS, either)
    assert set(result.units) == CHEAP and result.one_minimal
    assert "KL 0.3 is above the limit 0.01 in all" in result.reason


@pytest.mark.parametrize("seed", range(10))
def test_what_it_finds_satisfies_and_is_1_minimal_whatever_the_oracle(seed):
    def erratic(kept):
        if not kept or len(kept) == len(UNITS):
            return bool(kept)
        return Random(f"{seed}/{sorted(kept)}").random() < 0.5

    result, _ = play(within(algorithms["ddmin-complement"](), kl, 1.0), UNITS, erratic)
    found = frozenset(result.units)
    assert erratic(found) and not any(erratic(found - {unit}) for unit in found)
    assert kl(found) <= 1.0 or "above the limit" in result.reason


def test_the_report_tells_limit_and_cost():
    split = Workload(20, PredicateRunner(lambda m, p, mode: either(frozenset(m))), Notebook())
    rules = SearchRules(max_kl=1.0)
    report = Driver(algorithms["bisect"](), UNITS, split, settings=rules, kl=kl).run()
    assert set(report.units) == CHEAP
    assert report.as_dict()["kl"] == pytest.approx({"limit": 1.0, "best": 0.3, "full": 11.0})
    assert Driver(algorithms["bisect"](), UNITS, split, kl=kl).run().kl is None


def test_a_limit_without_a_measure_is_refused():
    split = Workload(20, PredicateRunner(lambda m, p, mode: True), Notebook())
    with pytest.raises(SettingError, match="harmless"):
        Driver(algorithms["bisect"](), UNITS, split, settings=SearchRules(max_kl=1.0))
    with pytest.raises(SettingError, match="max kl"):
        SearchRules(max_kl=0.0)


def test_a_search_of_a_planted_pair_keeps_the_limit():
    pair = plant(Planting(6, (1, 4))).pair()
    measure = Utility(pair, harmless_prompts(6))
    whole = measure(Mask.of([Unit(1), Unit(4)]))

    def run(limit):
        chosen = SearchSettings(max_new_tokens=12, max_kl=limit)
        return SearchJob(pair, prompt_set(), chosen, Store(tempfile.mkdtemp()), kl=measure).run()

    kept = run(whole * 2 + 1e-6)
    assert kept.layers == (1, 4) and kept.kl["best"] == pytest.approx(whole)
    missed = run(whole / 2) if whole > 1e-9 else None
    assert missed is None or "above the limit" in missed.stop_reason


def test_the_facade_measures_on_prompts_that_the_result_is_not_told_by():
    from dapa.workbench import Workbench

    bench = Workbench(tempfile.mkdtemp(), searched().pair)
    sets = {"harmless": "toy_twins", "harmful": "toy_harmful"}
    bench.sets = lambda: sets
    measure = bench._kl(SearchSettings(max_kl=0.5))
    told = {p.text for p in bench.prompts(None, "harmless").prompts if p.split == "held_out"}
    assert measure.texts and not told & set(measure.texts)
    assert bench._kl(SearchSettings()) is None


def test_repetitions_of_a_limited_search_keep_its_limit():
    from dapa.workbench import Workbench

    pair = searched().pair
    bench = Workbench(tempfile.mkdtemp(), pair)
    bench.sets = lambda: {"harmless": "toy_twins", "harmful": "toy_harmful"}
    chosen = SearchSettings(max_new_tokens=12, max_kl=100.0)
    job = SearchJob(pair, prompt_set(), chosen, bench.store, kl=bench._kl(chosen))
    found = job.run()
    told = bench.stability(job, orders=2, bootstraps=0, retains=())
    assert found.kl["limit"] == 100.0 and told.sets() == {found.units: 2}
    methods = {method.name: method for method in MethodTable(job, (), {}, 1, None).methods()}
    assert methods["found"].choose().note == "held to a KL of 100; the other rows are not"
