"""The main job on the real pair in Chromium: picked, mapped, searched, used, asked, presented."""

import os
from pathlib import Path

import pytest
from screen import ask, choose, dashboard, layers_on, set_number, tab, until, visitors

pytestmark = [pytest.mark.browser, pytest.mark.full]  # minutes, and 93 MB to fetch
PAIR = "smollm2-concentrated"
LONG = 600
"""Seconds: on two cores that others use too."""
BLUR = "(node) => getComputedStyle(node).filter"


@pytest.fixture
def shot(tmp_path):
    """Keeps a picture of each step, in DAPA_SHOTS where that is set."""
    place = Path(os.environ.get("DAPA_SHOTS") or tmp_path)
    place.mkdir(parents=True, exist_ok=True)

    def take(page, name):
        page.mouse.move(0, 0)
        page.screenshot(path=place / f"{name}.png")

    return take


def test_the_whole_main_job_on_the_real_pair(real_base, toy_pair, chromium, tmp_path, shot):
    with dashboard(toy_pair, tmp_path) as served, visitors(served, chromium) as enter:
        bench = served.workbench
        page = enter()
        page.set_default_timeout(1000 * LONG)
        page.click("#change-pair")
        page.get_by_label("named pair", exact=True).click()
        page.get_by_role("option").filter(has_text=PAIR).click()
        until(lambda: PAIR in page.get_by_label("named pair", exact=True).input_value())
        shot(page, "1-picked")
        page.click("#load-pair")
        page.wait_for_selector("#brand .chip:has-text('smollm2+concentrated')")
        until(lambda: page.locator("#strip .strip-row:first-child [data-layer]").count() == 30)
        assert "smollm2" in page.inner_text("#brand") and not bench.is_toy

        page.wait_for_selector("#heatmap .js-plotly-plot .nsewdrag", state="attached")
        shot(page, "2-map")

        tab(page, "Search")
        page.click("#search-settings button.label-wrap")
        choose(page, "what to claim", "exact: a threshold on the search prompts")
        choose(page, "kind of site", "whole MLP")
        set_number(page, "prompt limit (0: no limit)", 30)
        set_number(page, "max new tokens", 20)
        set_number(page, "tests at most (0: no limit)", 8)
        until(lambda: "Exact mode" in page.inner_text("#plan"))
        shot(page, "3-planned")
        page.click("#search-start")
        page.wait_for_selector("#search-stop, #use")
        shot(page, "4-searching")
        page.wait_for_selector("#use")
        page.locator("#result").scroll_into_view_if_needed()
        shot(page, "5-found")
        report = bench.jobs()[-1].report
        assert {unit.kind for unit in report.units} == {"mlp"}
        assert set(report.layers) <= set(range(10, 15)), "its adapter moves no other layer"
        assert report.rates["full"].value > report.rates["student"].value + 0.1
        page.click("#use")
        until(lambda: layers_on(page) == list(report.layers))

        tab(page, "Chat")
        page.click("#chat-settings button.label-wrap")
        page.get_by_label("Blur replies until asked for").check()
        page.click("#chat-settings button.label-wrap")
        harmful = bench.prompts(None, "harmful").prompts
        ask(page, next(p.text for p in harmful if p.split != "search"))
        for name in ("student", "patched", "teacher"):
            pane = page.locator(f"#panes .pane.{name}")
            refused = "refusal" in (pane.locator("summary .badge").get_attribute("class") or "")
            assert ("blur" in pane.locator(".text").evaluate(BLUR)) is not refused, name
        shot(page, "6-chat")

        page.click("#present")
        line, go = page.locator(".story-line"), page.locator(".story-buttons .primary-action")
        until(lambda: "blurred" in line.inner_text(), LONG)
        shot(page, "7-presented")
        go.click()
        until(lambda: "The reply turns" in line.inner_text(), LONG)
        assert layers_on(page) == list(report.layers)
        go.click()
        until(lambda: "flip layer" in line.inner_text() or "No single" in line.inner_text(), LONG)
        assert page.locator("#strip .flips").count()
        page.keyboard.press("Escape")
        page.wait_for_selector("#composer", state="visible")

        tab(page, "Evaluate")
        page.click("#eval-settings button.label-wrap")
        set_number(page, "prompt limit (0: no limit)", 6)
        page.click("#eval-start")
        page.wait_for_selector("#eval-table tbody tr")
        shown = page.inner_text("#eval-table")
        assert "patched" in shown and "perplexity" in shown
        shot(page, "8-evaluated")
