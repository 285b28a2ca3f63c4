"""What is on screen belongs to its pair and mask: two browsers, two pairs, one server."""

import json
import threading

import pytest
from screen import PATIENCE, ask, count, dashboard, layers_on, tab, until, visitors
from searched import prompt_set

from dapa.planted.pairs import Planting, plant
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.workbench import PairSpec

pytestmark = pytest.mark.browser
PROMPT = prompt_set().prompts[0].text
HARMFUL = {"dsr": prompt_set(4).prompts}


@pytest.fixture(scope="module")
def pairs():
    """Two pairs of one shape that need other layers, by their names."""
    return {
        name: plant(Planting(6, needed)).pair(name)
        for name, needed in (("one", (1, 4)), ("two", (0, 2)))
    }


@pytest.fixture(scope="module")
def served(pairs, tmp_path_factory):
    """A dashboard that loads either pair at once, with few prompts and a search of the first."""
    with (
        dashboard(pairs["one"], tmp_path_factory.mktemp("runs")) as served,
        pytest.MonkeyPatch.context() as patched,
    ):
        bench = served.workbench
        spec, prompts = bench.spec, bench.prompts

        def named(name=None, *rest, **more):
            return PairSpec("s", "t", name) if name in pairs else spec(name, *rest, **more)

        def load(wanted, progress=None):
            bench._pair = pairs[wanted.name]

        def few(source=None, role="harmful", column=None):
            return prompt_set() if role == "harmful" else prompts(source, role, column)

        for name, own in (("spec", named), ("load", load), ("prompts", few)):
            patched.setattr(bench, name, own)
        patched.setattr(bench, "asked_sets", lambda settings: HARMFUL)
        job = SearchJob(bench.pair, prompt_set(), SearchSettings(max_new_tokens=12), bench.store)
        bench._jobs[job.id] = job
        job.run()
        yield served


@pytest.fixture
def board(served, pairs):
    """The same with the first pair loaded again."""
    served.workbench._pair = pairs["one"]
    return served


@pytest.fixture
def visit(board, chromium):
    with visitors(board, chromium) as enter:
        yield enter


def toggle(page, layer):
    wanted = sorted(set(layers_on(page)) ^ {layer})
    page.click(f"#strip .strip-row:first-child [data-layer='{layer}']")
    until(lambda: layers_on(page) == wanted and count(page).startswith(f"{len(wanted)} of 6"))


def patched(page):
    return " ".join(page.inner_text("#panes .pane.patched header").split())


def evaluated(page):
    tab(page, "Evaluate")
    page.click("#eval-start")
    page.wait_for_selector("#eval-table [data-model=patched]")


def test_a_chat_that_was_never_open_is_titled_by_the_layers_pressed_before(board, visit):
    page = visit()
    toggle(page, 4)
    toggle(page, 1)
    tab(page, "Chat")
    until(lambda: patched(page).startswith("Patched · layers 1, 4"))


def test_a_load_elsewhere_is_announced_and_everything_shown_is_greyed_until_its_pair_is_back(
    board, visit
):
    page, other = visit(), visit()
    toggle(page, 4)
    tab(page, "Chat")
    ask(page, PROMPT)
    evaluated(page)
    tab(page, "Runs")
    page.click("#runs [data-run] >> nth=-1")  # the search is the oldest
    page.wait_for_selector("#run-use")
    page.evaluate("window.kept = true")  # nothing of this hangs on a reload

    board.dashboard.load(board.workbench.spec("two"), "somebody")
    for window in (page, other):
        window.wait_for_selector("#news:has-text('Someone else loaded two')")
    page.wait_for_selector("#run-whose .whose:has-text('This run is of one; two is loaded')")
    page.wait_for_selector("#run-use", state="hidden")
    assert layers_on(page) == []
    tab(page, "Search")
    page.wait_for_selector("#search-whose .whose:has-text('This search is of one')")
    page.wait_for_selector("#use", state="hidden")
    assert page.locator("#result .finding").is_visible(), "it may still be read"
    grey = page.evaluate("getComputedStyle(document.querySelector('#result-card')).opacity")
    assert float(grey) < 1
    tab(page, "Evaluate")
    page.wait_for_selector("#eval-whose .whose:has-text('This table is of one')")
    tab(page, "Chat")
    page.wait_for_selector("#panes .whose:has-text('This conversation is of one')")
    assert patched(page).startswith("Patched · no layer yet")
    assert "its reply is older, of layer 4" in patched(page)

    page.click("#panes .whose .load")  # one press, and all of it is live again
    other.wait_for_selector("#news:has-text('Someone else loaded one')")
    page.wait_for_selector("#news:has-text('You loaded one')")
    page.wait_for_selector("#panes .whose", state="detached")
    tab(page, "Search")
    page.wait_for_selector("#use")
    page.click("#use")
    until(lambda: layers_on(page) == [1, 4])
    tab(page, "Evaluate")
    page.wait_for_selector("#eval-whose .under:has-text('Measured with layer 4')")
    page.click("#eval-whose .under .link")
    until(lambda: layers_on(page) == [4])
    page.wait_for_selector("#eval-whose .under", state="detached")
    assert page.evaluate("window.kept")


