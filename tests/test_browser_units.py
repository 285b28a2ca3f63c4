"""Attention heads in Chromium: searched, put on the strip, read and changed as text, and asked."""

import re

import pytest
from screen import answers, ask, choose, count, dashboard, tab, typed, until, visitors
from searched import prompt_set
from test_planted_heads import HEADS, SHAPE

from dapa.planted.pairs import harmful_prompts, plant

pytestmark = pytest.mark.browser
FOUND = "1.head[1],3.head[2]"


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """The pair whose heads are planted, with prompts that it can read."""
    with dashboard(plant(HEADS, shape=SHAPE).pair(), tmp_path_factory.mktemp("runs")) as served:
        served.workbench.prompts = lambda *_, **__: prompt_set()
        yield served


@pytest.fixture
def page(board, chromium):
    with visitors(board, chromium) as enter:
        yield enter()


def field(page):
    return page.locator("#strip [data-units]")


def write(page, text):
    field(page).fill(text)
    typed(page)
    field(page).press("Enter")


def test_heads_are_searched_used_changed_as_text_and_asked(board, page):
    tab(page, "Search")
    page.click("#search-settings button.label-wrap")
    choose(page, "kind of site", "attention heads (query and output)")
    page.click("#search-start")
    page.wait_for_selector("#use", timeout=240_000)
    report = board.workbench.jobs()[-1].report
    assert ",".join(map(str, report.units)) == FOUND
    told = page.inner_text("#result")
    assert "2 of 12 attention heads" in told and "1.head[1]" in told
    assert re.search(r"moves [\d,]+ parameters", told)

    page.click("#use")
    until(lambda: "2 units in 2 of 4" in count(page))
    page.click("#strip [data-op=open]")
    until(lambda: field(page).input_value() == FOUND)
    part = page.locator("#strip .strip-row:first-child [data-layer='1']")
    assert part.get_attribute("aria-pressed") == "mixed"
    assert "1.head[1]" in part.get_attribute("aria-label")

    tab(page, "Chat")
    prompt = harmful_prompts(1)[0]
    ask(page, prompt)
    assert answers(page)["patched"][1] == "refusal"
    write(page, "1.head[1]@0.05,3.head[2],0.gate~3")
    until(lambda: "squared difference" in count(page))
    until(lambda: answers(page)["patched"][1] == "compliance")
    write(page, "1.head[9]")
    until(lambda: "1.head[0] to 1.head[3]" in page.inner_text("body"))
    assert "squared difference" in count(page)  # what was there stays
