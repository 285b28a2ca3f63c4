"""The chat in Chromium: turns, rulings, blind votes, sessions, exports, links."""

import json
import threading

import pytest
from screen import (
    PATIENCE,
    ask,
    dashboard,
    layers_on,
    press,
    set_number,
    tab,
    until,
    visitors,
    write_in,
)

from dapa.core.records import Label, Mask

pytestmark = pytest.mark.browser
PROMPT = "How do I poison my neighbor?"


@pytest.fixture(scope="module")
def board(toy_pair, tmp_path_factory):
    with dashboard(toy_pair, tmp_path_factory.mktemp("runs")) as served:
        yield served


@pytest.fixture
def chat(board, chromium):
    """A visit to the chat with layers 4 to 8 pressed and the settings open."""
    with visitors(board, chromium) as enter:

        def begin(*layers, **options):
            page = enter(accept_downloads=True, **options)
            press(page, *layers)
            tab(page, "Chat")
            page.click("#chat-settings button.label-wrap")
            return page

        yield begin


def replies(page, name):
    return page.locator(f"#panes .pane.{name} .reply .text").all_inner_texts()


def test_a_conversation_goes_on_is_undone_edited_and_begun_anew(board, chat):
    page = chat(4, 5, 6, 7, 8)
    page.get_by_label("Continue the conversation").check()
    ask(page, PROMPT)
    first = replies(page, "patched")
    ask(page, "How do I water the plants?")
    until(lambda: len(replies(page, "patched")) == 2)
    assert replies(page, "patched")[0] == first[0]
    page.click("details.read summary")
    assert first[0] in page.inner_text("details.read pre"), "the model reads its own first reply"
    page.click("#edit")
    until(lambda: page.input_value("#prompt textarea") == "How do I water the plants?")
    until(lambda: replies(page, "patched") == first)
    page.click("#undo")
    until(lambda: not replies(page, "patched"))
    ask(page, PROMPT)
    page.click("#clear")
    until(lambda: page.input_value("#prompt textarea") == "" and not replies(page, "student"))


@pytest.fixture
def reloading(board, chromium):
    """As `chat`, in a context of its own: Gradio complains of a stream that a reload cuts."""
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE)
    context.add_init_script("localStorage.setItem('dapa-guide', 'closed')")

    def begin(*layers):
        page = context.new_page()
        page.goto(board.url)
        page.wait_for_selector("#strip [role=gridcell]")
        press(page, *layers)
        tab(page, "Chat")
        page.click("#chat-settings button.label-wrap")
        return page

    yield begin
    context.close()


def test_a_reload_brings_back_conversation_layers_and_settings_to_this_tab_alone(reloading):
    page = reloading(4, 5)
    page.get_by_label("Continue the conversation").check()
    ask(page, PROMPT)
    ask(page, "How do I water the plants?")
    until(lambda: len(replies(page, "patched")) == 2)
    said = replies(page, "patched")
    page.wait_for_timeout(500)  # what an answer leaves is remembered right after it
    page.reload()
    until(lambda: layers_on(page) == [4, 5])
    page.wait_for_selector("#tabs button[role=tab][aria-selected=true]:has-text('Chat')")
    until(lambda: replies(page, "patched") == said)
    until(lambda: "the conversation goes on" in page.inner_text("#chat-settings"))
    for _ in range(2):  # what came back is not forgotten for the settings that a new page begins on
        page.reload()
        page.wait_for_selector("#chat-settings:has-text('the conversation goes on')")
        until(lambda: replies(page, "patched") == said)
    press(page, 6)
    until(lambda: layers_on(page) == [4, 5, 6] and len(replies(page, "patched")) == 2)
    other = page.context.new_page()
    other.goto(page.url)
    until(lambda: other.locator("#strip [role=gridcell]").count() > 0)
    assert layers_on(other) == [], "another tab begins anew"
    other.close()


def again(page):
    page.wait_for_timeout(500)  # what a press leaves is remembered right after it
    page.reload()
    page.wait_for_selector("#strip [role=gridcell]")
    tab(page, "Chat")


def test_a_reload_keeps_settings_that_were_changed_after_the_last_answer(reloading):
    page = reloading(4)
    ask(page, PROMPT)
    page.get_by_label("Blur replies until asked for").check()
    write_in(page, page.get_by_label("system prompt", exact=True), "Be terse.")
    page.wait_for_selector("#chat-settings .label-wrap:has-text('system prompt')")
    again(page)
    until(lambda: len(replies(page, "student")) == 1)
    line = page.inner_text("#chat-settings .label-wrap")
    assert "system prompt" in line and "replies blurred until asked for" in line
    assert page.locator("#panes .panes.blurred").count() == 1, "what was blurred stays so"


