"""The null distribution: random sets of equal size, p exact, told before it costs anything."""

import json
import threading
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from searched import searched

from dapa.core.errors import PromptError, SettingError
from dapa.core.masks import Mask, Unit
from dapa.core.measurement import Call, measurements
from dapa.core.records import EMPTY
from dapa.core.statistics import wilson
from dapa.figures.chance import chance_chart
from dapa.measure.chance import Chance, Drawn, chance, draw, pace_of, price, refusal
from dapa.search.engine.inquiry import Inquiry
from dapa.search.engine.oracle import oracle
from dapa.workbench.measurements.chance import ChanceSettings, cost, finding

UNITS = tuple(Unit(layer) for layer in range(20))
FOUND = Mask.of(UNITS[3:7])


def made(found, others, n=40, **more):
    """A distribution out of counts of refusals."""
    drawn = tuple(
        Drawn(Mask.of([Unit(i)]), wilson(k, n), wilson(0, n)) for i, k in enumerate(others)
    )
    told = {"possible": 4844, "units": 20, "complete": True, **more}
    return Chance(FOUND, wilson(found, n), wilson(0, n), wilson(n, n), drawn, **told)


@pytest.fixture(scope="module")
def measured():
    job = searched()
    return chance(job, job.held_out)


def test_the_sets_are_distinct_as_large_as_the_found_one_and_never_the_found_one():
    drawn = draw(UNITS, FOUND, 100, 7)
    assert len(set(drawn)) == 100 and FOUND not in drawn
    assert all(len(mask) == 4 and set(mask) <= set(UNITS) for mask in drawn)
    assert drawn == draw(UNITS, FOUND, 100, 7) != draw(UNITS, FOUND, 100, 8)


def test_where_sets_are_few_all_of_them_are_drawn():
    few = Mask.of(UNITS[:2])
    drawn = draw(UNITS[:6], few, 100, 0)
    every = {Mask.of(pair) for pair in combinations(UNITS[:6], 2)}
    assert set(drawn) == every - {few} and len(drawn) == 14


def test_every_unit_is_drawn_as_often_as_another():
    counts = np.zeros(20)
    for mask in draw(UNITS, FOUND, 2000, 1):
        counts[[unit.layer for unit in mask]] += 1
    assert abs(counts / 2000 - 4 / 20).max() < 0.04


@given(st.integers(0, 40), st.lists(st.integers(0, 40), max_size=60))
def test_p_is_recomputed_by_numpy(found, others):
    told = made(found, others)
    beaten = int((np.array(others, dtype=int) >= found).sum())
    assert told.at_least == beaten
    assert told.p_value == pytest.approx((1 + beaten) / (1 + len(others)))
    assert told.least <= told.p_value <= 1.0


def test_under_the_null_p_is_uniform_or_larger():
    random, m = np.random.default_rng(0), 99
    scores = random.binomial(40, 0.4, size=(2000, m + 1))
    p = (1 + (scores[:, 1:] >= scores[:, :1]).sum(1)) / (1 + m)
    mine = [made(int(row[0]), row[1:].tolist()).p_value for row in scores[:50]]
    assert np.allclose(mine, p[:50])
    assert (p <= 0.05).mean() <= 0.06 and (p <= 0.5).mean() <= 0.53


def test_a_planted_pair_has_no_other_set_that_refuses_as_much(measured):
    job = searched()
    assert measured.every and len(measured.sets) == measured.possible == 14
    assert measured.at_least == 0 and measured.p_value == pytest.approx(1 / 15)
    assert measured.found.n == len(job.held_out) and measured.student.value == 0.0
    split = oracle(job.pair, job.held_out, job.settings.format(), 12, job.store)
    asked = Inquiry(split, "full")
    asked.judge([d.mask for d in measured.sets] + [EMPTY])
    for drawn in measured.sets:
        assert drawn.dsr.value == np.mean(asked.refused(drawn.mask))
    json.dumps(measured.as_dict(), allow_nan=False)


