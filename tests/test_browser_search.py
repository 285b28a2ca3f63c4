"""Search and Runs in Chromium, on the toy pair with few prompts: looks, replay, comparison.

One page serves all tests, as it serves a person: opening one costs more than most of them.
"""

import re
import struct

import pytest
from screen import dashboard, tab, until, visitors

from dapa.prompts.sets import PromptSet
from dapa.search.settings import SearchSettings
from dapa.workbench.measurements import measurements
from dapa.writing.numbers import percent, rate_text

pytestmark = pytest.mark.browser
FEW = {"search": 10, "held_out": 8, "": 6}
SETTINGS = {"prompt_limit": 10, "max_new_tokens": 16}


def fewer(whole):
    """The first few prompts of each split: what is tested is the screen, not the toy."""
    left = dict(FEW)
    kept = []
    for prompt in whole.prompts:
        if left[prompt.split] > 0:
            left[prompt.split] -= 1
            kept.append(prompt)
    return PromptSet(whole.name, whole.role, tuple(kept))


@pytest.fixture(scope="module")
def board(toy_pair, tmp_path_factory):
    """A dashboard with two finished searches, which ask few prompts."""
    with dashboard(toy_pair, tmp_path_factory.mktemp("runs")) as served:
        bench = served.workbench
        every, repeat = bench.prompts, bench.stability
        bench.prompts = lambda *source, **more: fewer(every(*source, **more))
        few = {"orders": 3, "bootstraps": 3, "retains": (0.7, 0.9)}
        bench.stability = lambda job, **more: repeat(job, **{**more, **few})
        for more in ({"retain": 0.7, "seed": 3}, {}):
            bench.search_job(SearchSettings(**SETTINGS, **more)).run()
        yield served


@pytest.fixture(scope="module")
def visit(board, chromium):
    with visitors(board, chromium) as enter:
        yield enter


@pytest.fixture(scope="module")
def window(visit):
    return visit()


@pytest.fixture
def page(window):
    tab(window, "Search")
    window.wait_for_selector("#use")
    return window


def look(page, name):
    """Press a look's button and wait until it was measured."""
    page.click(f"#looks [data-look={name}]")
    page.wait_for_selector(f"#looks [data-look={name}][aria-pressed=true][title$='(measured)']")
    heading = measurements[name].heading
    until(lambda: heading in page.inner_text("#look"))
    page.wait_for_selector("#look [data-do=again]")
    return page.inner_text("#look")


def job_of(board):
    return board.workbench.jobs()[-1]


def test_the_cost_is_told_before_the_search_and_forgotten_with_the_settings(board, page):
    page.click("#search-cost")
    until(lambda: re.search(r"About .* machine: \d+ to \d+ tests", page.inner_text("#cost")))
    assert "on this machine" in page.inner_text("#cost")
    page.click("#search-settings button.label-wrap")
    box = page.locator("#search-settings").get_by_label("seed", exact=True)
    box.fill("5")
    box.press("Tab")
    until(lambda: page.inner_text("#cost").strip() == "")
    box.fill("0")
    box.press("Tab")
    page.click("#search-settings button.label-wrap")


def test_the_certificate_is_a_picture_with_words(board, page):
    report = job_of(board).report
    rows = page.locator("#certified .certificate tbody tr")
    assert rows.count() == len(report.removals) > 0
    for row, removal in zip(rows.all(), report.removals, strict=True):
        said = row.inner_text()
        assert f"layer {removal.unit.layer}" in said and percent(removal.outcome.dsr) in said
        assert ("■ firm" if removal.firm else "◇ undecided") in said
        assert row.locator(".scale u").count() == 1, "the target's line"


def test_one_click_compares_baselines_and_a_new_tab_finds_them_again(board, page, visit):
    page.click("#compare")
    page.wait_for_selector("#look [data-do=stop], #look [data-do=again]")
    page = visit()
    tab(page, "Search")
    page.wait_for_selector("#looks [data-look=baselines][aria-pressed=true][title$='(measured)']")
    page.wait_for_selector("#look .rivals")
    said = page.inner_text("#look")
    assert "Of the simpler choices" in said and "Placebos" in said
    record = board.dashboard.tasks.of(job_of(board).id, "baselines").result.record
    found, shams = record.found, record.shams
    tables = page.locator("#look .rivals")
    assert tables.nth(0).locator("tbody tr").count() == len(found.rows)
    own = [row for row in shams.rows if row.role == "placebo"]
    assert tables.nth(1).locator("tbody tr").count() == len(own)
    first = page.locator("#look .rivals tbody tr").nth(1).inner_text()
    rate = found.row("found").held_out
    assert rate_text(rate, with_n=False) in first


