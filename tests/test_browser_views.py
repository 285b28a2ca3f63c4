"""The views of a pair in Chromium: each is measured, drawn, told and given as a file."""

import json
import time
from dataclasses import replace

import pytest
from screen import click_cell, dashboard, layers_on, tab, until, visitors

from dapa.prompts.settings import OFFERED
from dapa.ui.tabs.localize.pairviews import offered
from dapa.workbench.measurements import measurements

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def board(toy_pair, tmp_path_factory):
    """A dashboard that asks six prompts where a form is left as it is, so that tests are quick."""
    with dashboard(toy_pair, tmp_path_factory.mktemp("runs")) as served:
        every = served.workbench.search_set

        def few(asked, role="harmful"):
            most = 6 if asked.prompt_limit == OFFERED else asked.prompt_limit
            return every(replace(asked, prompt_limit=most), role)

        whole = served.workbench.named_set

        def of_both_parts(asked, role="harmful"):
            found = whole(asked, role)
            if asked.prompt_limit != OFFERED:
                return found
            parts = found.split(asked.seed)
            return replace(found, prompts=(*parts.search[:6], *parts.held_out[:6]))

        served.workbench.search_set = few
        served.workbench.named_set = of_both_parts
        yield served


@pytest.fixture
def visit(board, chromium):
    with visitors(board, chromium) as enter:
        yield lambda **options: enter(accept_downloads=True, **options)


def measured(page, name):
    page.click(f"#views [data-look={name}]")
    page.wait_for_selector(f"#views [data-look={name}][aria-pressed=true]")
    if measurements[name].cost is not None:
        page.click("#view [data-do=again]:text-is('measure now')")
    page.wait_for_function("() => /measure again/.test(document.querySelector('#view').innerText)")


def test_a_new_pair_first_shows_where_its_gap_sits(board, visit):
    page = visit()
    page.wait_for_selector("#view .finding")
    assert page.get_attribute("#views [data-look=gap]", "aria-pressed") == "true"
    assert "gates alone bring" in page.inner_text("#view .finding")
    page.wait_for_selector("#view-plot .js-plotly-plot")


def test_each_view_is_measured_drawn_and_told(board, visit):
    page = visit()
    page.wait_for_selector("#view .finding")
    page.wait_for_selector("#view-plot .js-plotly-plot")
    for name in offered():
        before = "" if name == "gap" else page.text_content("#view-plot")
        page.click(f"#views [data-look={name}]")
        heading = measurements[name].heading.split("’")[0]
        until(lambda h=heading: h in page.inner_text("#view h2"))
        if measurements[name].cost is not None:
            page.click("#view [data-do=again]:text-is('measure now')")
        until(lambda: "measure again" in page.inner_text("#view"))
        until(lambda b=before: page.text_content("#view-plot") not in (None, "", b))
        until(lambda: "toy-gate" in (page.text_content("#view-plot .infolayer") or ""))
        assert page.locator("#view .note").count() >= 1, name


def test_a_cell_opens_its_prompts_with_replies_and_presses_its_layer(board, visit):
    page = visit()
    page.wait_for_selector("#view .finding")
    measured(page, "patching")
    click_cell(page, "#view-plot", 6.5 / 12, 2.5 / 6)
    until(lambda: "Layer 6, MLP out" in page.inner_text("#view-cell"))
    assert not layers_on(page), "the first press reads"
    click_cell(page, "#view-plot", 6.5 / 12, 2.5 / 6)
    until(lambda: layers_on(page) == [6])
    page.wait_for_selector("#view-cell details .badge", state="attached")
    prompt = page.inner_text("#view-cell [data-prompt] >> nth=0")
    page.click("#view-cell [data-prompt] >> nth=0")
    until(lambda: page.input_value("#prompt textarea") == prompt)


