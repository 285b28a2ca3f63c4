"""What a curve of size against refusals says: by hand, by law, and on truths by construction."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from dapa.core.records import SettingError
from dapa.measure.size_curve import (
    MARGIN,
    SHARES,
    best_return,
    cmd,
    cpr,
    faithfulness,
    floor_of,
    isotonic,
    read_curve,
    sizes_of,
)

rates = st.lists(st.floats(0, 1), min_size=2, max_size=9)


def table(refusals, prompts=100):
    """Verdicts, (sizes, prompts): at each size the first so many prompts are refused."""
    return np.array([[prompt < count for prompt in range(prompts)] for count in refusals])


def test_sizes_grow_by_halves_up_to_eighths_and_end_with_all():
    assert sizes_of(30) == (0, 1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 30)
    assert sizes_of(1) == (0, 1) and sizes_of(4) == (0, 1, 2, 3, 4)
    assert sizes_of(12) == (0, 1, 2, 3, 4, 6, 8, 10, 12)
    assert sizes_of(240)[7:] == (12, 16, 24, 32, 48, 64, 94, 124, 154, 184, 214, 240)
    assert sizes_of(30, (5, 2)) == (0, 2, 5, 30)
    with pytest.raises(SettingError, match="size 31 is outside 0 to 30"):
        sizes_of(30, (31,))


def test_the_areas_are_those_of_the_benchmark_by_hand():
    """MIB's code: trapezoids of f and of |1 - f| over the share of the circuit."""
    sizes, values = (0, 1, 2, 4), np.array([0.1, 0.5, 1.1, 0.9])
    f = faithfulness(values)
    assert f.tolist() == pytest.approx([0.0, 0.5, 1.25, 1.0])
    # shares 0, 1/4, 1/2, 1: (0 + .5)/2/4 + (.5 + 1.25)/2/4 + (1.25 + 1)/2/2
    assert float(cpr(sizes, f)) == pytest.approx(0.0625 + 0.21875 + 0.5625)
    # |1 - f|: 1, .5, .25, 0: (1 + .5)/2/4 + (.5 + .25)/2/4 + (.25 + 0)/2/2
    assert float(cmd(sizes, f)) == pytest.approx(0.1875 + 0.09375 + 0.0625)


def test_a_straight_line_has_an_area_of_one_half_and_no_best_return():
    line = np.linspace(0, 1, 6)
    assert float(cpr((0, 1, 2, 3, 4, 5), line)) == pytest.approx(0.5)
    assert best_return((0, 1, 2, 3, 4, 5), line) is None
    knee = best_return((0, 1, 2, 4), np.array([0.0, 0.6, 0.8, 1.0]))
    assert (knee.size, knee.kept) == (1, 0.6) and knee.above == pytest.approx(0.35)


@given(values=rates)
def test_the_fit_never_falls_and_is_the_least_squares_one(values):
    fit = isotonic(np.array(values))
    assert (np.diff(fit) >= -1e-12).all()
    assert fit == pytest.approx(optimize.isotonic_regression(values).x)
    rising = np.sort(values)
    assert isotonic(rising) == pytest.approx(rising)


@given(values=rates, data=st.data())
def test_for_refusals_that_never_fall_the_areas_lie_in_0_to_1_and_complete_each_other(values, data):
    rising = np.sort(values)
    rising[-1] = min(1.5, rising[-1] + 0.1)
    steps = st.lists(st.integers(1, 5), min_size=len(values) - 1, max_size=len(values) - 1)
    sizes = [0, *np.cumsum(data.draw(steps)).tolist()]
    f = faithfulness(rising)
    area, distance = float(cpr(sizes, f)), float(cmd(sizes, f))
    assert -1e-9 <= area <= 1 + 1e-9 and area + distance == pytest.approx(1)


@given(
    counts=st.lists(st.integers(0, 40), min_size=2, max_size=8),
    shares=st.lists(st.floats(0.01, 1), min_size=2, max_size=4),
    rising=st.booleans(),
)
def test_a_larger_share_never_takes_fewer_units(counts, shares, rising):
    counts = sorted(counts) if rising else counts
    counts[-1] = max(counts[-1], counts[0] + 4)
    told = read_curve(range(len(counts)), table(counts, 50), shares=sorted(shares), draws=50)
    units = list(told.needed.values())
    for less, more in zip(units, units[1:], strict=False):
        assert less.value <= more.value and less.low <= more.low and less.high <= more.high
    for one in (*units, told.enough):
        assert one.before <= one.value and one.low <= one.value <= one.high
    if rising:
        goal = [counts[0] + share * (counts[-1] - counts[0]) for share in sorted(shares)]
        first = [next(i for i, c in enumerate(counts) if c >= g - 1e-6) for g in goal]
        assert [told.needed[share].value for share in sorted(shares)] == first
    json.dumps(told.as_dict(), allow_nan=False)


def test_one_lucky_size_among_worse_ones_does_not_count():
    hits = table([0, 96, 40, 40, 100])
    assert read_curve((0, 1, 2, 3, 4), hits).needed[0.9].value == 4


def test_a_sharp_curve_is_certain_and_names_the_measured_size_before():
    told = read_curve(sizes_of(12), table([0, 0, 0, *[100] * 6]))
    for share in SHARES:
        one = told.needed[share]
        assert (one.value, one.low, one.high, one.before) == (3, 3, 3, 2)
    assert told.enough.value == 3 and told.floor == 2
    assert told.cpr.low == told.cpr.high == pytest.approx((0.5 + 9) / 12)
    late = read_curve(sizes_of(12), table([*[0] * 8, 100]))
    assert (late.enough.value, late.enough.low, late.enough.before) == (12, 11, 10)


def test_up_to_the_floor_every_size_is_shown_to_lose_more_than_the_margin():
    sizes = (0, 1, 2, 3, 4)
    assert floor_of(sizes, table([0, 50, 80, 93, 100])) == 2
    assert floor_of(sizes, table([0, 97, 10, 10, 100])) == 0, "the first that is not ends it"
    assert floor_of((0, 1), table([96, 100])) == -1
    assert floor_of(sizes, table([0, 50, 80, 93, 100]), margin=0.3) == 1
    assert MARGIN == 0.05


def test_more_prompts_make_the_interval_narrower():
    random = np.random.default_rng(3)
    odds, votes = random.normal(size=2000), np.array([0, 1, 2, 3, 4, 6, 8])

    def width(prompts):
        hits = odds[None, :prompts] + 3 < votes[:, None]
        one = read_curve(tuple(votes), hits).cpr
        return one.high - one.low

    assert width(1600) < 0.6 * width(100)
