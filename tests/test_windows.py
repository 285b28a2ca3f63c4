"""Baselines over masks alone, played against predicates."""

import pytest

from dapa.core.records import Mask, Outcome, Trial, Unit
from dapa.search.algorithms.windows import random_masks, random_sets, ranked, spread, top, windows
from dapa.search.engine.predicate import play
from dapa.search.pareto import pareto

UNITS = tuple(Unit(layer) for layer in range(10))


def layers(result):
    return [unit.layer for unit in result[0].units]


def test_the_best_window_is_found_where_one_holds_the_need():
    wanted = frozenset({Unit(4), Unit(5)})
    result = play(lambda units: windows(units, 3, 99), UNITS, lambda kept: wanted <= kept)
    assert layers(result) == [3, 4, 5] and result[1] == 8 and not result[0].one_minimal


def test_windows_keep_to_the_budget_and_reach_both_ends():
    asked = []

    def note(kept):
        asked.append(sorted(unit.layer for unit in kept))
        return False

    play(lambda units: windows(units, 2, 4), UNITS, note)
    assert len(asked) == 4 and asked[0] == [0, 1] and asked[-1] == [8, 9]


@pytest.mark.parametrize("count", [1, 2, 5, 9])
@pytest.mark.parametrize("most", [1, 2, 4, 20])
def test_spread_places_are_different_and_inside(count, most):
    places = spread(count, most)
    assert len(places) == len(set(places)) == min(count, most)
    assert all(0 <= place < count for place in places)


def test_random_sets_are_different_and_seeded():
    masks = random_masks(UNITS, 3, 40, 1)
    assert len(set(masks)) == 40 and all(len(mask) == 3 for mask in masks)
    assert masks == random_masks(UNITS, 3, 40, 1) != random_masks(UNITS, 3, 40, 2)
    assert len(random_masks(UNITS, 9, 40, 1)) == 10, "there are no more"
    result, tests = play(lambda u: random_sets(u, 9, 40, 0), UNITS, lambda kept: Unit(3) in kept)
    assert tests == 10 and Unit(3) in result.units


def test_top_grows_until_it_satisfies():
    prior = {Unit(7): 3.0, Unit(2): 2.0, Unit(5): 1.0}
    assert [u.layer for u in ranked(UNITS, prior)[:4]] == [7, 2, 5, 0]
    wanted = frozenset({Unit(2), Unit(7)})
    result, tests = play(lambda u: top(u, prior, 99), UNITS, lambda kept: wanted <= kept)
    assert result.units == (Unit(2), Unit(7)) and tests == 2
    last, _ = play(lambda u: top(u, prior, 3), UNITS, lambda kept: len(kept) == 10)
    assert last.units == UNITS and "nothing less" in last.reason


def trial(index, names, defended, judged=10, phase="search"):
    mask = Mask.of(Unit(layer) for layer in names)
    outcome = Outcome(mask, 10, judged, defended)
    return Trial(index, outcome, phase, False, None, 0.0, 0)


def test_the_front_holds_what_nothing_smaller_matches():
    trials = [
        trial(0, (), 1),
        trial(1, range(6), 9),
        trial(2, (1, 2), 9),
        trial(3, (1, 3), 9),
        trial(4, (1,), 4),
        trial(5, (2,), 0, judged=6),  # curtailed
        trial(6, (5,), 10, phase="held-out"),
        trial(7, (3,), 1),
    ]
    points = pareto(trials)
    assert {p.mask.layers for p in points if p.on_front} == {(), (1,), (1, 2), (1, 3)}
    assert len(points) == 6 and points[0].as_dict()["utility"] is None
    sized = pareto(trials, size=lambda mask: -float(len(mask)))
    assert [p.mask.layers for p in sized if p.on_front] == [tuple(range(6))]


def test_with_utility_a_mask_stands_on_the_front_for_what_it_spares():
    def trial(layers, defended):
        return Trial(0, Outcome(Mask.of(map(Unit, layers)), 10, 10, defended), "search", False,
                     None, 0.0, 0)  # fmt: skip

    trials = [trial([], 0), trial([1], 8), trial([2], 6), trial([1, 2], 8)]
    costs = {(1,): 0.5, (2,): 0.1}
    plain = {p.mask.layers: p.on_front for p in pareto(trials)}
    assert plain == {(): True, (1,): True, (2,): False, (1, 2): False}
    points = pareto(trials, utility=lambda mask: costs.get(mask.layers, 0.0 if not mask else 0.9))
    weighed = {p.mask.layers: p.on_front for p in points}
    assert weighed == {(): True, (1,): True, (2,): True, (1, 2): False}
    assert points[0].as_dict()["utility"] == 0.0
