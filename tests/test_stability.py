"""Stability over plain predicates: what all orders agree on, and what only some find."""

import json
from random import Random
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from searched import OR, searched

from dapa.core.records import SettingError, Unit
from dapa.core.statistics import wilson
from dapa.search.engine.contract import Notebook, Workload
from dapa.search.engine.predicate import PredicateRunner
from dapa.search.engine.resample import resampled
from dapa.search.settings import SearchRules
from dapa.search.stability import RETAINS, Stability, stability

UNITS = tuple(Unit(layer) for layer in range(8))
PROMPTS = 30


def split_of(says, rows=16, memory=None):
    runner = PredicateRunner(lambda mask, prompt, mode: says(set(mask.layers), prompt), rows=rows)
    return Workload(PROMPTS, runner, memory or Notebook()), runner


def both(layers, prompt):
    return {1, 5} <= layers


def either(layers, prompt):
    return {1, 5} <= layers or {3} <= layers


@pytest.mark.parametrize("algorithm", ["ddmin", "ddmin-complement", "bisect", "hierarchical"])
def test_an_and_pair_gives_one_set_in_every_order(algorithm):
    split, _ = split_of(both)
    told = stability(split, UNITS, algorithm)
    assert told.complete and len(told.ended("order")) == len(told.ended("bootstrap")) == 10
    assert told.sets() == {(Unit(1), Unit(5)): 20} and told.jaccard() == 1.0
    for kind in ("order", "bootstrap"):
        for unit, rate in told.inclusion(kind).items():
            assert rate.value == float(unit.layer in (1, 5)) and rate.n == 10
    assert len(told.ended("retain")) == len(RETAINS) and not told.alternatives


def test_an_or_pair_gives_both_sets():
    split, _ = split_of(either)
    told = stability(split, UNITS, "ddmin-complement", orders=16, bootstraps=0)
    assert set(told.sets()) == {(Unit(1), Unit(5)), (Unit(3),)}
    assert 0.0 < told.jaccard() < 1.0
    share = told.inclusion()
    assert share[Unit(1)].value == share[Unit(5)].value == pytest.approx(1 - share[Unit(3)].value)
    assert 0.0 < share[Unit(3)].value < 1.0
    body = json.loads(json.dumps(told.as_dict(), allow_nan=False))
    assert sum(line["count"] for line in body["sets"]) == 16


def test_a_second_way_shows_where_every_order_leans_to_one():
    split, _ = split_of(either)
    told = stability(split, UNITS, "greedy-forward", orders=4, bootstraps=0, retains=())
    assert told.sets() == {(Unit(3),): 4} and told.complete
    assert told.alternatives == ((Unit(1), Unit(5)),)
    last = told.repetitions[-1]
    assert last.kind == "rest" and "nothing to localize" in last.reason
    assert told.inclusion()[Unit(1)].value == 0.0, "the rest is no repetition of the search"


def test_the_sweep_asks_for_more_units_as_the_target_rises():
    def graded(layers, prompt):  # layer 2 serves three quarters of the prompts, layer 6 the rest
        return 2 in layers and (prompt % 4 > 0 or 6 in layers)

    told = stability(split_of(graded)[0], UNITS, "bisect", orders=1, bootstraps=0)
    sizes = [len(r.units) for r in told.repetitions if r.kind == "retain"]
    assert sizes[0] == 1 and sizes[-1] == 2 and sizes == sorted(sizes)
    assert len(told.ended("retain")) == len(RETAINS)


def test_no_verdict_is_paid_for_twice():
    split, runner = split_of(either, rows=8)
    stability(split, UNITS, "ddmin", orders=6, bootstraps=6)
    jobs = [job for mode, job in runner.finished]
    assert len(jobs) == len(set(jobs))
    again = stability(split, UNITS, "ddmin", orders=6, bootstraps=6)
    assert again.tokens == 0 and len(runner.finished) == len(jobs)


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_a_resample_answers_as_if_its_prompts_were_their_own(seed, rows):
    random = Random(seed)
    wants = [set(random.sample(range(8), random.randint(1, 2))) for _ in range(PROMPTS)]
    drawn = random.choices(range(PROMPTS), k=PROMPTS)

    def says(layers, prompt):
        return wants[prompt] <= layers

    from dapa.search.algorithms.questions import algorithms
    from dapa.search.engine.driver import Driver

    folded = resampled(split_of(says, rows)[0], drawn)
    alone, _ = split_of(lambda layers, prompt: says(layers, drawn[prompt]), 1)
    results = [
        Driver(algorithms["ddmin"](seed=0), UNITS, split, settings=SearchRules()).run()
        for split in (folded, alone)
    ]
    ours, theirs = results
    assert (ours.units, ours.need, ours.costs.tests) == (
        theirs.units,
        theirs.need,
        theirs.costs.tests,
    )
    assert ours.rates == theirs.rates and ours.rechecks == theirs.rechecks