def test_the_same_again_is_answered_from_the_store(measured, monkeypatch):
    job = searched()

    def never(*_):
        raise AssertionError("nothing is decoded twice")

    monkeypatch.setattr("dapa.search.engine.pair_runner.Batch", never)
    assert chance(job, job.held_out) == measured


def test_a_stop_keeps_the_sets_judged_by_then_and_says_so(monkeypatch):
    job, stop = searched(), threading.Event()
    monkeypatch.setattr("dapa.measure.chance.row_capacity", lambda pair: 6)

    def told(what, share):
        if share > 0.3:
            stop.set()

    part = chance(job, job.held_out, seed=3, progress=told, stop=stop)
    assert not part.complete and 0 < len(part.sets) < 14
    one = measurements["chance"]
    shown = one.describe(SimpleNamespace(found=part))
    assert "Stopped early" in shown.warnings[0]


def test_what_has_no_null_distribution_is_told_with_what_to_do():
    job = searched()
    with pytest.raises(PromptError, match="chose nothing"):
        chance(job, ())
    alike = {"units": job.units, "held_out": job.held_out, "report": job.report}
    whole = replace(job.report, units=job.units)
    assert refusal(job) == ""
    assert "search more units" in refusal(SimpleNamespace(**{**alike, "report": whole}))
    assert "larger prompt set" in refusal(SimpleNamespace(**{**alike, "held_out": ()}))
    empty = SimpleNamespace(**{**alike, "report": None})
    assert "run a search to its end" in refusal(empty)
    with pytest.raises(SettingError, match="run a search"):
        chance(empty, job.held_out)
    with pytest.raises(SettingError, match="random sets is 20"):
        ChanceSettings(sets=20)


def test_the_cost_is_told_from_the_searchs_own_pace():
    job = searched()
    told = price(job, len(job.held_out))
    assert (told.sets, told.replies) == (14, 14 * len(job.held_out))
    whole = [t for t in job.report.trials if t.phase in ("full-length", "held-out") and t.tokens]
    pace = sum(t.seconds for t in whole) / sum(t.outcome.judged for t in whole)
    assert told.seconds == pytest.approx(pace * told.replies)
    line = cost(job, ChanceSettings(most=4))
    assert "All 14 other sets x 4 held-out prompts = 56 whole replies" in line
    recalled = replace(job.report, trials=(), costs=replace(job.report.costs, prompts_judged=0))
    assert pace_of(recalled) is None
    none = SimpleNamespace(units=job.units, report=recalled, held_out=job.held_out)
    assert "measured no pace" in cost(none, ChanceSettings())


def test_the_sentence_says_what_a_large_p_means_and_when_sets_were_too_few():
    assert "sits matters" in finding(made(40, [10] * 100))
    large = finding(made(20, [10] * 50 + [30] * 50))
    assert "50 of 100 random sets" in large and "not shown to matter" in large
    assert "2502.11447" in large
    assert "can show no p below 0.067" in finding(made(40, [1] * 14))


def test_the_histogram_holds_every_set_and_marks_found_student_and_full():
    figure = chance_chart(made(38, [0, 1, 2, 20, 39, 40]))
    bars, *lines = figure.data
    assert sum(bars.y) == 6 and max(bars.x) <= 1.0
    assert {line.name: line.x[0] for line in lines} == {
        "student": 0.0, "every unit": 1.0, "found set": 38 / 40,
    }  # fmt: skip
    few = chance_chart(made(3, [0, 1, 2, 3], n=3))
    assert sum(few.data[0].y) == 4 and len(few.data[0].x) == 3


def test_the_measurement_asks_as_many_prompts_as_it_is_told():
    job = searched()
    call = Call(None, ChanceSettings(most=5), lambda *_: None, threading.Event(), job=job)
    record = measurements["chance"].measure(call)
    assert record.found.found.n == 5
    head, rows = record.table()
    assert [row[0] for row in rows[:3]] == ["found", "student", "full"] and len(rows) == 17
    assert len(head) == len(rows[0])
