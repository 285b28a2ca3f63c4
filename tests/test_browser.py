"""The main job, in Chromium, on the bundled toy pair: see, search, use, chat."""

import re
import time

import pytest
from screen import CHROMIUM, FLAGS, dashboard, until

from dapa.model import generation
from dapa.records import EMPTY, Mask, Unit

pytestmark = pytest.mark.browser
PATIENCE = 120_000  # milliseconds: a limit for what hangs, not a promise


@pytest.fixture(scope="module")
def board(toy_pair, tmp_path_factory):
    with dashboard(toy_pair, tmp_path_factory.mktemp("runs")) as served:
        yield served


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(board, chromium):
    """Open the dashboard; in the end no console error and no request to an outside host."""
    contexts, complaints = [], []

    def outside(request):
        if not request.url.startswith((board.url, "data:", "blob:")):
            complaints.append(f"asked {request.url}")

    def enter(guide=False, **options):
        context = chromium.new_context(viewport={"width": 1280, "height": 860}, **options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        if not guide:
            context.add_init_script("localStorage.setItem('dapa-guide', 'closed')")
        page = context.new_page()
        page.on("request", outside)
        page.on("pageerror", lambda error: complaints.append(f"threw {error}"))
        page.on(
            "console",
            lambda said: complaints.append(said.text) if said.type == "error" else None,
        )
        page.goto(board.url)
        page.wait_for_selector("#strip [role=gridcell]")
        return page

    yield enter
    for context in contexts:
        context.close()
    assert not complaints


def layers_on(page):
    return page.eval_on_selector_all(
        "#strip .strip-row:first-child [aria-pressed=true]",
        "cells => cells.map((cell) => Number(cell.dataset.layer))",
    )


def press(page, *layers):
    for layer in layers:
        page.click(f"#strip .strip-row:first-child [data-layer='{layer}']")
    until(lambda: "of 12" in count(page) and count(page).startswith(str(len(layers_on(page)))))


def count(page):
    return page.inner_text("#strip .count")


def tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


def ask(page, prompt):
    page.fill("#prompt textarea", prompt)
    page.click("#send")
    page.wait_for_function(
        "() => document.querySelectorAll('#panes .pane .badge:not(.waiting)').length === 3"
    )


def answers(page):
    """What the panes show: name -> (text, badge)."""
    return {
        name: (
            page.locator(f"#panes .pane.{name} .text").text_content(),
            page.inner_text(f"#panes .pane.{name} .badge").split()[-1],
        )
        for name in ("student", "patched", "teacher")
    }


def expected(board, prompt, mask):
    exchange = board.workbench.generate(prompt, mask)
    return {pane.name: (pane.text, str(pane.verdict.label)) for pane in exchange.panes}


def set_number(page, label, value):
    field = page.get_by_label(label, exact=True)
    field.fill(str(value))
    field.press("Tab")


def test_the_main_job_from_the_first_look_to_the_patched_reply(board, visit):
    page = visit()
    # See: the heatmap comes by itself; a click on a column moves strip and mask.
    page.wait_for_selector("#heatmap .nsewdrag", state="attached")
    box = until(lambda: page.locator("#heatmap .nsewdrag").bounding_box())
    width = box["width"] / 12
    page.mouse.click(box["x"] + 4.5 * width, box["y"] + 0.6 * box["height"])
    until(lambda: layers_on(page) == [4])
    assert count(page).startswith("1 of 12 gates")
    page.wait_for_function("() => document.querySelector('#cell').innerText.includes('Layer 4')")
    prompts = {p.text for p in board.workbench.prompts(None, "harmful").prompts}
    assert page.inner_text("#cell tbody td") in prompts
    page.mouse.click(box["x"] + 7.5 * width, box["y"] + box["height"] + 12)  # the column's name
    until(lambda: layers_on(page) == [4, 7])

    # Search: the picture grows a row per test; the result comes with its certificate.
    tab(page, "Search")
    page.click("#search-settings button.label-wrap")
    set_number(page, "search prompts at most", 16)
    page.click("#search-start")
    seen = set()
    rows = "#tests .test:not(.axis):not(.open)"
    end = time.monotonic() + 240
    while not page.locator("#use").is_visible() and time.monotonic() < end:
        seen.add(page.locator(rows).count())
        time.sleep(0.1)
    report = board.workbench.jobs()[-1].report
    assert report is not None and report.units
    assert len(seen) >= 3, f"the picture did not grow: {sorted(seen)}"
    until(lambda: page.locator(rows).count() == len(report.trials))
    assert "1-minimal" in page.inner_text("#result") and report.one_minimal
    assert page.locator("#result table").nth(1).locator("tbody tr").count() == len(report.removals)

    # Use: the found layers are on the strip.
    page.click("#use")
    until(lambda: layers_on(page) == list(report.layers))

    # Chat: three panes say what a serial run says, badges included.
    tab(page, "Chat")
    prompt = board.workbench.prompts(None, "harmful").prompts[0].text
    ask(page, prompt)
    assert answers(page) == expected(board, prompt, report.mask)
    # A toggle on the strip answers again, in the patched pane alone.
    page.click("#strip [data-op=none]")
    until(lambda: answers(page) == expected(board, prompt, EMPTY))


def test_a_search_goes_on_without_its_tab_and_is_found_again(board, visit):
    page = visit()
    tab(page, "Search")
    page.wait_for_selector("#search-start")
    page.click("#search-settings button.label-wrap")
    set_number(page, "search prompts at most", 24)
    set_number(page, "seed", 5)
    before = len(board.workbench.jobs())
    page.click("#search-start")
    until(lambda: len(board.workbench.jobs()) > before)
    job = board.workbench.jobs()[-1]
    page.click("#search-pause")
    until(lambda: job.progress().state == "paused")
    page.close()
    again = visit()
    tab(again, "Search")
    again.wait_for_selector("#search-pause:has-text('Resume')")
    again.click("#search-pause")
    until(lambda: job.progress().state != "paused")
    again.click("#search-stop")
    assert job.wait(120)
    again.wait_for_selector("#search-start:has-text('Search again')")
    assert "best so far" in again.inner_text("#result").lower() or job.report.one_minimal


def test_stop_halts_decoding_within_a_round(board, visit, monkeypatch):
    steps, at_stop = [], []
    plain_step, plain_hush = generation.Batch.step, board.desk.hush

    def slow_step(batch):
        time.sleep(0.25)
        steps.append(batch)
        return plain_step(batch)

    def counted_hush(who):
        plain_hush(who)
        at_stop.append(len(steps))

    monkeypatch.setattr(generation.Batch, "step", slow_step)
    monkeypatch.setattr(board.desk, "hush", counted_hush)
    page = visit()
    tab(page, "Chat")
    page.fill("#prompt textarea", board.workbench.prompts(None, "harmful").prompts[1].text)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#panes .caret-end", state="attached")
    page.keyboard.press("Escape")
    until(lambda: at_stop)
    page.wait_for_function("() => document.querySelector('#panes').innerText.includes('stopped')")
    time.sleep(1.0)
    assert len(steps) - at_stop[0] <= 2, "at most the round in flight: one step of each model"


def test_the_strip_works_from_the_keyboard(visit):
    page = visit()
    first = "#strip .strip-row:first-child [data-layer='0']"
    page.focus(first)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    until(lambda: layers_on(page) == [2])
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    until(lambda: layers_on(page) == [2, 3, 4])
    until(lambda: count(page).startswith("3 of 12"))
    assert page.evaluate("document.activeElement.dataset.layer") == "4"
    page.keyboard.press("Control+z")
    until(lambda: layers_on(page) == [2, 3])
    page.keyboard.press("End")
    page.keyboard.press("Space")
    until(lambda: layers_on(page) == [2, 3, 11])
    page.click("#strip [data-op=open]")
    page.wait_for_selector("#strip [data-kind=mlp]")
    page.click("#strip .sub [data-kind=mlp][data-layer='5']")
    until(lambda: "units in" in count(page))
    assert 5 in layers_on(page)


def test_text_of_prompts_is_shown_and_never_run(visit):
    page = visit()
    tab(page, "Chat")
    evil = "<img src='//evil.invalid/x' onerror='window.hit=1'>${window.hit=1}{{this}}"
    ask(page, evil)
    assert page.inner_text("#panes .pane.student .asked") == evil
    assert page.evaluate("window.hit") is None
    assert page.locator("#panes img").count() == 0


def test_the_guide_is_shown_once(visit):
    page = visit(guide=True)
    page.wait_for_selector("#guide")
    for _ in range(3):
        page.click("#guide .go")
        page.wait_for_timeout(500)
    assert "4 of 4" in page.inner_text("#guide")
    page.click("#guide .go")
    page.wait_for_selector("#guide", state="detached")
    page.reload()
    page.wait_for_selector("#heatmap .nsewdrag", state="attached")
    page.wait_for_timeout(800)
    assert page.locator("#guide").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_sees_every_tab_without_sideways_scrolling(visit, scheme):
    page = visit(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 844})
    for name in ("Localize", "Search", "Chat", "Evaluate", "Runs"):
        tab(page, name)
        page.wait_for_timeout(300)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, f"{name} is {wide} pixels wide"
    press(page, 11)
    cell = page.locator("#strip .strip-row:first-child [data-layer='11']").bounding_box()
    assert cell["x"] >= 0 and cell["x"] + cell["width"] <= 391, "the pressed cell is out of view"


