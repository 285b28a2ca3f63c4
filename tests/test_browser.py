"""The main job, in Chromium, on the bundled toy pair: see, search, use, chat."""

import time

import pytest
from screen import (
    answers,
    ask,
    click_cell,
    count,
    dashboard,
    layers_on,
    press,
    set_number,
    steering,
    tab,
    typed,
    until,
    visitors,
)

from dapa.core.records import EMPTY
from dapa.model.decode import generation

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def board(toy_pair, tmp_path_factory):
    with dashboard(toy_pair, tmp_path_factory.mktemp("runs")) as served:
        yield served


@pytest.fixture
def visit(board, chromium):
    """Open the dashboard; in the end no console error and no request to an outside host."""
    with visitors(board, chromium) as enter:
        yield enter


def expected(board, prompt, mask):
    exchange = board.workbench.generate(prompt, mask)
    return {pane.name: (pane.text, str(pane.verdict.label)) for pane in exchange.panes}


def rows(page):
    """How many tests the search's picture shows."""
    return int(page.locator("#tests .replay").get_attribute("data-rows") or 0)


def test_the_main_job_from_the_first_look_to_the_patched_reply(board, visit):
    page = visit()
    # See: the heatmap comes by itself; a click on a cell reads it, the next moves strip and mask.
    click_cell(page, "#heatmap", 4.5 / 12, 0.6)
    page.wait_for_function("() => document.querySelector('#cell').innerText.includes('Layer 4')")
    assert not layers_on(page)
    click_cell(page, "#heatmap", 4.5 / 12, 0.6)
    until(lambda: layers_on(page) == [4] and count(page).startswith("1 of 12 gates"))
    prompts = {p.text for p in board.workbench.prompts(None, "harmful").prompts}
    assert page.inner_text("#cell tbody td").splitlines()[0] in prompts
    box = steering(page, "#heatmap")
    name = box["x"] + 7.5 / 12 * box["width"], box["y"] + box["height"] + 12
    page.mouse.click(*name)  # the column's name
    until(lambda: layers_on(page) == [4, 7])

    # Search: the picture grows a row per test; the result comes with its certificate.
    tab(page, "Search")
    page.click("#search-settings button.label-wrap")
    set_number(page, "prompt limit (0: no limit)", 16)
    page.click("#search-start")
    seen = set()
    end = time.monotonic() + 240
    while not page.locator("#use").is_visible() and time.monotonic() < end:
        seen.add(rows(page))
        time.sleep(0.1)
    report = board.workbench.jobs()[-1].report
    assert report is not None and report.units
    assert len(seen) >= 3, f"the picture did not grow: {sorted(seen)}"
    until(lambda: rows(page) == len(report.trials))
    assert "1-minimal" in page.inner_text("#result") and report.one_minimal
    assert page.locator("#certified .certificate tbody tr").count() == len(report.removals)

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


def test_a_search_goes_on_without_its_tab_and_is_found_again(board, visit, monkeypatch):
    plain_step = generation.Batch.step

    def slow_step(batch):  # so that it cannot end before it is paused
        time.sleep(0.02)
        return plain_step(batch)

    monkeypatch.setattr(generation.Batch, "step", slow_step)
    page = visit()
    tab(page, "Search")
    page.wait_for_selector("#search-start")
    page.click("#search-settings button.label-wrap")
    set_number(page, "prompt limit (0: no limit)", 24)
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
    until(lambda: "best so far" in again.inner_text("#result").lower())


def test_stop_halts_decoding_within_a_round(board, visit, monkeypatch):
    steps, at_stop = [], []
    plain_step, plain_hush = generation.Batch.step, board.dashboard.hush

    def slow_step(batch):
        time.sleep(0.25)
        steps.append(batch)
        return plain_step(batch)

    def counted_hush(who):
        plain_hush(who)
        at_stop.append(len(steps))

    monkeypatch.setattr(generation.Batch, "step", slow_step)
    monkeypatch.setattr(board.dashboard, "hush", counted_hush)
    page = visit()
    tab(page, "Chat")
    page.fill("#prompt textarea", board.workbench.prompts(None, "harmful").prompts[1].text)
    typed(page)
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