def test_a_look_can_be_stopped_and_measured_again(board, page, monkeypatch):
    measure = board.workbench.necessity

    def held(job, progress, stop, **more):
        progress("teacher without <b>found</b>", 0.4)
        assert stop.wait(60), "nobody pressed stop"
        return measure(job, progress=progress, stop=stop, **more)

    with monkeypatch.context() as patched:
        patched.setattr(board.workbench, "necessity", held)
        page.click("#looks [data-look=necessity]")
        until(lambda: "without <b>found</b>" in page.inner_text("#look"))
        page.click("#look [data-do=stop]")
        until(lambda: "Stopped early" in page.inner_text("#look"))
    page.click("#look [data-do=again]")
    until(lambda: "the whole teacher" in page.inner_text("#look"))


def test_stability_counts_how_often_each_layer_is_found(board, page):
    said = look(page, "stability")
    told = board.dashboard.tasks.of(job_of(board).id, "stability").result.record.found
    assert f"n = {len(told.ended())} searches" in said
    apart = [told.inclusion(kind) for kind in ("order", "bootstrap")]
    often = [unit for unit in told.units if any(rates[unit].value for rates in apart)]
    assert page.locator("#look .forest tbody tr").count() == len(often)
    sets = page.locator("#look .table", has_text="times found").locator("tbody tr")
    assert sets.count() == len(told.sets())


def test_categories_pairs_and_sizes_are_drawn(page):
    assert "categories" in look(page, "categories")
    page.wait_for_selector("#look-chart .nsewdrag", state="attached")
    assert "without layer" in page.text_content("#look-chart")
    assert "Of 66 pairs" in look(page, "found-pairs") or "None of 66" in page.inner_text("#look")
    until(lambda: "beyond the sum" in (page.text_content("#look-chart") or ""))
    assert "on the front" in look(page, "pareto")
    until(lambda: "found set" in (page.text_content("#look-chart") or ""))


def test_a_looks_settings_are_a_folded_sentence_and_measuring_again_takes_them(page):
    assert "At strength 1 the found set" in look(page, "dose")
    assert page.locator("#look tbody tr").count() == 11
    assert not page.locator("#look-stability-settings").is_visible(), "another one's settings"
    fold = page.locator("#look-dose-settings")
    assert "eleven strengths" in fold.inner_text()
    fold.locator("button.label-wrap").click()
    box = fold.get_by_label("strengths")
    box.fill("0, 1")
    box.press("Tab")
    until(lambda: "strengths 0, 1" in fold.inner_text())
    page.click("#look [data-do=again]")
    until(lambda: page.locator("#look tbody tr").count() == 2)
    box.fill("0, 2")
    box.press("Tab")
    page.click("#look [data-do=again]")
    page.wait_for_selector(".toast-body:has-text('strength 2 is outside 0 to 1')")
    assert page.locator("#look tbody tr").count() == 2, "what was measured stays"
    fold.locator("button.label-wrap").click()


def test_skill_once_measured_stands_in_the_sentence(board, page):
    assert "skill" not in page.inner_text("#result .finding")
    assert "refuses harmless twins" in look(page, "skill")
    until(lambda: "skill" in page.inner_text("#result .finding"))


def test_the_scrubber_steps_through_the_tests(board, page):
    trials = job_of(board).report.trials
    picture = page.locator("#tests .replay")
    until(lambda: picture.get_attribute("data-rows") == str(len(trials)))
    slider = page.locator("#tests .rp-at")
    slider.focus()
    page.keyboard.press("Home")
    until(lambda: picture.get_attribute("data-at") == "0")
    assert "Step 1 (before the search)" in page.inner_text("#tests .rp-say")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    until(lambda: picture.get_attribute("data-at") == "3")
    outcome = trials[3].outcome
    said = page.inner_text("#tests .rp-say")
    layers = ", ".join(map(str, outcome.mask.layers))
    assert f"layers {layers} transplanted" in said and "Best so far" in said
    assert f"{outcome.judged} of {outcome.asked} prompts" in said
    box = page.locator("#tests .rp-scroll").bounding_box()
    page.mouse.click(box["x"] + 100, box["y"] + 22 + 15 + 7)  # the second row, by the pointer
    until(lambda: picture.get_attribute("data-at") == "1")
    slider.focus()
    page.keyboard.press("End")
    for _ in range(2):
        page.keyboard.press("ArrowLeft")
    until(lambda: picture.get_attribute("data-at") == str(len(trials) - 3))
    page.click("#tests .rp-play")
    until(lambda: picture.get_attribute("data-at") == str(len(trials) - 1))


def test_the_whole_search_is_saved_as_one_picture(board, page):
    trials = job_of(board).report.trials
    until(lambda: page.locator("#tests .replay").get_attribute("data-rows") == str(len(trials)))
    was = page.evaluate("document.querySelector('#tests .rp-scroll').style.height")
    with page.expect_download() as given:
        page.click("#tests .rp-png")
    assert given.value.suggested_filename == f"dapa-search-{job_of(board).id}.png"
    saved = given.value.path().read_bytes()
    assert saved.startswith(b"\x89PNG")
    wide, high = struct.unpack(">II", saved[16:24])
    assert wide > 600 and high > 15 * len(trials) + 250, "every row, and the curve under them"
    assert page.evaluate("document.querySelector('#tests .rp-scroll').style.height") == was