def test_evaluate_fills_the_table(board, visit):
    page = visit()
    press(page, 6)
    tab(page, "Evaluate")
    page.click("#eval-settings button.label-wrap")
    set_number(page, "prompts a set at most", 4)
    page.click("#eval-start")
    page.wait_for_selector("#eval-table tbody tr")
    shown = page.inner_text("#eval-table")
    sets = {k: v[:4] for k, v in board.workbench.evaluation_sets().items()}
    found = board.workbench.evaluate(Mask.of([Unit(6)]), sets, max_new_tokens=48)
    for model in ("student", "patched", "teacher"):
        rate = found.rate(model, "dsr")
        assert re.search(rf"{rate.value:.2f}\s+\[{rate.low:.2f}, {rate.high:.2f}\]", shown)


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
        page.wait_for_selector("#whole")
        told = page.inner_text("#result")
        assert "Nothing to find here" in told and "--sites" not in told
        assert len(re.findall(r"\[\d\.\d\d, \d\.\d\d\]", told)) == 2
        page.click("#whole")
        until(lambda: served.workbench.jobs()[-1].settings.kind == "mlp")
        assert served.workbench.jobs()[-1].wait(120)
        page.wait_for_selector("#search-start:has-text('Search again')")
        page.close()


def test_a_slow_load_shows_what_it_does_and_a_failed_one_why(chromium, planted_pair, tmp_path):
    import threading

    from dapa.records import PairError

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
        served.desk.load(served.workbench.spec(student="wrong", teacher="teacher"))
        page = chromium.new_page()
        page.set_default_timeout(PATIENCE)
        page.add_init_script("localStorage.setItem('dapa-guide', 'closed')")
        page.goto(served.url)
        page.wait_for_selector("#brand .busy:has-text('reading <student>')")
        page.screenshot(path=tmp_path / "loading.png")
        go.set()
        page.wait_for_selector("#brand .fail:has-text('wrong does not exist')")
        served.desk.load(served.workbench.spec(student="right", teacher="teacher"))
        page.wait_for_selector("#strip [role=gridcell]")
        page.wait_for_selector("#heatmap .nsewdrag", state="attached")
        page.close()
