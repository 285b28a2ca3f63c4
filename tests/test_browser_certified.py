"""A confidence search in Chromium, on a planted pair: planned, watched, read, used, reopened."""

import pytest
from screen import choose, dashboard, layers_on, tab, until, visitors

from dapa.core.records import Prompt
from dapa.planted.pairs import Planting, harmful_prompts, harmless_prompts, plant
from dapa.prompts.sets import PromptSet

pytestmark = pytest.mark.browser
NEEDED = (2, 5)
CATEGORIES = ("fraud", "weapons", "drugs", "theft", "malware", "hate")


def the_set(role):
    make = harmful_prompts if role == "harmful" else harmless_prompts
    texts = make(180 if role == "harmful" else 20)
    prompts = (Prompt(text, CATEGORIES[i % 6]) for i, text in enumerate(texts))
    return PromptSet("planted", role, tuple(prompts))


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    pair = plant(Planting(8, NEEDED, distractors=(1,))).pair()
    with dashboard(pair, tmp_path_factory.mktemp("runs")) as served:
        sets = {role: the_set(role) for role in ("harmful", "harmless")}
        others = served.workbench.prompts
        served.workbench.prompts = lambda source=None, role="harmful", column=None: (
            sets[role] if role in sets else others(source, role, column)
        )
        yield served


def test_a_quick_search_is_planned_watched_read_used_and_reopened(board, chromium):
    with visitors(board, chromium) as enter:
        page = enter()
        tab(page, "Search")
        until(lambda: "Exact mode" in page.inner_text("#plan"))  # a planted pair's default
        page.click("#search-settings button.label-wrap")
        choose(page, "what to claim", "quick form: a first look, margin 10 points")
        until(lambda: "60 prompts choose, 100 certify" in page.inner_text("#plan"))

        page.click("#search-start")
        page.wait_for_selector("#result .stages li[aria-current=step], #use")
        page.wait_for_selector("#use")
        until(lambda: "Concentrated: 2 of 8 gates" in page.inner_text("#result"))
        assert "on 100 prompts that chose nothing" in page.inner_text("#result")
        page.wait_for_selector("#certified-chart .js-plotly-plot .legendtext")
        legend = page.locator("#certified-chart .legendtext").all_text_contents()
        assert {"the set", "all units", "student", "10 points below"} <= set(legend)
        firm = page.eval_on_selector_all(
            "#certified .units .firm", "cells => cells.map((cell) => parseInt(cell.textContent))"
        )
        assert tuple(firm) == NEEDED
        assert "100 that chose nothing" in page.inner_text("#certified")

        page.set_viewport_size({"width": 390, "height": 844})
        until(lambda: page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
        page.set_viewport_size({"width": 1280, "height": 860})

        page.click("#use")
        until(lambda: layers_on(page) == list(NEEDED))
        page.click("#repeat")
        until(lambda: "Chosen again in 10 other orders" in page.inner_text("#result"))
        assert "Always in: layers 2, 5" in page.inner_text("#result .agreed")

        said = page.inner_text("#certified")
        tab(page, "Runs")
        page.click("#runs [data-run] >> nth=0")
        until(lambda: "Concentrated: 2 of 8 gates" in page.inner_text("#run"))
        until(lambda: page.inner_text("#run-certified") == said)  # Gradio tells "processing" first
        page.wait_for_selector("#run-chart .js-plotly-plot .legendtext")
        assert "gates · quick form" in page.inner_text("#runs")
        assert "Always in: layers 2, 5" in page.inner_text("#run .agreed")
