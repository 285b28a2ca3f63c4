"""What would be markup stands as text: in every place of the page that words come to, live."""

import json
from dataclasses import replace
from random import Random
from urllib.parse import urlencode

import pytest
from screen import ask, dashboard, tab, until, visitors

from dapa.chat.conversation import Pane
from dapa.chat.sessions import ChatSession, Round, Talk
from dapa.core.records import Label, Mask, Unit, Verdict
from dapa.workbench import ChatSettings

pytestmark = pytest.mark.browser
HIT = "window.hit=1,alert(1)"
PAYLOADS = [
    f"<script>{HIT}</script>",
    f"<img src=x onerror={HIT}>",
    f"<svg onload={HIT}>",
    f'"><img src=x onerror="{HIT}">',
    f"'><svg/onload='{HIT}'>",
    f'" autofocus onfocus="{HIT}" x="',
    f"' onmouseover='{HIT}' style='position:fixed;inset:0' x='",
    f"</script><script>{HIT}</script>",
    f"</textarea><script>{HIT}</script>",
    f"</style><script>{HIT}</script>",
    f"</title></head><body onload={HIT}>",
    f"--><script>{HIT}</script><!--",
    f"]]><script>{HIT}</script>",
    f"<iframe srcdoc='<script>parent.{HIT}</script>'></iframe>",
    '<iframe src="http://evil.invalid/"></iframe>',
    '<link rel=stylesheet href="http://evil.invalid/x.css">',
    '<img src="http://evil.invalid/x.png">',
    '<meta http-equiv=refresh content="0;url=http://evil.invalid/">',
    '<base href="http://evil.invalid/">',
    f'<a href="javascript:{HIT}" style="position:fixed;inset:0">x</a>',
    f"[x](javascript:{HIT}) ![x](http://evil.invalid/y.png)",
    f"<details open ontoggle={HIT}><math><mtext><img src=x onerror={HIT}>",
    "<style>*{display:none!important}</style></div></div></main>",
    "{{constructor.constructor('window.hit=1')()}} ${window.hit=1} {% raise %}",
    "\u202e" + "W" * 120 + "<b>&lt;script&gt;",
]
WIDTH = 1280


@pytest.fixture(scope="module")
def board(toy_pair, tmp_path_factory):
    with dashboard(toy_pair, tmp_path_factory.mktemp("runs")) as served:
        yield served


def quiet(page):
    """A page whose dialogs are failures."""
    page.on("dialog", lambda dialog: pytest.fail(f"a dialog opened: {dialog.message}"))
    return page


DRAWN = 12
"""Rounds of a conversation that the page draws at most."""


def stands(page):
    """Nothing ran, nothing hides the page, nothing is wider than it."""
    assert page.evaluate("() => window.hit") is None
    assert page.evaluate("() => document.documentElement.scrollWidth") <= WIDTH
    assert page.locator("#strip .strip-row:first-child [role=gridcell]").count() == 12
    for name in ("Localize", "Search", "Chat", "Evaluate", "Runs"):
        assert page.get_by_role("tab", name=name, exact=True).is_visible()
    found = page.locator("#page").locator("[onerror], [onload], [onfocus], [ontoggle], base, meta")
    assert not found.count()
    assert not page.locator("a[href^='javascript:'], [src*='evil.invalid']").count()


def conversation(board, payloads):
    """A session's file in which whatever may be words is a payload."""
    spec = board.workbench.pair.spec
    pair = {"name": spec.name, "student": spec.student, "teacher": spec.teacher}
    rounds = []
    for payload in payloads:
        verdict = Verdict(Label.COMPLIANCE, payload, (0, 3), payload)
        plain = Pane("student", payload, 4, 0.5, "length", verdict, 7, cut=payload)
        panes = (plain, replace(plain, name="patched"), replace(plain, name="teacher"))
        rounds.append(Round(payload, panes))
    settings = ChatSettings().kept()
    return ChatSession(pair, Mask.of([Unit(1)]).key, settings, Talk(tuple(rounds)), payloads[0])


def given(page, label, name, body):
    """Hand a file to one of the page's buttons."""
    page.locator(f"input[type=file][data-testid='{label}-upload-button']").set_input_files(
        {"name": name, "mimeType": "text/plain", "buffer": body.encode()}
    )


@pytest.mark.parametrize(
    "share", [8, pytest.param(1, marks=pytest.mark.full)], ids=["eighth", "full"]
)
def test_no_words_from_anywhere_are_markup_on_the_page(board, chromium, share, capsys):
    payloads = Random(0).sample(PAYLOADS, len(PAYLOADS) // share)
    for payload in payloads:
        told = {"pair": {"name": payload}, "algorithm": payload, "kind": payload}
        run = board.workbench.store.new_run("search", payload, told)
        board.workbench.store.finish(run.id, "failed", {"error": payload})
    with visitors(board, chromium) as enter:
        page = quiet(enter())
        tab(page, "Runs")
        page.wait_for_selector("#runs [data-run]")
        until(lambda: all(payload in page.text_content("#runs") for payload in payloads))
        for number in range(len(payloads)):
            page.locator("#runs tbody tr").nth(number).locator("[data-run]").first.click()
            until(lambda n=number: page.text_content("#run .note.fail") == payloads[-1 - n])
        stands(page)

        tab(page, "Chat")
        page.click("#chat-keep button.label-wrap")
        asked = page.locator("#panes .pane.patched .asked")
        for at in range(0, len(payloads), DRAWN):
            part = payloads[at : at + DRAWN]
            saved = json.dumps(conversation(board, part).as_dict())
            given(page, "Open a JSON export", f"{part[0][:20]}.json".replace("/", "_"), saved)
            until(lambda p=part: [text.strip() for text in asked.all_text_contents()] == p)
            stands(page)

        page.click("#library-button")
        page.wait_for_selector("#shelf li")
        lines = "\n".join(json.dumps({"prompt": p, "category": p, "twin": p}) for p in payloads)
        for payload in payloads:
            name = payload.replace("/", "_").replace("\u202e", "")[:80]
            given(page, "Upload prompts", f"{name}.jsonl", lines)
        until(lambda: "prompts read from" in page.inner_text("#shelf"))
        until(lambda: all(payload in page.text_content("#shelf") for payload in payloads))
        stands(page)

        for payload in payloads:
            page.click("#clear")
            until(lambda: not page.locator("#panes .asked").count())
            ask(page, payload)
        stands(page)

        for payload in payloads:
            link = urlencode({"pair": "toy-gate", "mask": "4.gate", "prompt": payload})
            linked = quiet(enter(query=f"/?{link}"))
            tab(linked, "Chat")
            until(lambda e=linked, p=payload: e.input_value("#prompt textarea") == p)
            stands(linked)
            linked.close()
    with capsys.disabled():
        print(
            f"\n{len(payloads)} payloads in run, file, name, category, session, prompt, link: dead"
        )