def test_what_one_flip_would_do_leaves_the_strip_with_its_pair(board, visit):
    page = visit()
    tab(page, "Chat")
    ask(page, PROMPT)  # nothing is transplanted: the strip of either pair holds the same, no layer
    flips = page.locator("#strip .flip")
    until(lambda: flips.count() == 6)
    before = flips.all_inner_texts()
    board.dashboard.load(board.workbench.spec("two"), "somebody")
    page.wait_for_selector("#panes .whose:has-text('This conversation is of one')")
    until(lambda: flips.count() == 0)
    page.click("#panes .whose .load")
    until(lambda: flips.all_inner_texts() == before)


def test_the_patched_panes_title_is_the_strips_whatever_is_written_meanwhile(
    board, visit, monkeypatch
):
    page = visit()
    toggle(page, 1)
    tab(page, "Chat")
    page.click("#chat-settings button.label-wrap")
    page.get_by_label("A toggle on the strip answers again").uncheck()
    go, plain = threading.Event(), board.workbench.chat

    def slow(*given, **more):
        for step in plain(*given, **more):
            yield step
            go.wait(PATIENCE / 1000)

    monkeypatch.setattr(board.workbench, "chat", slow)
    page.fill("#prompt textarea", PROMPT)
    page.click("#send")
    page.wait_for_selector("#panes .caret-end", state="attached")
    toggle(page, 4)
    until(lambda: patched(page).startswith("Patched · layers 1, 4"))
    go.set()
    page.wait_for_selector("#panes .pane.patched summary .badge")
    assert patched(page).startswith("Patched · layers 1, 4"), "the reply of layer 1 ended after it"
    assert "its reply is older, of layer 1" in patched(page)
    assert page.get_attribute("#strip .strip", "data-head") == "Patched · layers 1, 4"


def test_an_early_press_of_a_tab_stays_and_a_map_drawn_meanwhile_has_its_width(
    board, pairs, visit, monkeypatch
):
    go, bench = threading.Event(), board.workbench
    bench._pair = None

    def slow(spec, progress=None):
        progress("reading", 0.4)
        go.wait(PATIENCE / 1000)
        bench._pair = pairs["one"]

    monkeypatch.setattr(bench, "load", slow)
    board.dashboard.load(bench.spec("one"))
    page = visit(guide=True, wait="#brand .busy")
    tab(page, "Chat")
    go.set()
    page.wait_for_selector("#strip [role=gridcell]")
    page.wait_for_selector("#heatmap .main-svg", state="attached")
    page.wait_for_timeout(1500)
    chosen = page.locator("#tabs .tab-wrapper [aria-selected=true]")
    assert chosen.inner_text() == "Chat" and not page.locator("#guide").count()
    tab(page, "Localize")
    until(lambda: width(page) > 900)
    page.wait_for_selector("#guide")  # it comes where it points


def width(page):
    """How wide the map is drawn, if that is as wide as its place."""
    drawn, place = page.evaluate(
        "['#heatmap .main-svg', '#heatmap .js-plotly-plot']"
        ".map((one) => document.querySelector(one).clientWidth)"
    )
    return drawn if abs(drawn - place) <= 1 else 0


