"""Every algorithm against plain predicates: what it finds, whether more can go, at what cost."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from random import Random
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapa.core.records import EMPTY, Mask, Outcome, Unit
from dapa.search.algorithms import algorithms
from dapa.search.algorithms.belief import Belief, halfway
from dapa.search.algorithms.bisect import DENSITIES
from dapa.search.algorithms.certificate import certified
from dapa.search.algorithms.ddmin import chunks
from dapa.search.algorithms.questions import First, Score
from dapa.search.algorithms.windows import MASK_ONLY
from dapa.search.engine.predicate import play

NAMES = [name for name in algorithms if name not in MASK_ONLY]
Wanted = Callable[[frozenset[Unit]], bool]


def units_of(count: int) -> tuple[Unit, ...]:
    return tuple(Unit(layer) for layer in range(count))


@st.composite
def monotone(draw: st.DrawFn) -> tuple[tuple[Unit, ...], Wanted]:
    """Satisfied where any of some sets is contained: AND, OR and mixtures of both."""
    units = units_of(draw(st.integers(1, 16)))
    sets = st.frozensets(st.sampled_from(units), min_size=1, max_size=min(6, len(units)))
    enough = draw(st.lists(sets, min_size=1, max_size=3))
    return units, lambda kept: any(some <= kept for some in enough)


@st.composite
def arbitrary(draw: st.DrawFn) -> tuple[tuple[Unit, ...], Wanted]:
    """Any truth table that the opening check lets through: full yes, empty no."""
    units = units_of(draw(st.integers(1, 10)))
    seed, share = draw(st.integers(0, 2**32)), draw(st.sampled_from([0.1, 0.5, 0.9]))

    def satisfies(kept: frozenset[Unit]) -> bool:
        if not kept or len(kept) == len(units):
            return bool(kept)
        code = sum(1 << unit.layer for unit in kept)
        return Random(seed * 1024 + code).random() < share

    return units, satisfies


@pytest.mark.parametrize("name", NAMES)
@given(case=monotone(), seed=st.integers(0, 99))
@settings(max_examples=300, deadline=None)
def test_a_monotone_oracle_gets_a_1_minimal_set(
    name: str, case: tuple[tuple[Unit, ...], Wanted], seed: int
) -> None:
    units, satisfies = case
    prior = {unit: Random(seed + unit.layer).random() for unit in units}
    result, _ = play(algorithms[name](seed=seed, prior=prior), units, satisfies)
    kept = frozenset(result.units)
    assert result.one_minimal
    assert satisfies(kept) and kept <= set(units)
    # for a monotone oracle that is minimal outright: no proper subset satisfies
    assert not any(
        satisfies(frozenset(some))
        for size in range(len(kept))
        for some in combinations(sorted(kept), size)
    )


@pytest.mark.parametrize("name", NAMES)
@given(case=arbitrary())
@settings(max_examples=60, deadline=None)
def test_any_oracle_gets_a_set_that_satisfies_and_from_which_no_single_unit_can_go(
    name: str, case: tuple[tuple[Unit, ...], Wanted]
) -> None:
    units, satisfies = case
    result, _ = play(algorithms[name](seed=0), units, satisfies)
    kept = frozenset(result.units)
    assert result.one_minimal and satisfies(kept)
    assert not any(satisfies(kept - {unit}) for unit in kept)


@pytest.mark.parametrize("name", MASK_ONLY)
@given(case=monotone(), seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_a_mask_only_baseline_ends_with_what_satisfies_and_claims_nothing(
    name: str, case: tuple[tuple[Unit, ...], Wanted], seed: int
) -> None:
    units, satisfies = case
    prior = {unit: Random(seed + unit.layer).random() for unit in units}
    result, tests = play(algorithms[name](seed=seed, prior=prior), units, satisfies)
    assert satisfies(frozenset(result.units)) and not result.one_minimal
    assert tests <= 5 * max(8, len(units))


def test_windows_and_the_top_of_a_true_ranking_are_as_small_as_they_can_be() -> None:
    units, need = units_of(24), {Unit(5), Unit(8), Unit(9)}
    result, _ = play(algorithms["windows"](), units, need.issubset)
    assert [unit.layer for unit in result.units] == [5, 6, 7, 8, 9]
    prior = {unit: float(unit in need) for unit in units}
    result, tests = play(algorithms["top-k"](prior=prior), units, need.issubset)
    assert set(result.units) == need and tests <= 5


@pytest.mark.parametrize("name", [*NAMES, *MASK_ONLY])
def test_the_same_seed_asks_the_same_questions(name: str) -> None:
    units, need = units_of(20), {Unit(3), Unit(11), Unit(12)}
    runs = [play(algorithms[name](seed=5), units, need.issubset) for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("name", [*NAMES, *MASK_ONLY])
def test_bounds_on_tests_hold_at_every_question_of_a_monotone_search(name: str) -> None:
    units = units_of(24)
    for seed in range(20):
        need = set(Random(seed).sample(units, 1 + seed % 5))
        asked: list[tuple[int, tuple[int, int]]] = []
        known = {EMPTY, Mask.of(units)}
        steps = algorithms[name](seed=seed)(units)
        try:
            question = next(steps)
            while True:
                assert isinstance(question, First | Score) and question.left is not None
                asked.append((len(known), question.left))
                if isinstance(question, First):
                    answer = None
                    for i, mask in enumerate(question.masks):
                        known.add(mask)
                        if need <= set(mask):
                            answer = i
                            break
                    question = steps.send(answer)
                else:
                    known.update(question.masks)
                    answers = [(mask, need <= set(mask)) for mask in question.masks]
                    question = steps.send(
                        tuple(Outcome(m, 1, 1, int(yes), satisfied=yes) for m, yes in answers)
                    )
        except StopIteration:
            pass
        assert all(len(known) - before <= most for before, (_, most) in asked)


def mean_tests(name: str, needed: int, *, memo: bool = True, trials: int = 200) -> float:
    units = units_of(32)
    counts = []
    for seed in range(trials):
        need = frozenset(Random(100 * seed + needed).sample(units, needed))
        result, tests = play(algorithms[name](seed=seed), units, need.issubset, memo=memo)
        assert set(result.units) == need
        counts.append(tests)
    return mean(counts)


@pytest.mark.parametrize(("needed", "goal"), [(2, 15), (4, 28), (8, 53)])
def test_bisection_meets_the_goal_of_row_f(needed: int, goal: float) -> None:
    assert mean_tests("bisect", needed) <= goal


@pytest.mark.parametrize(
    ("name", "memo", "known"),
    [
        ("ddmin", False, (44, 114, 236)),
        ("ddmin", True, (25, 63, 117)),
        ("ddmin-complement", True, (19, 40, 79)),
    ],
)
def test_delta_debugging_costs_what_it_is_known_to_cost(
    name: str, memo: bool, known: tuple[float, ...]
) -> None:
    for needed, tests in zip((2, 4, 8), known, strict=True):
        # Ours goes on behind the chunk that fell, and may be cheaper; never dearer than 8 %.
        # Without memo our certificate asks again what the last round of ddmin has just asked.
        again = 0 if memo else needed
        assert mean_tests(name, needed, memo=memo, trials=60) - again <= 1.08 * tests


def weighted_tests(needed: int, trust: Callable[[Random, bool], float]) -> float:
    units, counts = units_of(32), []
    for seed in range(200):
        random = Random(100 * seed + needed)
        need = frozenset(random.sample(units, needed))
        prior = {unit: trust(random, unit in need) for unit in units}
        result, tests = play(algorithms["weighted"](prior=prior), units, need.issubset)
        assert set(result.units) == need and result.one_minimal
        counts.append(tests)
    return mean(counts)


@pytest.mark.parametrize("needed", [2, 4, 8])
def test_a_good_prior_saves_a_fifth_and_a_misleading_one_costs_at_most_that(needed: int) -> None:
    plain = mean_tests("bisect", needed)
    assert weighted_tests(needed, lambda r, is_needed: is_needed + r.gauss(0, 0.5)) <= 0.8 * plain
    assert weighted_tests(needed, lambda r, is_needed: r.random()) <= 1.2 * plain
    assert weighted_tests(needed, lambda r, is_needed: -float(is_needed)) <= 1.2 * plain


def test_weighted_without_a_prior_is_bisection() -> None:
    units, need = units_of(32), {Unit(4), Unit(21)}
    assert play(algorithms["weighted"](), units, need.issubset) == play(
        algorithms["bisect"](), units, need.issubset
    )


def test_chunks_keep_order_and_differ_by_at_most_one() -> None:
    assert [len(part) for part in chunks(units_of(10), 4)] == [3, 3, 2, 2]
    assert sum(chunks(units_of(10), 4), ()) == units_of(10)


def test_the_certificate_takes_a_removal_that_satisfies_and_goes_on() -> None:
    units, need = units_of(4), {Unit(2)}
    result, tests = play(certified, units, need.issubset)
    assert result.units == (Unit(2),) and result.one_minimal
    assert tests == 4 + 3 + 2  # the last removal is the student itself, and known


def test_bisection_hands_over_to_ddmin_where_monotonicity_breaks() -> None:
    # Unit 0 is spoiled by 7 unless 6 is there, so that bisection keeps what it need not.
    units = units_of(8)

    def satisfies(kept: frozenset[Unit]) -> bool:
        return Unit(0) in kept and (Unit(7) not in kept or Unit(6) in kept)

    result, _ = play(algorithms["bisect"](), units, satisfies)
    assert result.units == (Unit(0),) and result.one_minimal


def test_a_belief_sums_to_what_it_knows() -> None:
    belief = Belief([[d] * 6 for d in DENSITIES], [1 / len(DENSITIES)] * len(DENSITIES))
    assert sum(belief.last(6)) == pytest.approx(1)
    belief.found(4, 6)
    column = belief.last(3)
    assert len(column) == 4 and sum(column) == pytest.approx(1)


def test_a_certain_hypothesis_wins_once_it_was_right() -> None:
    sharp, flat = [0.9, 0.9, 0.01, 0.01], [0.25] * 4
    belief = Belief([sharp, flat], [0.5, 0.5])
    belief.found(2, 4)
    assert belief.last(1)[1] > 0.7  # nearer to 0.9 than to 0.25


def test_halfway_lies_inside_and_splits_the_weight() -> None:
    assert halfway([0, 1, 1, 1, 1], 0, 4) == 2
    assert halfway([0, 0, 0, 0, 1], 0, 4) in (1, 2, 3)
    assert halfway([5, 1, 1], -1, 2) == 0