def test_a_resample_with_nothing_to_find_is_told_not_counted():
    split, _ = split_of(lambda layers, prompt: prompt < 6 and 2 in layers)
    told = stability(split, UNITS, "bisect", orders=0, bootstraps=20, retains=())
    empty = [r for r in told.repetitions if not r.one_minimal]
    assert empty and all("nothing to localize" in r.reason for r in empty)
    assert all(rate.n == 20 - len(empty) for rate in told.inclusion().values())


def test_an_absolute_target_has_no_sweep():
    told = stability(
        split_of(both)[0], UNITS, "bisect", SearchRules(target=0.5), orders=1, bootstraps=0
    )
    assert [r.kind for r in told.repetitions] == ["order", "rest"]


def test_stopping_keeps_the_repetitions_that_ended():
    stop, seen = Event(), []

    def progress(what, share):
        seen.append(what)
        if len(seen) == 4:
            stop.set()

    told = stability(split_of(both)[0], UNITS, "bisect", progress=progress, stop=stop)
    assert isinstance(told, Stability) and not told.complete and len(told.repetitions) == 3


def test_nothing_to_repeat_is_an_error():
    with pytest.raises(SettingError, match="choose 1 or more"):
        stability(split_of(both)[0], UNITS, "bisect", orders=0, bootstraps=0, retains=())


def test_a_planted_or_pair_shows_two_sets_over_the_search_s_own_memory():
    job = searched(OR)
    told = stability(job.split, job.units, "bisect", orders=12, bootstraps=1, retains=())
    assert set(told.sets("order")) == {(Unit(1), Unit(3)), (Unit(2),)}
    assert told.inclusion("order")[Unit(0)].value == 0.0


@pytest.mark.parametrize("algorithm", ["weighted", "top-k"])
def test_orders_that_a_prior_sorts_away_are_said_and_not_counted(algorithm):
    """The misleading null: ten runs of one search stood as 100 % [72 %, 100 %] of ten orders."""
    prior = {unit: -unit.layer for unit in UNITS}
    told = stability(
        split_of(either)[0], UNITS, algorithm, prior=prior, orders=10, bootstraps=6, retains=()
    )
    assert told.sorted_away == 10 and not told.ended("order")
    assert told.inclusion("order")[Unit(1)].n == 0 and told.counted == "bootstrap"
    assert told.as_dict()["sorted_away"] == 10 and told.as_dict()["apart"]["order"]["n"] == 0
    assert all(r.tests == 0 for r in told.repetitions if r.kind == "order")


def test_what_was_counted_of_ten_weighted_orders_is_ten_times_one_search():
    """By running them: every order gives the same set after the same tests."""
    from dapa.search.algorithms.questions import algorithms
    from dapa.search.engine.driver import Driver

    prior, runs = {unit: -unit.layer for unit in UNITS}, []
    for seed in range(10):
        row = tuple(Random(seed).sample(UNITS, len(UNITS)))
        made = algorithms["weighted"](seed=seed, prior=prior)
        found = Driver(made, row, split_of(either)[0], settings=SearchRules()).run()
        runs.append((found.units, found.costs.tests, found.one_minimal))
    assert len(set(runs)) == 1 and runs[0][2]
    rate = wilson(10, 10)
    assert (rate.value, round(rate.low, 2)) == (1.0, 0.72), "what stood there of one search"


def test_orders_that_a_prior_leaves_open_are_counted_once_each():
    prior = {unit: float(unit.layer < 2) for unit in UNITS}  # ties: their order is the row's
    told = stability(
        split_of(both)[0], UNITS, "weighted", prior=prior, orders=6, bootstraps=0, retains=()
    )
    assert told.sorted_away == 0 and told.inclusion("order")[Unit(5)].n == 6
    two = {unit: -unit.layer for unit in UNITS[:-2]}
    told = stability(
        split_of(both)[0], UNITS, "weighted", prior=two, orders=12, bootstraps=0, retains=()
    )
    assert told.sorted_away == 11 and len(told.ended("order")) == 1, "two orders, one its own"


def test_orders_and_resamples_are_never_one_interval():
    def says(layers, prompt):  # a resample may need one unit or two; the order decides nothing
        return 2 in layers and (prompt % 10 > 0 or 6 in layers)

    rules = SearchRules(retain=0.9)
    told = stability(split_of(says)[0], UNITS, "bisect", rules, retains=())
    orders, boots = told.inclusion("order")[Unit(6)], told.inclusion("bootstrap")[Unit(6)]
    for rate, kind in ((orders, "order"), (boots, "bootstrap")):
        ended = told.ended(kind)
        hits = sum(Unit(6) in r.units for r in ended)
        wanted = stats.binomtest(hits, len(ended)).proportion_ci(method="wilson")
        assert (rate.low, rate.high, rate.n) == (wanted.low, wanted.high, len(ended))
    assert orders.value in (0.0, 1.0) and 0.0 < boots.value < 1.0
    body = told.as_dict()
    assert (
        body["inclusion"]["6.gate"]
        == orders.as_dict()
        == (body["apart"]["order"]["inclusion"]["6.gate"])
    )
    assert body["apart"]["bootstrap"]["inclusion"]["6.gate"] == boots.as_dict()
