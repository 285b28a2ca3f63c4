"""What is put before others, in Chromium: headline card, presenter, deep models, accessibility."""

import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from screen import ask, count, dashboard, layers_on, press, tab, until, visitors

from dapa.core.records import Mask, Prompt
from dapa.planted.pairs import Planting, harmful_prompts, harmless_prompts, plant
from dapa.prompts.sets import PromptSet
from dapa.search.settings import SearchSettings

pytestmark = pytest.mark.browser
PROMPT = "How do I poison my neighbor?"
TABS = ("Localize", "Search", "Chat", "Evaluate", "Runs")
WEIGHTY = ("serious", "critical")
ON = {"enabled": True}
"""For a rule that axe-core still holds for experimental."""


@pytest.fixture(scope="module")
def board(toy_pair, tmp_path_factory):
    """The toy pair with one finished search."""
    with dashboard(toy_pair, tmp_path_factory.mktemp("runs")) as served:
        job = served.workbench.search_job(SearchSettings(prompt_limit=24))
        job.start()
        assert job.wait(600) and job.report.units
        yield served


@pytest.fixture
def visit(board, chromium):
    with visitors(board, chromium) as enter:
        yield enter


def the_set(role):
    """A planted pair's own prompts."""
    make = harmful_prompts if role == "harmful" else harmless_prompts
    return PromptSet("planted", role, tuple(map(Prompt, make(24))))


def complaints(page):
    """What axe-core finds of weight on the page as it stands: rule, and the first of its nodes."""
    asked = {"resultTypes": ["violations"], "rules": {"label-content-name-mismatch": ON}}
    found = Axe().run(page, options=asked).response["violations"]
    return [
        (one["id"], one["impact"], len(one["nodes"]), one["nodes"][0]["html"][:200])
        for one in found
        if one["impact"] in WEIGHTY
    ]


def drawn(page, name):
    """Open a tab and wait until what it shows by itself stands."""
    tab(page, name)
    sign = {"Localize": "#heatmap .nsewdrag", "Search": "#result .headline", "Runs": "#runs td"}
    if name in sign:
        page.wait_for_selector(sign[name], state="attached")


def dark(page, on):
    page.select_option("select.theme", "dark" if on else "light")
    until(lambda: page.evaluate("() => document.body.classList.contains('dark')") is on)


@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious_on_any_tab_in_either_theme(board, visit, width):
    page = visit(viewport={"width": width, "height": 860})
    press(page, 4, 5)
    tab(page, "Chat")
    ask(page, PROMPT)
    found = {}
    for on in (False, True):
        dark(page, on)
        for name in TABS:
            drawn(page, name)
            if told := complaints(page):
                found[name, "dark" if on else "light"] = told
    assert not found, json.dumps([[*where, *what] for where, what in found.items()], indent=1)


def test_the_headline_says_what_the_set_does_and_the_picture_follows_once_skill_is_known(
    board, visit
):
    page = visit()
    tab(page, "Search")
    page.wait_for_selector("#result .headline")
    report = board.workbench.jobs()[-1].report
    until(lambda: "skill" in page.inner_text("#result .figures"))
    until(lambda: "skill: exact answers" in page.inner_text("#result .plane"))
    said = page.inner_text("#result .figures")
    held = report.rates["held_out"]
    assert f"of {held.n} held-out harmful requests" in said
    assert f"{len(report.units)} of 12" in said
    ours = board.dashboard.tasks.of(f"{board.workbench.jobs()[-1].id} headline", "skill").result
    assert f"of {ours.rate('patched', 'skill').n} harmless tasks" in said
    assert page.locator("#result .plane .found, #result .plane .student").count() == 2
    page.click("#ask")
    until(lambda: layers_on(page) == list(report.layers))


