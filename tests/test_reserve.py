"""Firm is shown on prompts that the limit of a search left out, and on those alone."""

import pytest
from rich.table import Table
from searched import AND, planted_pair, prompt_set

from dapa.cli.searching import told
from dapa.core.records import StoreError
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.search.setup import RESERVED, divided
from dapa.store.runs import Store
from dapa.ui.tabs.search import result


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    settings = SearchSettings(max_new_tokens=12, prompt_limit=5)
    job = SearchJob(
        planted_pair(AND), prompt_set(), settings, Store(tmp_path_factory.mktemp("reserve"))
    )
    job.run()
    return job


def test_a_set_is_divided_into_three_parts_that_share_nothing():
    whole = divided(prompt_set(), 0, None)
    assert whole.reserve == () and len(whole.search) == len(whole.held_out) == 12
    some = divided(prompt_set(), 0, 5)
    assert len(some.search) == 5 and some.held_out == whole.held_out
    assert {*some.search, *some.reserve} == {*whole.search} and len(some.reserve) == 7
    assert len(divided(prompt_set(500), 0, 5).reserve) == RESERVED


def test_prompts_that_chose_nothing_make_a_removal_firm_by_themselves(limited):
    lines = limited.report.removals
    assert [(line.outcome.asked, line.flips > 0) for line in lines] == [(5, True)] * 2
    assert all(line.firm and line.more == 7 for line in lines)
    assert {(line.basis, line.whole) for line in lines} == {("reserve", True)}
    alone = 2 * 2 * 0.5**7  # exact McNemar, 7 to 0; Holm over two; the five add nothing
    assert [line.p_value for line in lines] == pytest.approx([alone] * 2)
    phases = limited.report.costs.phases
    assert "reserve" in {trial.phase for trial in limited.progress().trials} and phases["reserve"]
    assert limited.report.rates["best"].n == 5, "they choose nothing"


def test_screen_and_command_line_tell_of_them(limited):
    html = result.draw(limited.report, "gate", 6, limited.share.fraction)
    assert html.count("on 7 reserve prompts") == 2 and html.count("■ firm") == 2
    table = [part for part in told(limited, limited.report) if isinstance(part, Table)][1]
    assert [str(cell) for column in table.columns for cell in column.cells].count(
        "firm, 7 reserve prompts asked"
    ) == 2


def test_held_out_prompts_are_capped_evenly_and_only_where_more_are_left():
    every = divided(prompt_set(500), 0, None)
    some = divided(prompt_set(500), 0, None, most=100)
    assert len(every.held_out) > 100 == len(some.held_out)
    assert set(some.held_out) < set(every.held_out) and some.search == every.search
    assert divided(prompt_set(500), 0, None, most=len(every.held_out)) == every


def test_a_run_from_before_held_out_prompts_were_capped_goes_on_with_all_of_them(tmp_path):
    store, many, pair = Store(tmp_path), prompt_set(210), planted_pair(AND)
    short = SearchSettings(max_new_tokens=12, prompt_limit=5, certify=None)
    before = SearchJob(pair, many, short, store)
    capped = SearchSettings.from_dict(before.settings.as_dict() | {"certify": 100})
    again = SearchJob(pair, many, capped, store, before.id)
    assert len(again.held_out) == len(before.held_out) == 105 and again.id == before.id
    assert again.prompts == before.prompts
    assert len(SearchJob(pair, many, capped, store).held_out) == 100, "a new one is capped"
    with pytest.raises(StoreError, match="its prompts changed since"):
        SearchJob(pair, prompt_set(208), capped, store, before.id)