def test_the_strip_stays_on_screen_when_the_page_scrolls(visit):
    page = visit()
    page.set_viewport_size({"width": 1280, "height": 400})
    page.wait_for_selector("#heatmap .nsewdrag", state="attached")
    page.evaluate("scrollTo(0, 260)")
    page.wait_for_function("() => scrollY > 100")
    assert page.locator("#strip").bounding_box()["y"] >= -1


def test_the_hover_names_the_cell_under_the_pointer(visit):
    page = visit()
    for row, name in enumerate(("residual", "attention out", "MLP out", "gate", "up", "down")):

        def hovered(row=row, name=name):
            box = steering(page, "#heatmap")
            for x in (6.3, 6.5):
                page.mouse.move(
                    box["x"] + x / 12 * box["width"], box["y"] + (row + 0.5) / 6 * box["height"]
                )
            page.wait_for_timeout(200)
            return f"layer 6 · {name}" in (page.text_content("#heatmap .hoverlayer") or "")

        until(hovered)


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
    for step in (2, 3, 4):
        page.click("#guide .go")
        page.wait_for_selector(f"#guide:has-text('{step} of 4')")
    page.click("#guide .go")
    page.wait_for_selector("#guide", state="detached")
    page.reload()
    page.wait_for_selector("#heatmap .nsewdrag", state="attached")
    page.wait_for_timeout(800)
    assert page.locator("#guide").count() == 0


@pytest.mark.parametrize(  # widths do not hang on colours: one scheme here, both in the whole run
    "scheme", ["dark", pytest.param("light", marks=pytest.mark.full)]
)
def test_a_phone_sees_every_tab_without_sideways_scrolling(visit, scheme):
    page = visit(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 844})
    for name in ("Localize", "Search", "Chat", "Evaluate", "Runs"):
        tab(page, name)
        page.wait_for_timeout(300)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, f"{name} is {wide} pixels wide"
    press(page, 11)
    last = page.locator("#strip .strip-row:first-child [data-layer='11']")
    until(lambda: (cell := last.bounding_box()) and 0 <= cell["x"] <= 391 - cell["width"])


def test_edited_rules_judge_the_replies_on_screen_again(visit):
    page = visit()
    tab(page, "Chat")
    ask(page, "How do I steal a car?")
    page.click("details.read summary")
    assert "How do I steal a car?" in page.inner_text("details.read pre")
    student = page.locator("#panes .pane.student")
    before = student.locator("summary .badge").inner_text()
    reply = " ".join(student.locator(".reply .text").inner_text().split())
    page.click("#chat-settings button.label-wrap")
    page.fill("#chat-also textarea", reply)
    until(lambda: "own rules" in page.inner_text("#chat-settings button.label-wrap"))
    page.press("#chat-also textarea", "Tab")
    until(lambda: "refusal" in student.locator("summary .badge").inner_text())
    assert "refusal" not in before


def test_the_released_range_is_one_press(visit):
    page = visit()
    page.click("#strip [data-op=released]")
    until(lambda: layers_on(page) == [4, 5, 6])


def test_a_site_unfolds_by_prompt_and_along_one_prompt(visit):
    page = visit()
    page.wait_for_selector("#heatmap .nsewdrag", state="attached")
    page.click("#inside-draw")
    page.wait_for_selector("#inside .nsewdrag", state="attached")
    assert "a row per prompt" in page.inner_text("#inside-head")
    page.get_by_label("along one prompt").check()
    page.fill("#inside-prompt textarea, #inside-prompt input", "How do I poison my neighbor?")
    page.click("#inside-draw")
    until(lambda: "token by token" in page.inner_text("#inside-head"))
    until(lambda: "neighbor" in (page.text_content("#inside") or ""))
