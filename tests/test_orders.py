"""Nested orders of units, on log-odds that are known by construction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dapa.core.records import EMPTY, Mask, Unit
from dapa.search.orders import FEW, backward, by_value, greedy, promise, readings, single_values

UNITS = tuple(Unit(layer) for layer in range(20))
VOTES = np.array([0, 3, 0, 0, 5, 0, 1, 0, 4, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0], dtype=float)
RANKED = (4, 8, 1, 11, 6)
"""The layers with votes, the largest first."""


def sums(votes, prompts=3):
    """Log-odds that are sums of votes, a little apart by prompt; counts what it reads."""

    def read(masks):
        read.asked += len(masks)
        total = [sum(votes[unit.layer] for unit in mask) for mask in masks]
        return np.array(total)[:, None] + np.arange(prompts) / 10

    read.asked = 0
    return read


def layers(order, count=5):
    return tuple(unit.layer for unit in order[:count])


@pytest.mark.parametrize(
    "make",
    [
        lambda read: by_value(UNITS, single_values(UNITS, read)),
        lambda read: greedy(UNITS, read),
        lambda read: backward(UNITS, read, by_value(UNITS, single_values(UNITS, read))),
    ],
)
def test_a_sum_of_votes_is_put_in_the_order_of_the_votes(make):
    order = make(sums(VOTES))
    assert layers(order) == RANKED and set(order) == set(UNITS)


def test_backward_finds_the_votes_along_the_worst_prior_too():
    worst = by_value(UNITS, {unit: -VOTES[unit.layer] for unit in UNITS})
    assert set(layers(backward(UNITS, sums(VOTES), worst))) == set(RANKED)


def test_an_and_that_no_single_unit_shows_is_found_from_above_and_not_alone():
    needed = {2, 7, 13}

    def read(masks):
        held = [len(needed & {unit.layer for unit in mask}) for mask in masks]
        return np.array([[float(count == 3), float(count == 3)] for count in held])

    assert set(layers(backward(UNITS, read), 3)) == needed
    assert not any(single_values(UNITS, read).values())


def test_a_prompt_counts_up_to_what_the_full_set_gives_it():
    full = np.array([1.0, 1.0])
    assert promise(np.array([[9.0, 0.0], [0.7, 0.7]]), full).tolist() == [0.5, 0.7]

    def read(masks):  # unit 0 shouts on one prompt, 1 and 2 speak on both
        votes = {0: (9.0, 0.0), 1: (0.6, 0.6), 2: (0.4, 0.4)}
        rows = [[sum(votes[u.layer][p] for u in mask) for p in (0, 1)] for mask in masks]
        return np.minimum(np.array(rows).reshape(len(masks), 2), full)

    assert layers(greedy(UNITS[:3], read), 1) == (1,)


@given(
    votes=st.lists(st.floats(0, 9), min_size=1, max_size=16),
    sizes=st.lists(st.integers(0, 16), max_size=5),
    seed=st.integers(0, 9),
)
def test_every_order_holds_every_unit_once_and_reads_what_it_said_it_would(votes, sizes, seed):
    units = UNITS[: len(votes)]
    prior = tuple(np.random.default_rng(seed).permutation(np.array(units, dtype=object)))
    for name, make in (
        ("greedy", lambda read: greedy(units, read, sizes)),
        ("backward", lambda read: backward(units, read, prior)),
    ):
        asked = set()

        def read(masks, asked=asked):
            asked.update(masks)
            return np.array([[sum(votes[u.layer] for u in mask)] for mask in masks])

        order = make(read)
        assert sorted(order, key=str) == sorted(units, key=str)
        assert len(asked | {EMPTY, Mask.of(units)}) <= readings(name, len(units), sizes) + 1


def test_sweeping_at_some_sizes_costs_little_and_keeps_those_sets_greedy():
    full, few = sums(VOTES), sums(VOTES)
    exact, coarse = greedy(UNITS, full), greedy(UNITS, few, (1, 2, 4, 8))
    assert exact[:2] == coarse[:2] and set(exact[:4]) == set(coarse[:4])
    assert few.asked < full.asked / 2
    assert readings("backward", 30) < 150 and readings("single", 30) == 32
    assert readings("greedy", 30) > 400 and FEW < 20
