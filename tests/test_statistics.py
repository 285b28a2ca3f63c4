"""Intervals and tests against scipy and published examples."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dapa.core.records import Rate
from dapa.core.statistics import (
    auc,
    benjamini_hochberg,
    discordant,
    holm,
    mcnemar_exact,
    mean_interval,
    paired_gain,
    wilson,
)

pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def _pairs(both, lost, gained, neither):
    before = [True] * (both + lost) + [False] * (gained + neither)
    after = [True] * both + [False] * lost + [True] * gained + [False] * neither
    return before, after


@given(st.integers(0, 200), st.integers(1, 200))
def test_wilson_equals_the_textbook_formula(k, n):
    k = min(k, n)
    z, p = stats.norm.ppf(0.975), k / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    rate = wilson(k, n)
    assert (rate.low, rate.high) == pytest.approx((middle - half, middle + half), abs=1e-9)
    assert rate.low <= rate.value + 1e-12 and rate.value <= rate.high + 1e-12
    assert rate.n == n


def test_wilson_of_nothing_knows_nothing_and_is_valid_json():
    assert wilson(0, 0).as_dict() == {"value": 0.0, "low": 0.0, "high": 1.0, "n": 0}
    json.dumps(wilson(0, 0).as_dict(), allow_nan=False)


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3)])
def test_wilson_names_impossible_counts(k, n):
    with pytest.raises(ValueError, match=str(k)):
        wilson(k, n)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_symmetric_and_doubles_the_smaller_tail(b, c):
    tail = 2 * stats.binom.cdf(min(b, c), b + c, 0.5)
    assert mcnemar_exact(b, c) == pytest.approx(min(1.0, tail))
    assert mcnemar_exact(b, c) == mcnemar_exact(c, b)


def test_holm_equals_rs_p_adjust():
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_benjamini_hochberg_equals_rs_p_adjust():
    assert benjamini_hochberg([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05] * 5)
    assert benjamini_hochberg([0.005, 0.04, 0.03, 0.5]) == pytest.approx(
        [0.02, 0.16 / 3, 0.16 / 3, 0.5]
    )
    assert benjamini_hochberg([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_adjusted_p_values_never_fall_below_the_raw_ones_and_holm_is_the_stricter(p):
    strict, loose = holm(p), benjamini_hochberg(p)
    for raw, h, q in zip(p, strict, loose, strict=True):
        assert raw <= q + 1e-12 <= h + 2e-12 <= 1 + 3e-12


def test_paired_gain_equals_published_tango_intervals():
    # Airway hyper-responsiveness, Bentur et al., as in Fagerland, Lydersen and Laake (2014):
    # 1 both, 1 before only, 7 after only, 12 neither; score interval 0.026 to 0.517.
    gain, low, high = paired_gain(*_pairs(1, 1, 7, 12))
    assert gain == pytest.approx(6 / 21)
    assert (round(low, 3), round(high, 3)) == (0.026, 0.517)


@pytest.mark.parametrize("n", [1, 7, 64])
def test_paired_gain_without_any_change_has_tangos_closed_width(n):
    z = stats.norm.ppf(0.975)
    gain, low, high = paired_gain([True] * n, [True] * n)
    assert gain == 0.0
    assert (-low, high) == pytest.approx([z * z / (n + z * z)] * 2, abs=1e-6)


@given(pairs)
def test_paired_gain_leaves_out_zero_exactly_where_mcnemars_chi_square_is_significant(table):
    before, after = (list(x) for x in zip(*table, strict=True))
    lost, gained = discordant(before, after)
    gain, low, high = paired_gain(before, after)
    assert -1.0 <= low <= gain <= high <= 1.0
    chi = (gained - lost) ** 2 / (gained + lost) if gained + lost else 0.0
    if abs(chi - stats.chi2.ppf(0.95, 1)) > 1e-6:
        assert (low > 0 or high < 0) == (chi > stats.chi2.ppf(0.95, 1))


@given(pairs)
def test_paired_gain_turns_its_sign_with_the_order(table):
    before, after = (list(x) for x in zip(*table, strict=True))
    gain, low, high = paired_gain(before, after)
    assert paired_gain(after, before) == pytest.approx((-gain, -high, -low), abs=1e-6)


def test_paired_gain_at_the_ends_stays_inside_and_not_empty():
    gain, low, high = paired_gain([False] * 20, [True] * 20)
    z2 = stats.chi2.ppf(0.95, 1)
    assert (gain, high) == (1.0, 1.0)
    assert low == pytest.approx((20 - z2) / (20 + z2), abs=1e-6)
    assert paired_gain([], []) == (0.0, -1.0, 1.0)
    with pytest.raises(ValueError, match="not pairs"):
        paired_gain([True], [])


def test_paired_gain_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        before = rng.random(40) < 0.2
        after = before | (rng.random(40) < 0.5)
        _, low, high = paired_gain(list(before), list(after))
        hits += low <= 0.8 * 0.5 <= high
    assert hits / 400 > 0.92


def test_mean_interval_equals_scipys_t_interval_on_every_row():
    x = np.random.default_rng(0).normal(size=(3, 4, 9))
    mean, low, high = mean_interval(x, axis=1)
    assert mean.shape == (3, 9)
    expected = stats.ttest_1samp(x, 0.0, axis=1).confidence_interval(0.95)
    np.testing.assert_allclose(mean, x.mean(1))
    np.testing.assert_allclose(low, expected.low)
    np.testing.assert_allclose(high, expected.high)


def test_mean_interval_leaves_out_what_is_not_defined():
    mean, low, high = mean_interval([[1.0, np.nan, 3.0], [np.nan, 5.0, np.nan], [np.nan] * 3])
    assert mean[0] == 2.0 and low[0] < 2.0 < high[0]
    assert mean[1] == 5.0 and np.isnan(low[1]) and np.isnan(high[1])
    assert np.isnan(mean[2])


def test_auc_is_the_mann_whitney_share_with_ties_half():
    positive, negative = [1.0, 2.0, 2.0, 5.0], [0.0, 2.0, 3.0]
    wins = [(a > b) + 0.5 * (a == b) for a in positive for b in negative]
    found = auc(positive, negative)
    assert found.value == pytest.approx(np.mean(wins)) and found.n == 7
    assert 0 <= found.low < found.value < found.high <= 1
    assert auc(negative, positive).value == pytest.approx(1 - found.value)
    assert auc([], [1.0]) == Rate(0.5, 0.0, 1.0, 0)


def test_a_perfect_separation_of_few_scores_is_not_certain():
    few, many = auc([1, 2, 3], [0, -1, -2]), auc(range(100), range(-100, 0))
    assert few.value == many.value == 1 == few.high == many.high
    assert few.low < 0.75 < 0.95 < many.low
    assert auc([0, -1], [1, 2]).low == 0 < auc([0, -1], [1, 2]).high


def test_auc_intervals_hold_the_truth_as_often_as_they_say():
    rng, held = np.random.default_rng(0), 0
    for _ in range(300):
        found = auc(rng.standard_normal(14) + 1.2, rng.standard_normal(18))
        held += found.low <= stats.norm.cdf(1.2 / 2**0.5) <= found.high
    assert held / 300 > 0.92
