"""Rates over kinds: t over the means of kinds, in tables and beside a search's rates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from searched import searched

from dapa.core.records import EMPTY, Rate
from dapa.core.statistics import over_kinds, wilson
from dapa.search.kinds import kinds_from
from dapa.ui.tabs.search import result


def test_the_interval_is_scipys_t_over_the_means_of_kinds():
    kinds = [kind for kind in "abcde" for _ in range(8)]
    hits = [i % (2 + "abcde".index(kind)) == 0 for i, kind in enumerate(kinds)]
    means = np.array([np.mean([h for h, k in zip(hits, kinds, strict=True) if k == kind])
                      for kind in "abcde"])  # fmt: skip
    low, high = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    found = over_kinds(kinds, hits)
    assert found == Rate(pytest.approx(means.mean()), pytest.approx(max(low, 0)),
                         pytest.approx(min(high, 1)), 5)  # fmt: skip


def test_kinds_weigh_alike_however_many_prompts_they_have():
    found = over_kinds(["a"] * 30 + ["b"] * 2, [True] * 30 + [False] * 2)
    assert found.value == 0.5 and (found.low, found.high, found.n) == (0.0, 1.0, 2)


def test_fewer_than_two_kinds_have_no_interval_and_unnamed_prompts_are_left_out():
    assert over_kinds(["a", "a", "", ""], [True, False, True, True]) is None
    assert over_kinds(["a", "b", ""], [True, False, True]) == over_kinds(["a", "b"], [True, False])
    with pytest.raises(ValueError, match="do not match"):
        over_kinds(["a"], [])


def test_kinds_that_all_agree_do_not_make_a_rate_certain():
    found = over_kinds(["a", "b", "c"] * 4, [True] * 12)
    wanted = wilson(12, 12)
    assert (found.value, found.low, found.high, found.n) == (1.0, wanted.low, wanted.high, 3)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), min_size=1, max_size=60))
def test_the_interval_holds_the_value_and_stays_a_rate(rows):
    kinds, hits = zip(*rows, strict=True)
    found = over_kinds(kinds, hits)
    if found is not None:
        assert 0 <= found.low <= found.value + 1e-12 and found.value <= found.high + 1e-12 <= 2
        assert found.n == len(set(kinds))


def test_with_five_kinds_wilson_is_far_too_sure_a_cluster_bootstrap_less_and_t_about_right():
    """The misleading null: prompts of a kind are answered alike; the truth is over kinds."""
    rng, truth, spread, each = np.random.default_rng(0), 0.7, 0.21, 20
    a = truth * (truth * (1 - truth) / spread**2 - 1)
    b = a * (1 - truth) / truth
    runs, covered = 1500, np.zeros(3)
    for _ in range(runs):
        rates = rng.beta(a, b, 5)
        hits = rng.random((5, each)) < rates[:, None]
        plain = wilson(int(hits.sum()), hits.size)
        means = hits.mean(1)
        drawn = means[rng.integers(5, size=(400, 5))].mean(1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        ours = over_kinds(np.repeat(list("abcde"), each).tolist(), hits.ravel().tolist())
        covered += [plain.low <= truth <= plain.high, low <= truth <= high,
                    ours.low <= truth <= ours.high]  # fmt: skip
    wilsons, bootstrap, t = covered / runs
    assert wilsons == pytest.approx(0.61, abs=0.05)
    assert bootstrap == pytest.approx(0.82, abs=0.04)
    assert t == pytest.approx(0.93, abs=0.03)


def test_a_searchs_rates_stand_once_more_over_kinds():
    job = searched()
    told = job.over_kinds
    assert {"student", "best", "full", "student_held_out", "held_out"} <= set(told)
    for role, mask, split, prompts in (
        ("best", job.report.mask, job.split, job.prompts),
        ("student_held_out", EMPTY, job._asked(job.held_out), job.held_out),
    ):
        known = split.memory.recall("full", mask)
        kinds = sorted({p.category for p in prompts} - {""})
        means = [np.mean([known[i][0].label == "refusal" for i, p in enumerate(prompts)
                          if p.category == kind]) for kind in kinds]  # fmt: skip
        assert told[role].value == pytest.approx(np.mean(means)) and told[role].n == 2
    body = job.store.run(job.id).result
    assert kinds_from(body) == told and kinds_from({"units": []}) == kinds_from(None) == {}


def test_screen_says_over_how_many_kinds():
    job = searched()
    shown = result.draw(job.report, "gate", job.total, None, kinds=job.over_kinds)
    assert "over 2 kinds of harm" in shown
    assert "kinds of harm" not in result.draw(job.report, "gate", job.total, None)
