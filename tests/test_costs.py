"""The costs of a search say everything that was counted, for screen and terminal alike."""

from searched import searched

from dapa.cli.searching import told
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
