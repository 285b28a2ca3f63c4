"""States of the screen that are not the main job: nothing to find, loading, a load that failed."""

import gc
import re
import threading
from dataclasses import replace

import pytest
from screen import PATIENCE, dashboard, set_number, tab, until, visitors
from searched import prompt_set

from dapa.core.records import PairError
from dapa.planted.pairs import Planting, plant
from dapa.planted.wiring import ModelShape
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings

pytestmark = pytest.mark.browser


def test_nothing_to_localize_is_told_with_both_scores_and_a_way_on(
    planted_pair, chromium, tmp_path
):
    """The planted models know no word of the general prompts, so no gate can help there."""
    with dashboard(planted_pair, tmp_path) as served:
        page = chromium.new_page()
        page.set_default_timeout(PATIENCE)
        page.add_init_script("localStorage.setItem('dapa-guide', 'closed')")
        page.goto(served.url)
        page.wait_for_selector("#strip [role=gridcell]")
        tab(page, "Search")
        page.click("#search-start")
        page.wait_for_selector("#elsewhere")
        told = page.inner_text("#result")
        assert "Nothing to find here" in told and "--sites" not in told
        assert len(re.findall(r"\d\s% \[\d+, \d+\]", told)) == 2
        asked = served.workbench.jobs()[-1].settings
        page.click("#search-settings button.label-wrap")
        set_number(page, "seed", 7)  # the form has moved on; the button is the result's
        page.click("#elsewhere")
        until(lambda: served.workbench.jobs()[-1].settings.kind == "mlp")
        assert served.workbench.jobs()[-1].settings == replace(asked, kind="mlp")
        assert served.workbench.jobs()[-1].wait(120)
        page.wait_for_selector("#search-start:has-text('Search again')")
        page.close()


def test_where_attention_refuses_a_search_of_gates_says_nothing_here_and_leads_there(
    chromium, tmp_path
):
    """Gates differ in every layer and carry nothing; two heads carry it all."""
    heads = Planting(4, (), heads=((1, 1), (3, 2)))
    pair = plant(heads, shape=ModelShape(heads=4, kv_heads=2)).pair("planted")
    with dashboard(pair, tmp_path) as served, visitors(served, chromium) as enter:
        known, ours = served.workbench.prompts, prompt_set()
        served.workbench.prompts = lambda source=None, role="harmful", column=None: (
            ours if role == "harmful" else known(source, role, column)
        )
        page = enter()
        tab(page, "Search")
        page.click("#search-start")
        page.wait_for_selector("#elsewhere:has-text('Search whole attentions instead')")
        told = page.inner_text("#result")
        assert told.startswith("Nothing to find here")
        where = r"Look next at other kinds of site: whole attentions \(\d+\s% of the gap"
        assert re.search(where, told)
        page.click("#elsewhere")
        page.wait_for_selector("#use")
        job = served.workbench.jobs()[-1]
        assert job.settings.kind == "attention"
        assert {unit.layer for unit in job.report.units} == {1, 3}
        page.wait_for_selector("#elsewhere", state="hidden")
        runs = served.workbench.store.runs()
        nothing = next(run for run in runs if run.outcome == "nothing found")
        tab(page, "Runs")
        page.click(f"#runs [data-run='{nothing.id}']")
        page.click("#run-again:has-text('Open in Search')")
        page.wait_for_selector("#elsewhere:has-text('Search whole attentions instead')")
        assert len(served.workbench.store.runs()) == len(runs), "shown again, not searched again"


def test_a_slow_load_shows_what_it_does_and_a_failed_one_why(chromium, planted_pair, tmp_path):
    with dashboard(None, tmp_path) as served:
        go = threading.Event()

        def slow(spec, progress):
            progress("reading <student>", 0.4)
            if not go.wait(PATIENCE / 1000):
                return
            if spec.student == "wrong":
                raise PairError("wrong does not exist; name another")
            served.workbench._pair = planted_pair

        served.workbench.load = slow
        served.dashboard.load(served.workbench.spec(student="wrong", teacher="teacher"))
        page = chromium.new_page()
        page.set_default_timeout(PATIENCE)
        page.add_init_script("localStorage.setItem('dapa-guide', 'closed')")
        page.goto(served.url)
        page.wait_for_selector("#brand .busy:has-text('reading <student>')")
        page.screenshot(path=tmp_path / "loading.png")
        go.set()
        page.wait_for_selector("#brand .fail:has-text('wrong does not exist')")
        served.dashboard.load(served.workbench.spec(student="right", teacher="teacher"))
        page.wait_for_selector("#strip [role=gridcell]")
        page.wait_for_selector("#heatmap .nsewdrag", state="attached")
        page.close()


def test_a_finished_search_outlives_its_pair_and_a_look_says_that_it_is_gone(chromium, tmp_path):
    made = [plant(Planting(6, needed)).pair("planted") for needed in ((1, 4), (0, 2))]
    with dashboard(None, tmp_path) as served, visitors(served, chromium) as enter:
        bench = served.workbench
        bench._pair = made.pop()  # held by nobody else
        job = SearchJob(bench.pair, prompt_set(), SearchSettings(max_new_tokens=12), bench.store)
        bench._jobs[job.id] = job
        job.run()
        page = enter()
        tab(page, "Search")
        page.wait_for_selector("#result .finding:has-text('layers 0 and 2')")
        bench._pair = made.pop()
        gc.collect()
        page.click("#looks [data-look=necessity]")
        page.wait_for_selector(f".toast-body:has-text('load it again, then open the run {job.id}')")
        assert "layers 0 and 2" in page.inner_text("#result .finding")
        page = enter()
        tab(page, "Search")
        page.wait_for_selector("#result .finding:has-text('layers 0 and 2')")