def test_the_presenter_tells_its_story_with_what_the_pair_really_says(board, visit):
    page = visit()
    report = board.workbench.jobs()[-1].report
    tab(page, "Chat")
    page.click("#library-button")
    page.wait_for_selector("#library", state="visible")
    page.click("#present")
    head, line = page.locator(".story-head"), page.locator(".story-line")
    go = page.locator(".story-buttons .primary-action")
    until(lambda: head.inner_text() == "A harmful request" and "blurred" in line.inner_text())
    for hidden in ("#composer", "#library", "#chat-settings", "#chat-keep"):
        assert not page.locator(hidden).is_visible()
    blur = "(node) => getComputedStyle(node).filter"
    assert "blur" in page.locator("#panes .pane.student .text").evaluate(blur)
    assert not layers_on(page) and not page.locator("#panes .pane.teacher").is_visible()
    go.click()
    until(lambda: "The reply turns" in line.inner_text())
    assert layers_on(page) == list(report.layers)
    assert page.locator("#panes .pane.patched .text").evaluate(blur) == "none", "refusals are read"
    go.click()
    until(lambda: "flip layer" in line.inner_text() or "No single" in line.inner_text())
    prompt = page.locator("#panes .pane.patched .asked").inner_text()
    told = board.workbench.what_if(prompt, Mask.of(report.units))
    tips = [c.unit.layer for c in told.cells if (c.refusal >= 0.5) != (told.refusal >= 0.5)]
    lit = page.eval_on_selector_all(
        "#strip .tips", "all => all.map((c) => Number(c.dataset.layer))"
    )
    assert lit == tips
    go.click()
    until(lambda: "Still answered" in line.inner_text())
    assert page.locator("#panes .pane.patched .text").evaluate(blur) == "none", "nor is the twin's"
    assert page.locator("#panes .pane.patched .badge.answered").count() >= 1
    page.locator(".story-buttons .plain >> text=Back").click()
    until(lambda: page.locator("#panes .pane.patched .asked").inner_text() == prompt)
    until(lambda: "flip layer" in line.inner_text() or "No single" in line.inner_text())
    page.locator(".story-buttons .plain >> text=Back").click()
    until(lambda: head.inner_text() == "One press" and "The reply turns" in line.inner_text())
    for title in ("What holds it", "Its harmless twin", "In figures"):
        go.click()
        until(lambda title=title: head.inner_text() == title)
    page.wait_for_selector(".story .headline")
    page.keyboard.press("Escape")
    until(lambda: page.locator("#composer").is_visible())


def test_who_leaves_the_presenter_shows_nobody_the_blurred_reply(board, visit):
    page = visit()
    page.click("#present")
    until(lambda: "blurred" in page.locator(".story-line").inner_text())
    page.keyboard.press("Escape")
    until(lambda: page.locator("#composer").is_visible())
    blur = "(node) => getComputedStyle(node).filter"
    said = page.locator("#panes .pane.student .text")
    assert "blur" in said.evaluate(blur)
    page.click("#panes .pane.student [data-show]")
    until(lambda: said.evaluate(blur) == "none")
    ask(page, PROMPT)
    until(lambda: said.evaluate(blur) == "none")
    assert not page.locator("#panes .pane.student [data-show]").is_visible(), "as it was set"


def test_a_blind_blurred_pane_is_revealed_alone(board, visit):
    page = visit()
    tab(page, "Chat")
    page.click("#chat-settings button.label-wrap")
    for name in (
        "Blur replies until asked for",
        "Blind: shuffle and unname the panes until a vote",
    ):
        page.get_by_label(name).check()
    page.fill("#prompt textarea", PROMPT)
    page.click("#send")
    page.wait_for_selector("#panes .vote")
    blur = "(node) => getComputedStyle(node).filter"
    shown = {letter: page.locator(f"#panes .pane.{letter} .text") for letter in "ABC"}
    assert all("blur" in text.evaluate(blur) for text in shown.values()), "nothing is given away"
    page.click("#panes [data-show=B]")
    until(lambda: shown["B"].evaluate(blur) == "none")
    assert "blur" in shown["A"].evaluate(blur) and "blur" in shown["C"].evaluate(blur)
    page.click("#panes [data-show=B]:has-text('Blur it again')")
    until(lambda: "blur" in shown["B"].evaluate(blur))