def test_shift_takes_a_range_of_layers_on_the_map(board, visit):
    page = visit()
    click_cell(page, "#heatmap", 2.5 / 12, 0.6)
    until(lambda: "Layer 2" in page.inner_text("#cell"))
    page.keyboard.down("Shift")
    click_cell(page, "#heatmap", 5.5 / 12, 0.6)
    page.keyboard.up("Shift")
    until(lambda: layers_on(page) == [2, 3, 4, 5])
    click_cell(page, "#heatmap", 8.5 / 12, 0.6)
    until(lambda: "Layer 8" in page.inner_text("#cell"))
    assert layers_on(page) == [2, 3, 4, 5]


def test_a_view_is_given_as_html_csv_and_json_with_its_provenance(board, visit):
    page = visit()
    page.wait_for_selector("#view .finding")
    measured(page, "summary")
    texts = {}
    for word in ("HTML", "CSV", "JSON"):
        with page.expect_download() as given:
            page.click(f"#view-{word}")
        texts[word] = given.value.path().read_text(encoding="utf-8")
    assert "summary by layer" in texts["HTML"] and "default-src 'none'" in texts["HTML"]
    assert texts["CSV"].startswith("# toy-student ← toy-gate · summary by layer, sites gate")
    body = json.loads(texts["JSON"])
    assert len(body["rows"]) == 12 and "summary by layer" in body["provenance"]
    page.click("#view .sortable th >> nth=3")
    column = page.locator("#view .sortable tbody tr td:nth-child(4)").all_inner_texts()
    values = [float(text.replace("−", "-")) for text in column]
    assert values == sorted(values, reverse=True)


def test_another_way_to_measure_and_another_seed_are_other_measurements(board, visit):
    page = visit()
    page.wait_for_selector("#view .finding")
    measured(page, "patching")
    first = page.inner_text("#view .finding")
    page.click("#view-patching-settings button.label-wrap")
    page.click("#view-patching-into input")
    page.get_by_role("option", name="student’s into the teacher").click()
    until(lambda: "student's activations in the teacher" in (page.text_content("#view-plot") or ""))
    assert page.inner_text("#view .finding") == first, "the whole gap is the same either way"
    page.locator("#view-patching-prompt-limit input").fill("5")
    page.locator("#view-patching-prompt-limit input").press("Tab")
    until(lambda: "5 prompts" in page.inner_text("#view-patching-settings button.label-wrap"))
    page.click("#views [data-look=patching]")
    until(lambda: "n = 5 prompts" in page.inner_text("#view"))
    measured(page, "gap")
    assert not page.locator("#view-patching-settings").is_visible()
    page.wait_for_selector("#view-gap-settings")
    page.click("#views [data-look=patching]")  # each keeps its own settings
    until(lambda: "n = 5 prompts" in page.inner_text("#view"))


def test_a_phone_sees_the_views_without_sideways_scrolling(board, visit):
    page = visit(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 844})
    tab(page, "Localize")
    page.wait_for_selector("#view .finding")
    measured(page, "summary")
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_long_sweep_tells_how_far_it_is_and_stops_with_what_it_has(board, visit, monkeypatch):
    from dapa.localize.divergence import sweep as room

    plain = room.Sweep.run

    def slow(sweep, rows, tally):
        time.sleep(1.5)
        return plain(sweep, rows, tally)

    page = visit()
    page.wait_for_selector("#heatmap .nsewdrag", state="attached")
    monkeypatch.setattr(room.Sweep, "run", slow)
    page.click("#map-settings button.label-wrap")
    page.locator("#map-prompt-limit input").fill("144")
    page.locator("#map-prompt-limit input").press("Enter")
    page.wait_for_selector("#map-head [data-do=stop]")
    until(lambda: "prompts:" in page.inner_text("#map-head"))
    page.click("#map-head [data-do=stop]")
    until(lambda: "layer by layer" in page.inner_text("#map-head"))
    counted = int(page.inner_text("#map-head").split("Over ")[1].split(" ")[0])
    assert 0 < counted < 144
    with page.expect_download() as given:
        page.click("#map-CSV")
    assert f"{counted} prompts of" in given.value.path().read_text(encoding="utf-8").splitlines()[0]