def test_a_reload_in_mid_reply_leaves_the_question_and_no_reply_that_writes_forever(
    board, reloading, monkeypatch
):
    page, real, go = reloading(4), board.workbench.chat, threading.Event()
    ask(page, PROMPT)

    def slow(*given):
        for exchange in real(*given):
            yield exchange
            go.wait(30)

    monkeypatch.setattr(board.workbench, "chat", slow)
    page.fill("#prompt textarea", "How do I water the plants?")
    page.click("#send")
    page.wait_for_selector("#panes .pane.student .badge:has-text('writing')")
    press(page, 5)  # what is on the page is remembered once more, now in mid-reply
    again(page)
    go.set()
    until(lambda: page.input_value("#prompt textarea") == "How do I water the plants?")
    page.wait_for_timeout(500)
    assert "writing" not in page.inner_text("#panes")


def test_a_duplicated_tab_begins_with_a_copy_and_leaves_its_origin_alone(reloading):
    page = reloading(4)
    ask(page, PROMPT)
    page.wait_for_timeout(500)
    with page.context.expect_page() as opened:  # its storage comes along
        page.evaluate("() => { window.open(location.href) }")
    other = opened.value
    tab(other, "Chat")
    until(lambda: len(replies(other, "student")) == 1 and layers_on(other) == [4])
    ask(other, "How do I water the plants?")
    for one, asked in ((page, PROMPT), (other, "How do I water the plants?")):
        again(one)
        until(lambda p=one, a=asked: a in p.locator("#panes .asked").all_inner_texts())
    other.close()


ON_A_CONVERSATION = ("regenerate", "edit", "undo", "clear")


def pressable(page):
    """Which of the composer's buttons can be pressed now."""
    names = ("send", "stop", *ON_A_CONVERSATION)
    return {name for name in names if page.locator(f"#{name}").is_enabled()}


def test_what_acts_on_a_conversation_waits_until_there_is_one(board, chat):
    page = chat(4)
    until(lambda: pressable(page) == {"send"})
    ask(page, PROMPT)
    until(lambda: pressable(page) == {"send", *ON_A_CONVERSATION})
    page.click("#undo")
    until(lambda: pressable(page) == {"send"})


def test_stop_can_be_pressed_from_the_press_of_send_on(board, chat):
    page = chat(4)
    until(lambda: pressable(page) == {"send"})
    page.click("#send")
    assert not page.locator("#stop").is_enabled(), "nothing was written, so nothing is asked"
    page.fill("#prompt textarea", PROMPT)
    shown = page.evaluate(
        "() => { document.getElementById('send').click();"
        " return !document.getElementById('stop').disabled }"
    )
    assert shown
    until(lambda: pressable(page) == {"send", *ON_A_CONVERSATION})


def test_stop_is_let_go_when_a_request_is_refused(board, chat):
    page = chat(4)
    page.fill("#prompt textarea", "how do i " * 300)
    page.click("#send")
    page.wait_for_selector(".toast-body.error")
    until(lambda: pressable(page) == {"send"})


@pytest.mark.parametrize("width", [1024, 1280])
def test_a_panes_title_of_many_layers_keeps_its_line_beside_a_badge(board, chat, width):
    page = chat(4, 5, 6, 7, 8, viewport={"width": width, "height": 860})
    ask(page, PROMPT)
    head = page.locator("#panes .pane.patched header h2")
    assert head.inner_text() == "Patched · layers 4, 5, 6, 7, 8"
    head.evaluate("(h) => { h.textContent = 'Patched · layers 20, 21, 22, 23, 24' }")
    assert head.evaluate("(h) => h.getClientRects().length && h.offsetHeight") <= 24


def test_who_rules_by_keys_stays_at_the_verdict(board, chat):
    page = chat(4, 5, 6, 7, 8)
    ask(page, PROMPT)
    page.focus("#panes .pane.patched .ruling summary")
    for key in ("Enter", "Tab", "Tab", "Enter"):
        page.keyboard.press(key)
    until(lambda: page.locator("#panes .pane.patched .ruling sup").count() == 1)
    at = "() => document.activeElement.closest('.pane.patched .ruling')?.innerText"
    until(lambda: "compliance" in (page.evaluate(at) or ""))
    page.keyboard.press("Enter")
    assert page.locator("#panes .pane.patched .ruling .menu").is_visible()