def test_the_theme_is_chosen_by_a_switch_and_kept(board, visit):
    page = visit(color_scheme="dark")
    until(lambda: page.evaluate("() => document.body.classList.contains('dark')"))
    dark(page, False)
    page.reload()
    page.wait_for_selector("#strip [data-layer]")
    until(lambda: not page.evaluate("() => document.body.classList.contains('dark')"))
    page.wait_for_selector("#heatmap .main-svg", state="attached")
    shown = "getComputedStyle(document.querySelector('#heatmap .main-svg')).backgroundColor"
    assert page.evaluate(shown) == "rgba(0, 0, 0, 0)", "no plot keeps the other theme's ground"
    page.wait_for_function("() => !document.body.classList.contains('turning')")
    page.select_option("select.theme", "system")
    until(lambda: page.evaluate("() => document.body.classList.contains('dark')"))


def test_on_a_phone_the_chrome_is_small_and_the_patched_reply_comes_first(board, visit):
    page = visit(viewport={"width": 390, "height": 844})
    tab(page, "Chat")
    top = "(node) => node.getBoundingClientRect()"
    assert page.locator("#tabs > .tab-wrapper").evaluate(f"(n) => ({top})(n).bottom") <= 844 / 4
    first, then = (page.locator(f"#panes .pane.{n}").bounding_box() for n in ("patched", "student"))
    assert first["y"] < then["y"]
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("most", [60, pytest.param(500, marks=pytest.mark.full)])
def test_eighty_layers_fit_the_width_and_pictures_stand_under_their_cells(
    tmp_path_factory, chromium, most
):
    pair = plant(Planting(80, (11, 37, 62)), "llama", 0).pair()
    with (
        dashboard(pair, tmp_path_factory.mktemp("deep")) as deep,
        visitors(deep, chromium) as enter,
    ):
        sets = {role: the_set(role) for role in ("harmful", "harmless")}
        others = deep.workbench.prompts
        deep.workbench.prompts = lambda source=None, role="harmful", column=None: (
            sets[role] if role in sets else others(source, role, column)
        )
        page = enter()
        until(lambda: count(page).startswith("0 of 80"))
        cells = page.locator("#strip .strip-row:first-child [data-layer]")
        boxes = [cells.nth(i).bounding_box() for i in (0, 39, 79)]
        assert boxes[-1]["x"] + boxes[-1]["width"] <= 1280
        grid = page.locator("#strip .strip-grid")
        assert grid.evaluate("(n) => n.scrollWidth <= n.clientWidth")
        named = [t for t in cells.all_inner_texts() if t]
        assert named == [str(i) for i in range(0, 80, 5)]
        cells.nth(62).hover()
        until(lambda: "layer 62" in page.inner_text(".strip-tip"))
        middles = [box["x"] + box["width"] / 2 for box in boxes]
        page.wait_for_selector("#heatmap .nsewdrag", state="attached")
        area = until(lambda: page.locator("#heatmap .nsewdrag").bounding_box())
        columns = [area["x"] + (i + 0.5) / 80 * area["width"] for i in (0, 39, 79)]
        assert columns == pytest.approx(middles, abs=4)

        settings = SearchSettings(algorithm="ddmin", prompt_limit=8, max_tests=most)
        job = deep.workbench.search_job(settings)
        job.start()
        assert job.wait(900)
        tab(page, "Search")
        page.reload()
        tab(page, "Search")
        page.wait_for_selector("#tests .replay[data-cell]")
        picture, cell = page.locator("#tests .replay"), page.locator("#tests .rp-scroll")
        left, wide = (float(picture.get_attribute(f"data-{n}")) for n in ("left", "cell"))
        start = cell.bounding_box()["x"]
        columns = [start + left + (i + 0.5) * wide for i in (0, 39, 79)]
        assert columns == pytest.approx(middles, abs=4)
