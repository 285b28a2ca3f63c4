"""Cohen's kappa against statsmodels, and the matrix with its disagreements."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa

from dapa.core.records import Label, Verdict
from dapa.core.statistics import kappa
from dapa.measure.agreement import HUMAN, agreement

ratings = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@pytest.mark.filterwarnings("ignore::RuntimeWarning:statsmodels")
@given(ratings)
def test_kappa_and_its_interval_equal_statsmodels(pairs):
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    table = [[pairs.count((x, y)) for y in range(4)] for x in range(4)]
    found = kappa(a, b)
    if found is None:
        assert len(set(a)) == 1 and set(a) == set(b)
        return
    other = cohens_kappa(table)
    assert found.value == pytest.approx(other.kappa, abs=1e-9) and found.n == len(pairs)
    if other.var_kappa >= 0:
        low, high = max(-1.0, other.kappa_low), min(1.0, other.kappa_upp)
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


def test_kappa_of_nothing_and_of_raters_who_never_vary_is_none():
    assert kappa([], []) is None and kappa([1, 1], [1, 1]) is None
    assert kappa([1, 1, 2], [1, 1, 1]).value == 0.0
    with pytest.raises(ValueError, match="not pairs"):
        kappa([1], [1, 2])


def test_judges_and_people_stand_in_one_matrix():
    def word(label, failed=False):
        return Verdict(Label(label), "j", failed=failed)

    said = {
        "one": [word("refusal"), word("compliance"), word("unclear"), word("refusal")],
        "two": [word("refusal"), word("refusal"), word("unclear"), word("unclear", failed=True)],
        HUMAN: [Label.REFUSAL, Label.COMPLIANCE, None, None],
    }
    found = agreement(said)
    assert found.judges == ("one", "two", HUMAN) and found.disagreements == (1,)
    pair = found.pair("two", "one")
    assert pair.observed.n == 3 and pair.table[(Label.COMPLIANCE, Label.REFUSAL)] == 1
    assert found.pair("one", HUMAN).kappa.value == 1.0
    body = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert body["matrix"][0][0] is None and body["matrix"][0][2] == 1.0
    assert body["matrix"][0][1] == body["matrix"][1][0] == pytest.approx(pair.kappa.value)