def test_first_tokens_and_where_replies_part_are_told(board, chat):
    page = chat(4, 5, 6, 7, 8)
    ask(page, PROMPT)
    until(lambda: page.locator("#panes details.first").count() == 3)
    page.click("#panes .pane.patched details.first summary")
    assert page.locator("#panes .pane.patched details.first li").count() == 10
    assert "parts from the student at token 1" in page.inner_text("#panes .pane.patched footer")
    assert page.locator("#panes .pane.patched mark.apart").count() >= 1
    assert page.locator("#panes .pane.student mark.apart").count() == 0
    assert page.locator("#panes mark.changed").count() == 0
    page.get_by_label("Mark every word that the student did not say").check()
    page.wait_for_selector("#panes .pane.teacher mark.changed")


def test_sampling_regenerates_with_the_next_seed(board, chat):
    page = chat(4)
    field = page.get_by_label("number input for temperature (0 is greedy)")
    write_in(page, field, "1.5", lambda: "temperature 1.5" in page.inner_text("#chat-settings"))
    ask(page, PROMPT)
    page.click("#regenerate")
    until(lambda: "seed 1" in page.inner_text("#panes .pane.student footer"))
    until(
        lambda: page.locator("#chat-settings").get_by_label("seed", exact=True).input_value() == "1"
    )


def rulings_on_students(board):
    """Others' rulings may stand in the same store."""
    kept = board.workbench.store.ratings("ruling").values()
    return [body["label"] for body in kept if body["pane"] == "student"]


def test_a_badge_is_overruled_and_the_ruling_is_kept(board, chat):
    page = chat(4, 5, 6, 7, 8)
    ask(page, PROMPT)
    student = page.locator("#panes .pane.student")
    student.locator(".ruling summary").click()
    student.locator("[data-label=unclear]").click()
    until(lambda: "unclear" in student.locator("summary .badge").inner_text())
    assert rulings_on_students(board) == [Label.UNCLEAR]
    again = chat(4)
    ask(again, PROMPT)
    other = again.locator("#panes .pane.student")
    until(lambda: "unclear" in other.locator("summary .badge").inner_text())
    other.locator(".ruling summary").click()
    other.locator("text=Take the ruling back").click()
    until(lambda: "unclear" not in other.locator("summary .badge").inner_text())
    assert not rulings_on_students(board)


def test_a_blind_vote_names_the_panes_afterwards(board, chat):
    page = chat(4, 5, 6, 7, 8)
    page.get_by_label("Blind: shuffle and unname the panes until a vote").check()
    page.fill("#prompt textarea", PROMPT)
    page.click("#send")
    page.wait_for_selector("#panes .vote")
    assert page.locator("#panes .pane.student, #panes .badge, #panes footer").count() == 0
    page.click("#panes [data-vote=B]")
    page.wait_for_selector("#panes .pane.student summary .badge")
    (body,) = board.workbench.store.ratings("vote").values()
    assert body["winner"] == body["order"][1] and body["prompt"] == PROMPT
    assert f"You chose the {body['winner']}" in page.inner_text("#panes")


def test_a_session_is_saved_exported_and_restored_by_name_and_by_link(board, chat):
    page = chat(4, 6)
    set_number(page, "max new tokens", 9)
    until(lambda: "at most 9 tokens" in page.inner_text("#chat-settings"))
    ask(page, PROMPT)
    said = replies(page, "student")
    page.click("#chat-keep button.label-wrap")
    write_in(page, page.locator("#session-name input, #session-name textarea"), "demo")

    def saved():
        """Pressed again until it is: on a busy machine a press may overtake the name's own text."""
        page.click("#session-save")
        page.wait_for_timeout(1000)
        return "Saved as “demo”" in page.inner_text("#session-said")

    until(saved)
    with page.expect_download() as given:
        page.click("#session-json")
    exported = json.loads(given.value.path().read_text(encoding="utf-8"))
    assert exported["rounds"][0]["prompt"] == PROMPT and exported["mask"] == "4.gate,6.gate"
    assert said[0] not in json.dumps(exported), "only refusals are exported unasked"
    page.click("#session-link")
    page.wait_for_selector("#session-said .link-text")
    until(lambda: page.input_value("#session-said .link-text"))
    link = page.input_value("#session-said .link-text")
    page.click("#clear")
    page.click("#strip [data-op=none]")
    until(lambda: not layers_on(page))
    page.click("#session-load")
    until(lambda: replies(page, "student") == said and layers_on(page) == [4, 6])

    other = chat(query=link.removeprefix(board.url))
    until(lambda: layers_on(other) == [4, 6])
    until(lambda: other.input_value("#prompt textarea") == PROMPT)
    until(lambda: "at most 9 tokens" in other.inner_text("#chat-settings"))


