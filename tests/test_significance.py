"""Bootstrap p-values: the right size under the null, small where there is something."""

import numpy as np
import pytest
from scipy import stats

from dapa.localize.divergence.significance import DRAWS, adjusted, bootstrap_p, significant


def test_p_values_follow_students_t_where_that_is_right():
    x = np.random.default_rng(0).standard_normal((24, 300))
    p, t = bootstrap_p(x), stats.ttest_1samp(x, 0).pvalue
    assert np.corrcoef(p, t)[0, 1] > 0.99 and 0.02 < (p < 0.05).mean() < 0.09
    assert np.array_equal(p, bootstrap_p(x)) and not np.array_equal(p, bootstrap_p(x, seed=1))


def test_two_sets_of_prompts_are_compared_with_their_own_spreads():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((10, 300)), 3 * rng.standard_normal((14, 300))
    p, t = bootstrap_p(x, y), stats.ttest_ind(x, y, equal_var=False).pvalue
    assert np.corrcoef(p, t)[0, 1] > 0.99 and (p < 0.05).mean() < 0.09
    assert bootstrap_p(x + 5, y).max() < 0.05


def test_cells_that_never_vary_are_sure_and_undefined_ones_are_told():
    nan = np.nan
    x = np.array([[1.0, 0.0, nan, 2.0, 0.1], [1.0, 0.0, 1.0, nan, 0.1], [1.0, 0.0, nan, nan, 0.1]])
    p = bootstrap_p(x.reshape(3, 5, 1))
    assert p.shape == (5, 1)
    least = 1 / (1 + DRAWS)
    assert p[:2, 0].tolist() == [least, 1.0] and p[4, 0] == least
    assert np.isnan(p[2:4]).all()


def test_missing_prompts_are_left_out_of_their_cell_alone():
    x = np.random.default_rng(2).standard_normal((12, 2)) + 0.8
    holes = x.copy()
    holes[9:, 1] = np.nan
    p = bootstrap_p(holes)
    assert p[0] == bootstrap_p(x)[0]
    assert p[1] == pytest.approx(stats.ttest_1samp(x[:9, 1], 0).pvalue, abs=0.05)


def test_adjustment_is_over_defined_cells_and_marks_at_five_percent():
    p = np.array([[0.001, 0.02], [np.nan, 0.9]])
    q = adjusted(p)
    assert q[0, 0] == pytest.approx(0.003) and q[0, 1] == pytest.approx(0.03)
    assert np.isnan(q[1, 0]) and q[1, 1] == pytest.approx(0.9)
    assert significant(q).tolist() == [[True, True], [False, False]]