def test_a_link_opens_its_tab_with_the_prompt_answered_and_knows_what_was_found(
    board, visit, monkeypatch
):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    tab(page, "Search")
    page.click("#use")
    until(lambda: layers_on(page) == [1, 4])
    tab(page, "Chat")
    ask(page, PROMPT)
    said = page.locator("#panes .pane .reply .text").all_inner_texts()
    page.click("#strip [data-op=none]")
    until(lambda: layers_on(page) == [])
    page.click("#chat-keep button.label-wrap")
    page.click("#session-link")
    page.wait_for_selector("#session-said .copied:has-text('Copied.')")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.input_value("#session-said .link-text")

    monkeypatch.setattr(board.workbench, "_jobs", {})  # the found set comes with the link alone
    other = visit(query=link.removeprefix(board.url))
    other.wait_for_selector("#panes .pane.patched summary .badge")
    chosen = other.locator("#tabs .tab-wrapper [aria-selected=true]")
    assert chosen.inner_text() == "Chat" and layers_on(other) == []
    replies = other.locator("#panes .pane .reply .text").all_inner_texts()
    assert replies[0] == said[0] and replies[2] == said[2] and replies[1] == said[0]
    other.click("#strip [data-op=found]")
    until(lambda: layers_on(other) == [1, 4])


def test_a_link_to_another_pair_is_followed_once_that_pair_is_loaded(board, visit):
    page = visit(query="/?tab=chat&pair=two&mask=0.gate&found=0.gate,2.gate&prompt=hello")
    page.wait_for_selector("#session-said:has-text('belongs to the pair two; one is loaded')")
    page.click("#link-fetch")
    page.wait_for_selector("#panes .pane.patched summary .badge")
    until(lambda: layers_on(page) == [0])
    page.wait_for_selector("#link-fetch", state="hidden")


def test_runs_are_renamed_taken_away_compared_and_deleted(board, visit):
    page = visit(accept_downloads=True)
    for layer in (1, 4):
        toggle(page, layer)
        evaluated(page)
        page.wait_for_selector("#eval-stop", state="hidden")
    tab(page, "Runs")
    rows, stored = page.locator("#runs tbody tr"), len(board.workbench.store.runs())
    until(lambda: rows.count() == stored)
    page.click("#runs [data-run] >> nth=0")
    page.wait_for_selector("#run [data-model=patched][data-measure=dsr]")
    page.click("#run [data-model=patched][data-measure=dsr]")
    page.wait_for_selector("#run-certified .replies")
    page.click("#runs [data-do=beside] >> nth=0")
    page.wait_for_selector("#beside-card:has-text('Two evaluations side by side')")
    for place, most in (("#runs-list", stored), ("#beside", None)):
        with page.expect_download() as given:
            page.click(f"{place}-json")
        body = json.loads(given.value.path().read_text(encoding="utf-8"))
        with page.expect_download() as given:
            page.click(f"{place}-csv")
        lines = given.value.path().read_text(encoding="utf-8").splitlines()
        assert body["rows"] and len(lines) == 2 + len(body["rows"])
        assert most in (None, len(body["rows"]))
    page.fill("#run-name input, #run-name textarea", "both layers")
    page.click("#run-rename")
    page.wait_for_selector("#runs td:has-text('both layers')")
    for button, ending in (("#run-json", ".json"), ("#run-csv", ".csv")):
        with page.expect_download() as given:
            page.click(button)
        text = given.value.path().read_text(encoding="utf-8")
        assert given.value.suggested_filename.endswith(ending) and "both layers" in text
        assert ending == ".csv" or json.loads(text)["kind"] == "evaluate"
    page.click("#run-delete")
    page.click("#run-keep")  # the first press is taken back: nothing is deleted
    page.wait_for_selector("#run-keep", state="hidden")
    page.click("#run-delete:has-text('Delete'):not(:has-text('for good'))")
    assert rows.count() == stored
    page.click("#run-delete:has-text('Delete for good')")
    until(lambda: rows.count() == stored - 1)
    assert "both layers" not in [run.title for run in board.workbench.store.runs()]
    page.wait_for_selector("#run-tools", state="hidden")