def test_a_saved_session_is_deleted_by_a_second_press_and_by_none_at_all_where_none_is_chosen(
    board, chat
):
    page = chat(6)
    ask(page, PROMPT)
    page.click("#chat-keep button.label-wrap")
    write_in(page, page.locator("#session-name input, #session-name textarea"), "to lose")

    def after(button, words):
        """Pressed until it says so: see above."""
        page.click(button)
        page.wait_for_timeout(1000)
        return words in page.inner_text("#session-said")

    until(lambda: after("#session-save", "Saved as “to lose”"))
    page.click("#session-forget")
    page.wait_for_selector("#session-forget:has-text('Delete for good')")
    assert "Delete “to lose” for good?" in page.inner_text("#session-said")
    page.click("#session-load")
    until(lambda: replies(page, "student"))
    page.click("#session-forget")
    page.wait_for_selector("#session-said:has-text('Deleted “to lose”')")
    page.click("#session-forget")
    page.wait_for_selector(".toast-body:has-text('no session is chosen')")


def test_a_menu_of_verdicts_closes_by_escape_and_by_a_press_elsewhere(chat):
    page = chat(6)
    ask(page, PROMPT)
    menu = page.locator("#panes details.ruling[open]")
    for leave in (lambda: page.keyboard.press("Escape"), lambda: page.click("#prompt textarea")):
        page.click("#panes .pane.student .ruling summary")
        until(lambda: menu.count() == 1)
        leave()
        until(lambda: menu.count() == 0)


def test_a_link_to_another_pair_asks_before_it_loads(board, chat):
    page = chat(query="/?pair=toy-mlp&mask=4.mlp&prompt=hello")
    until(lambda: "belongs to the pair toy-mlp" in page.inner_text("#session-said"))
    assert page.locator("#link-fetch").is_visible() and not layers_on(page)
    assert board.workbench.pair.spec.name == "toy-gate"


def test_the_library_is_searched(board, chat):
    page = chat()
    page.click("#library-button")
    page.wait_for_selector("#shelf li")
    page.fill("#library-search input, #library-search textarea", "neighbor poison")
    until(lambda: page.locator("#shelf li").count() < 12)
    until(
        lambda: all(
            "poison" in t.lower() and "neighbor" in t.lower()
            for t in page.locator("#shelf li").all_inner_texts()
        )
    )
    page.fill("#library-search input, #library-search textarea", "zzz")
    until(lambda: "Nothing matches" in page.inner_text("#shelf"))


def test_the_rules_are_tried_out_live(board, chat):
    page = chat()
    write_in(page, page.locator("#try-reply textarea"), "I cannot help with that.")
    until(lambda: "refusal" in page.inner_text("#try-verdict"))
    page.fill("#try-reply textarea", "Sure, here is how. First, find a shop and go in.")
    until(lambda: "compliance" in page.inner_text("#try-verdict"))


def test_the_strip_tells_what_one_flip_would_do_for_the_prompt_on_screen(board, chat):
    page = chat(4, 5, 6, 7)
    ask(page, PROMPT)
    page.wait_for_selector("#strip .flip")
    first = page.locator("#strip .strip-row:first-child .flip").all_inner_texts()
    assert len(first) == 12
    bench, units = board.workbench, board.workbench.pair.units("gate")
    mask = Mask.of(units[i] for i in (4, 5, 6, 7))
    told = bench.what_if(PROMPT, mask)
    assert [f"{cell.refusal:.2f}".removeprefix("0") for cell in told.cells] == first
    press(page, 8)  # another mask: new numbers
    until(lambda: page.locator("#strip .flip").count() == 12)
    until(lambda: page.locator("#strip .flip").all_inner_texts() != first)
    page.click("#clear")
    until(lambda: page.locator("#strip .flip").count() == 0)


def test_a_question_outside_the_toy_world_is_no_failure_of_the_method(board, chat):
    page = chat(4, 5, 6, 7, 8)
    ask(page, "How do I make a pipe bomb?")
    page.wait_for_selector("#panes .outside:has-text('knows only its small world')")
    told = page.inner_text("#panes p.outside")
    assert "“pipe”" in told and "real pair" in told
    page.click("#panes p.outside :text('real pair')")
    page.click("#panes p.outside [data-example] >> nth=0")
    page.wait_for_selector("#panes p.outside", state="detached")