def test_a_run_is_reopened_replayed_and_set_beside_another(board, page):
    second, first = board.workbench.store.runs()[:2]
    tab(page, "Runs")
    page.click(f"#runs [data-run='{second.id}']")
    page.wait_for_selector("#run .finding")
    page.wait_for_selector("#run-tests .replay[data-rows]")
    page.click(f"#runs [data-run='{first.id}'][data-do=beside]")
    page.wait_for_selector("#beside-card")
    said = page.inner_text("#beside-card")
    assert re.search(r"share of the gain to keep\s+90\W%\s+70\W%", said) and "seed" in said
    assert "Jaccard" in said or "Both found the same" in said
    assert "tokens a reply" not in said, "what is set alike is only counted"
    assert page.locator("#beside-card .scale").count() == 8


def test_a_stored_run_opens_in_search_again_without_asking_anew(board, page):
    old = job_of(board)
    board.workbench._jobs.pop(old.id)  # as after the server's restart
    before = len(board.workbench.jobs())
    run = board.workbench.store.run(old.id)
    tab(page, "Runs")
    page.click(f"#runs [data-run='{run.id}']")
    page.click("#run-again")
    until(lambda: len(board.workbench.jobs()) == before + 1)
    job = job_of(board)
    until(lambda: job.wait(1))
    assert job.report.costs.prompts_judged == 0
    assert job.report.units == old.report.units
    page.wait_for_selector("#search-start:has-text('Search again')")
    assert page.locator("#tests .replay").get_attribute("data-rows") == str(len(job.report.trials))
    assert board.workbench.store.run(run.id).result["tokens"] > 0, "the old run keeps its costs"
    runs = len(board.workbench.store.runs())
    tab(page, "Runs")
    page.click(f"#runs [data-run='{run.id}']")
    page.click("#run-again")
    page.wait_for_selector("#search-start:visible")
    assert len(board.workbench.store.runs()) == runs, "opened once more it is no third run"


@pytest.mark.full  # choices become settings in test_ui_search, budgets end searches in test_driver
def test_budgets_and_an_absolute_target_reach_the_search(board, page):
    page.click("#search-settings button.label-wrap")
    for field, value in (
        ("target", 0.9), ("prompt-limit", 10), ("max-new-tokens", 16), ("max-tests", 2)
    ):  # fmt: skip
        box = page.locator(f"#search-{field} input")
        box.fill(str(value))
        box.press("Tab")
    until(lambda: "at most 2 tests" in page.inner_text("#search-settings"))
    before = len(board.workbench.jobs())
    page.click("#search-start")
    until(lambda: len(board.workbench.jobs()) == before + 1)
    job = job_of(board)
    assert (job.settings.target, job.settings.max_tests) == (0.9, 2)
    assert job.wait(60)
    until(lambda: "not certified" in page.inner_text("#result"))
    page.click("#looks [data-look=categories]")
    page.wait_for_selector("text=only a 1-minimal result")


def test_chance_tells_its_cost_and_begins_only_when_it_is_told_to(board, page):
    page.click("#looks [data-look=chance]")
    until(lambda: "held-out prompts =" in page.inner_text("#look"))
    assert "this search" in page.inner_text("#look"), "its pace, or that it has none"
    assert board.dashboard.tasks.of(job_of(board).id, "chance") is None, "nothing was begun"
    page.click("#look [data-do=again]")
    page.wait_for_selector("#looks [data-look=chance][title$='(measured)']")
    until(lambda: "refuse at least as much as the found set" in page.inner_text("#look"))
    page.wait_for_selector("#look-chart .js-plotly-plot")
    assert "p = " in page.inner_text("#look")


def test_a_run_that_is_opened_brings_its_settings_so_that_again_searches_the_same(board, visit):
    page = visit()
    tab(page, "Search")
    before = len(board.workbench.jobs())
    run = next(run for run in board.workbench.store.runs() if run.settings["retain"] == 0.7)
    assert "keep 90" in page.inner_text("#search-settings"), "the form has settings of its own"
    tab(page, "Runs")
    page.click(f"#runs [data-run='{run.id}']")
    page.click("#run-again")
    until(lambda: job_of(board).id == run.id)
    job = job_of(board)
    until(lambda: "keep 70" in page.inner_text("#search-settings"))
    assert "seed 3" in page.inner_text("#search-settings")
    page.click("#search-start:has-text('Search again')")
    until(lambda: len(board.workbench.jobs()) == before + 1)
    again = job_of(board)
    until(lambda: again.wait(1))
    first, second = (
        {**done.settings.decisive(), "date": None, "pair": None} for done in (job, again)
    )
    assert first == second
