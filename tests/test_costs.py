"""The costs of a search say everything that was counted, for screen and terminal alike."""

from types import SimpleNamespace

from searched import searched

from dapa.cli.searching import told
from dapa.core.masks import Mask, Unit
from dapa.core.rates import Rate
from dapa.search.engine.checked import Recheck
from dapa.share import story
from dapa.ui.tabs.search import result
from dapa.writing.costs import PHASES, cost_lines

BODY = {
    "tests": 19, "memo_hits": 1, "speculative": 5, "prompts_judged": 2357, "prompts_spared": 453,
    "recalled": 9, "tokens": 29104, "seconds": 10.1, "gpu_seconds": 20.2, "eta_error": 0.065,
    "phases": {"": 0.1, "held-out": 1.5, "opening": 0.5, "of a later version": 2.0},
    "work": {"prefilled": 11000.0, "reused": 33000.0},
}  # fmt: skip


def test_every_count_is_told():
    lines = dict(cost_lines(BODY))
    assert lines["tests"].startswith("19; 5 more")
    assert lines["replies"] == "2,357 judged, 453 spared by stopping early, 9 recalled"
    assert lines["prompt tokens"].replace("\u202f", " ") == "11,000 read, 33,000 reused (75 %)"
    assert lines["GPUs"] == "20.2 GPU-seconds"
    assert "7" in lines["guesses of the whole time"]


def test_phases_stand_in_the_order_of_a_search_unknown_ones_last():
    told = [what for what, _ in cost_lines(BODY) if what.startswith("– ")]
    assert told == ["– before the search", "– held-out prompts", "– of a later version"]
    assert [*PHASES][-1] == "held-out"


def test_a_run_that_counted_nothing_has_a_bill_too():
    assert dict(cost_lines({}))["tests"] == "0"


def test_a_real_search_s_phases_sum_to_its_time_on_screen_and_in_the_terminal():
    job = searched()
    body = job.report.as_dict()
    assert abs(sum(body["phases"].values()) - body["seconds"]) < 0.1 * body["seconds"] + 0.05
    assert set(body["phases"]) - {""} <= set(PHASES)
    html = result.draw(job.report, "gate", job.total, None)
    assert "What it cost" in html and "– certificate" in html
    rows = [
        column.header for part in told(job, job.report) for column in getattr(part, "columns", ())
    ]
    assert "cost" in [str(head) for head in rows]


def test_a_report_tells_what_was_known_beforehand():
    def said(**counts):
        run = SimpleNamespace(result=BODY | counts)
        return story._cost(SimpleNamespace(search=run))

    assert said().startswith("19 tests, 2,357 replies judged and 9 verdicts recalled, 29,104")
    assert said(recalled=0).startswith("19 tests, 2,357 replies judged, 29,104")
    known = said(prompts_judged=0, recalled=2071, tokens=0, seconds=0.4)
    assert "all 2,071 verdicts were known from an earlier run" in known
    assert "0 replies" not in known and "0.4" not in known


def test_a_report_tells_where_whole_replies_say_else_than_openings():
    def said(lost, gained):
        line = Recheck("best", Mask.of([Unit(1)]), Rate(0.66, 0.56, 0.75, 100), lost, gained, True)
        report = SimpleNamespace(rates={}, rechecks=(line,))
        return story._warnings(SimpleNamespace(report=report, search=None))

    assert said(0, 0) == []
    (line,) = said(0, 5)
    assert "66" in line and "100 replies" in line and line.endswith("comply, 5 refuse only later.")
