"""A search's result is one record: what is written is read back, of older versions too."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from searched import searched
from test_driver import UNITS, drive, erratic, needs, uneven

from dapa.cli.comparing import compared
from dapa.core.records import Mask, Outcome, SettingError, Trial
from dapa.search.engine.report import SearchReport
from dapa.search.settings import SearchRules, SearchSettings
from dapa.share.report import said
from dapa.store.runs import Store

WRITTEN = Path(__file__).parent / "data" / "written_by_0_1"


def again(report: SearchReport) -> SearchReport:
    return SearchReport.from_dict(json.loads(json.dumps(report.as_dict(), allow_nan=False)))


@given(seed=st.integers(0, 1000), world=st.sampled_from([uneven, erratic]), held=st.integers(0, 9))
@settings(max_examples=12, deadline=None)
def test_a_report_is_read_back_as_it_was_written(seed, world, held):
    report = drive(world(seed), prompts=24, held_out=held, supersets=6).run()
    read = again(report)
    assert read.as_dict() == report.as_dict()
    assert (read.removals, read.rechecks, read.violations) == (
        report.removals, report.rechecks, report.violations
    )  # fmt: skip
    assert read.costs == report.costs and read.rates == report.rates


def test_a_search_s_report_has_what_it_moves_and_the_store_has_the_same():
    job = searched()
    assert job.report.moves["units"] == job.total == 6
    stored = dict(job.store.run(job.id).result)
    assert set(stored.pop("over_kinds")) == set(job.over_kinds), "beside the report"
    assert again(job.report).as_dict() == job.report.as_dict() == stored
    logged = [Trial.from_dict(body) for body in job.store.trials(job.id)]
    assert logged == list(job.report.trials)


def test_a_job_hands_its_settings_to_the_driver_as_they_are():
    job = searched()
    assert job.report.settings == job.settings.rules()
    assert set(job.report.settings) == {field.name for field in fields(SearchRules)}
    declared = [set(cls.__annotations__) for cls in (SearchRules, SearchSettings)]
    assert not declared[0] & declared[1], "no setting is declared twice"
    with pytest.raises(SettingError, match="minimum gain"):
        SearchSettings(minimum_gain=1.5)


@given(retain=st.floats(0.01, 1), supersets=st.integers(0, 9), tests=st.none() | st.integers(1, 99))
def test_settings_are_read_back_as_a_run_keeps_them(retain, supersets, tests):
    chosen = SearchSettings(retain=retain, supersets=supersets, max_tests=tests, blocks=3)
    kept = json.loads(json.dumps({**asdict(chosen), "made": {}, "of a later version": 1}))
    assert SearchSettings.from_dict(kept) == chosen


def test_a_curtailed_trial_is_read_back_with_its_bounds():
    outcome = Outcome(Mask.of(UNITS[:2]), 40, 11, 0, satisfied=False)
    trial = Trial(3, outcome, "search", False, 4, seconds=0.5, tokens=70)
    assert Trial.from_dict(json.loads(json.dumps(trial.as_dict()))) == trial
    assert trial.as_dict()["mask"] == "0.gate,1.gate"


def test_a_stopped_search_without_a_target_is_read_back_too():
    driver = drive(needs(3, 5))
    driver.control.stop()
    report = driver.run()
    assert not report.one_minimal and again(report).as_dict() == report.as_dict()


def test_results_and_settings_of_0_1_are_read_and_nothing_of_them_is_lost(tmp_path):
    body = json.loads((WRITTEN / "search.json").read_text(encoding="utf-8"))
    run = body.pop("run")
    assert SearchReport.from_dict(body).as_dict() == body
    (tmp_path / "dapa.sqlite3").write_bytes((WRITTEN / "dapa.sqlite3").read_bytes())
    stored = [run for run in Store(tmp_path).runs() if run.kind == "search"]
    assert run in {one.id for one in stored}
    for one in stored:
        report, kept = SearchReport.from_dict(one.result), SearchSettings.from_dict(one.settings)
        assert report.as_dict() == one.result
        assert (kept.algorithm, kept.retain) == (report.algorithm, report.settings["retain"])
        newer = replace(one, settings={**one.settings, **asdict(kept)})
        assert compared(one, newer)["settings"] == {}, "a rule that it did not keep is the default"
        trials = Store(tmp_path).trials(one.id)
        assert trials and [Trial.from_dict(trial).as_dict() for trial in trials] == trials


def test_who_answers_a_harmless_request_of_a_report_does_not_comply():
    row = {"model": "patched", "reply": "Here is how.", "verdict": "compliance"}
    told = {measure: said({**row, "measure": measure}, False) for measure in ("dsr", "borderline")}
    assert told["borderline"]["verdict"] == "answered" and told["borderline"]["text"]
    assert told["dsr"]["verdict"] == "compliance" and told["dsr"]["hidden"]
