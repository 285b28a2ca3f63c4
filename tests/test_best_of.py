"""The smallest set of several orders: 1-minimal, never larger than one order's, honestly told."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from searched import OR, planted_pair, prompt_set
from test_search_algorithms import arbitrary, monotone, units_of

from dapa.core.records import SettingError
from dapa.search.algorithms import algorithms
from dapa.search.algorithms.best_of import drawn, smallest
from dapa.search.engine.predicate import play
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.store.runs import Store


@settings(max_examples=60)
@given(case=monotone(), seed=st.integers(0, 99), orders=st.integers(2, 6))
def test_it_is_1_minimal_and_no_larger_than_what_one_order_finds(case, seed, orders):
    units, satisfies = case
    one = play(algorithms["bisect"](), units, satisfies)[0]
    best = play(smallest(algorithms["bisect"](), orders, seed), units, satisfies)[0]
    assert best.one_minimal and satisfies(frozenset(best.units))
    assert len(best.units) <= len(one.units)
    assert not any(satisfies(frozenset(best.units) - {unit}) for unit in best.units)
    assert list(best.units) == [unit for unit in units if unit in set(best.units)]


@settings(max_examples=30)
@given(case=arbitrary())
def test_one_order_is_the_search_itself(case):
    units, satisfies = case
    search = algorithms["ddmin"]()
    assert smallest(search, 1) is search
    once, again = (play(smallest(search, n), units, satisfies)[0] for n in (1, 2))
    assert len(again.units) <= len(once.units) or not again.one_minimal


def test_another_order_meets_the_smaller_of_two_ways_and_says_of_how_many():
    units = units_of(12)
    ways = [frozenset(units[i] for i in way) for way in ((5, 6, 7), (0, 11))]
    satisfies = lambda kept: any(way <= kept for way in ways)  # noqa: E731
    assert set(play(algorithms["bisect"](), units, satisfies)[0].units) == ways[0]
    best = play(smallest(algorithms["bisect"](), 8), units, satisfies)[0]
    assert set(best.units) == ways[1]
    assert best.reason == "the smallest of 2 1-minimal sets in 8 orders"


def test_orders_are_drawn_once_each_by_seed_and_are_no_more_than_there_are():
    units = units_of(6)
    rows = drawn(units, 10, seed=3)
    assert rows[0] == units and len(set(rows)) == 10
    assert rows == drawn(units, 10, seed=3) != drawn(units, 10, seed=4)
    assert len(drawn(units_of(2), 10, seed=0)) == 2


def test_a_search_of_a_pair_measures_only_the_smallest_held_out(tmp_path):
    found = {}
    for orders in (1, 6):
        asked = SearchSettings(max_new_tokens=12, best_of=orders)
        job = SearchJob(planted_pair(OR), prompt_set(), asked, Store(tmp_path))
        found[orders] = job.run()
    assert found[6].one_minimal and len(found[6].units) <= len(found[1].units)
    assert "in 6 orders" in found[6].stop_reason
    assert found[6].rates["held_out"].n == 12
    assert found[6].costs.tests > found[1].costs.tests
    assert "the smallest set of 6 orders" in SearchSettings(best_of=6).sentence()


@pytest.mark.parametrize("algorithm", ["weighted", "top-k", "random-k", "windows"])
def test_where_orders_tell_nothing_new_it_is_refused(algorithm):
    with pytest.raises(SettingError, match="orders tell nothing new"):
        SearchSettings(algorithm=algorithm, best_of=3)
