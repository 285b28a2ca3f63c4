"""Chat: one prompt to student, patched and teacher side by side, streamed together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from random import SystemRandom
from typing import Any

import gradio as gr

from dapa.core.html import Html, html
from dapa.core.records import EMPTY, PromptError
from dapa.core.settings import MAX_SEED
from dapa.ui import belonging, forms, whatif
from dapa.ui.dashboard import Dashboard, guarded, piece, text
from dapa.ui.harmless import harmless
from dapa.ui.session import Session
from dapa.ui.tabs.chat import library, opening, rulings, sessions
from dapa.ui.tabs.chat.components import Conversation
from dapa.ui.tabs.chat.panes import View, draw
from dapa.ui.tabs.chat.shown import framed, order, picture
from dapa.workbench import ChatSettings, PaneName, Round, Talk, Turn, panes_of

_PAUSE = 0.08
"""Seconds between two pictures of a growing reply: the page starves at more than a dozen."""
_QUIET: dict[str, Any] = {"show_progress": "hidden"}
_TALKATIVE: dict[str, Any] = {
    **_QUIET, "concurrency_limit": 16, "concurrency_id": "replies", "trigger_mode": "multiple",
}  # fmt: skip


@dataclass(frozen=True)
class Chat(Conversation):
    """The tab's components."""

    send: gr.Button
    stop: gr.Button
    again: gr.Button
    edit: gr.Button
    undo: gr.Button
    clear: gr.Button
    shelf_button: gr.Button
    shelf: library.Library
    trial: rulings.TryOut
    keep: sessions.SessionCard


def build(dashboard: Dashboard) -> Chat:
    """Layout: panes, composer, library, settings folded into a sentence, what is kept."""
    talk, veil = gr.State(Talk()), gr.State(())
    panes = piece(draw(Talk(), View()), "panes.js", elem_id="panes")
    with gr.Row(elem_id="composer", elem_classes="card"):
        prompt = gr.Textbox(
            show_label=False,
            label="Prompt",
            placeholder="Ask all three…",
            lines=1,
            max_lines=6,
            max_length=100_000,
            elem_id="prompt",
            scale=1,
        )
        with gr.Row(elem_classes="buttons"):
            shelf_button = gr.Button("Library", elem_classes="plain", elem_id="library-button")
            send = gr.Button("Send", elem_classes="primary-action", elem_id="send")
            stop = gr.Button("Stop", elem_classes="plain", elem_id="stop")
            again = gr.Button("Regenerate", elem_classes="plain", elem_id="regenerate")
            edit = gr.Button("Edit", elem_classes="plain", elem_id="edit")
            undo = gr.Button("Undo", elem_classes="plain", elem_id="undo")
            clear = gr.Button("Clear", elem_classes="plain", elem_id="clear")
    shelf = library.build(dashboard)
    with forms.folded(ChatSettings, "chat") as form:
        trial = rulings.build()
    kept = sessions.build()
    return Chat(
        talk, veil, panes, prompt, form, send, stop, again, edit, undo, clear, shelf_button,
        shelf, trial, kept,
    )  # fmt: skip


def wire(
    dashboard: Dashboard,
    parts: Chat,
    session: gr.State,
    flips: gr.HTML,
    epoch: gr.State,
    elsewhere: Mapping[str, Any],
    back: opening.Opening,
) -> Any:
    """Events; returns what answers again after a toggle.

    Args:
        dashboard: Who answers.
        parts: The tab's components.
        session: What this page has chosen.
        flips: What carries the what-ifs.
        epoch: Changes with the loaded pair.
        elsewhere: The events, by name, that put a prompt from another place into the composer, the
            presenter's bar among them: it is asked as a pressed example is.
        back: What the page's opening brings back.
    """

    def ours(talk: Talk) -> Talk:
        """The conversation where the loaded pair held it, else a new one: pairs do not mix."""
        return talk if belonging.is_loaded(dashboard, talk.owner) else Talk()

    def answer(
        base: Talk, one: Round, names: tuple[PaneName, ...], here: Session, who: str | None,
        ways: ChatSettings, veil: tuple[str, ...],
    ) -> Iterator[tuple[Talk, str]]:  # fmt: skip
        """Stream the named panes into round `one`, behind `base`; other panes keep their words."""
        bench = dashboard.workbench
        pair, mask = bench.pair, here.mask if here.epoch in (dashboard.epoch, -1) else EMPTY
        owner = belonging.owner_of(pair.spec)
        stop = dashboard.talk(who)
        asked = Turn("user", one.prompt)
        turns = {n: [*(base.history(n) if ways.goes_on else ()), asked] for n in names}
        shown, now = 0.0, base
        hint = library.hint(dashboard, one.prompt)
        how, decoding, judge = ways.format(), ways.decoding(), ways.judge()
        safe = harmless(dashboard)
        try:
            for exchange in bench.chat(turns, mask, how, decoding, ways.seed, stop, judge, pair):
                now = Talk((*base.rounds, one.answered(exchange, mask)), exchange.steps, owner)
                if time.perf_counter() - shown >= _PAUSE:
                    shown = time.perf_counter()
                    view = View(mask, ways.blur, ways.words, veil, whole=pair.whole, harmless=safe)
                    yield now, framed(dashboard, now, draw(now, view, hint))
        finally:
            stop.set()
        yield now, picture(dashboard, now, mask, ways, veil)

    @guarded
    def send(
        request: gr.Request, prompt: Any, talk: Talk, here: Session, **values: Any
    ) -> Iterator[tuple[Any, ...]]:
        asked, ways = text(prompt, "the prompt"), parts.form.read(values)
        base = ours(talk) if ways.goes_on else Talk()
        names = panes_of(dashboard.workbench.pair)
        veil = tuple(SystemRandom().sample(names, len(names))) if ways.blind else ()
        who = _who(request)
        for step in answer(base, Round(asked, ()), names, here, who, ways, veil):
            yield *step, veil

    @guarded
    def linked(
        request: gr.Request, prompt: Any, talk: Talk, here: Session, **values: Any
    ) -> Iterator[tuple[Any, ...]]:
        """A link's prompt, where it has one."""
        if prompt:
            yield from send(request, prompt, talk, here, **values)

    @guarded
    def again(
        request: gr.Request, talk: Talk, here: Session, veil: Any, **values: Any
    ) -> Iterator[tuple[Any, ...]]:
        """Ask the last question anew; where replies are sampled, with the next seed."""
        if talk.last is None:
            raise PromptError("nothing was asked yet; write a question first")
        ways = parts.form.read(values)
        if ways.temperature and ways.seed < MAX_SEED:
            ways = replace(ways, seed=ways.seed + 1)
        one, who = Round(talk.prompt, ()), _who(request)
        names = panes_of(dashboard.workbench.pair)
        for step in answer(ours(talk).undone(), one, names, here, who, ways, order(veil)):
            yield *step, ways.seed

    @guarded
    def follow(
        request: gr.Request, talk: Talk, here: Session, veil: Any, **values: Any
    ) -> Iterator[Any]:
        ways = parts.form.read(values)
        theirs = not belonging.is_loaded(dashboard, talk.owner)
        if not ways.follow or talk.last is None or here.mask == talk.last.mask or theirs:
            drawn = gr.skip() if talk.last is None else picture(
                dashboard, talk, here.mask, ways, order(veil)
            )  # fmt: skip
            yield gr.skip(), drawn
            return
        asked: tuple[PaneName, ...] = ("patched",)
        base, who = talk.undone(), _who(request)
        yield from answer(base, talk.last, asked, here, who, ways, order(veil))

    @guarded
    def stop(request: gr.Request) -> None:
        dashboard.hush(_who(request))

    @guarded
    def take_back(
        request: gr.Request, talk: Talk, here: Session, veil: Any, **values: Any
    ) -> tuple[Talk, str]:
        dashboard.hush(_who(request))
        now = talk.undone()
        return now, picture(dashboard, now, here.mask, parts.form.read(values), order(veil))

    @guarded
    def edit(
        request: gr.Request, talk: Talk, here: Session, veil: Any, **values: Any
    ) -> tuple[Talk, str, str]:
        """The last question goes back to where it was written."""
        if talk.last is None:
            raise PromptError("nothing was asked yet; write a question first")
        return *take_back(request, talk, here, veil, **values), talk.prompt

    @guarded
    def clear(request: gr.Request, here: Session, **values: Any) -> tuple[Talk, str, str, Any]:
        dashboard.hush(_who(request))
        return Talk(), picture(dashboard, Talk(), here.mask, parts.form.read(values), ()), "", ()

    @guarded
    def redraw(talk: Talk, here: Session, veil: Any, **values: Any) -> Html:
        return picture(dashboard, talk, here.mask, parts.form.read(values), order(veil))

    out = [parts.talk, parts.panes]
    values: dict[str, Any] = dict(parts.form.parts)
    named: dict[str, Any] = {**_TALKATIVE, "inputs_kwargs": values}
    quiet: dict[str, Any] = {**_QUIET, "inputs_kwargs": values}
    state = [parts.talk, session, parts.veil]
    ask = [parts.prompt, parts.talk, session]
    asked = [*out, parts.veil]
    regenerated = [*out, values["seed"]]
    answered = {
        "chat_send": parts.send.click(send, ask, asked, api_name="chat_send", **named),
        "chat_submit": parts.prompt.submit(send, ask, asked, api_name="chat_submit", **named),
        "chat_again": parts.again.click(again, state, regenerated, api_name="chat_again", **named),
    }
    parts.stop.click(stop, None, None, api_name="chat_stop", queue=False, **_QUIET)
    answered["chat_undo"] = parts.undo.click(take_back, state, out, api_name="chat_undo", **quiet)
    answered["chat_edit"] = parts.edit.click(
        edit, state, [*out, parts.prompt], api_name="chat_edit", **quiet
    )
    answered["chat_clear"] = parts.clear.click(
        clear, [session], [*out, parts.prompt, parts.veil], api_name="chat_clear", **quiet
    )
    rules, looks = ("also", "never"), ("blur", "words")
    said = parts.form.follow("chat_say", [n for n in values if n not in (*rules, *looks)])
    ruled = parts.form.follow("chat_say_rules", rules)
    looked = parts.form.follow("chat_say_looks", looks).then(
        redraw, state, parts.panes, api_name="chat_redraw", trigger_mode="always_last", **quiet
    )
    epoch.change(  # what stands in panes and strip may be another pair's
        redraw, state, parts.panes, api_name="chat_pair", **opening.IN_ORDER, **quiet
    )
    told = rulings.wire(dashboard, parts, parts.trial, session, ruled)
    shelved = library.wire(dashboard, parts.shelf, parts.prompt, parts.shelf_button, epoch)
    example = parts.panes.select(picked, None, parts.prompt, api_name="chat_example", **_QUIET)
    asking: dict[str, Any] = {}
    for event, name in (
        (shelved, "chat_pick"), (example, "chat_ask_example"),
        *((event, f"{name}_asked") for name, event in elsewhere.items()),
    ):  # fmt: skip
        answered[name] = event.then(send, ask, asked, api_name=name, **named)
        asking[f"{name}_begun"] = event

    def chain(event: Any, name: str) -> None:
        """After `event` changed the mask, answer the last prompt again in the patched pane."""
        after({name: event.then(follow, state, out, api_name=name, **named)})

    def after(events: Mapping[str, Any]) -> None:
        """What the strip and this tab's memory owe to another conversation or other layers."""
        whatif.wire(dashboard, flips, events, parts.talk, session, values)
        for name, event in events.items():
            back.hold(event.then, name)

    answered["link_ask"] = back.ask.change(  # a link opens with its answer
        linked, [back.ask, parts.talk, session], asked, api_name="link_ask", **named
    )
    after({**answered, **back.came})
    # Figures of the pair before go. None are reckoned for what a reload brings back: the page that
    # opens has not all of its settings at first, and other settings have other figures.
    epoch.change(lambda: html(""), None, flips, api_name="chat_pair_whatif", **_QUIET)
    # Settings stay as well, and a question that a reload cuts short stands in the composer again.
    for name, event in {"chat_say": said, "chat_redraw": looked, **told, **asking}.items():
        back.hold(event.then, name)
    back.hold(parts.send.click, "chat_send_begun")
    back.hold(parts.prompt.submit, "chat_submit_begun")
    return chain


@guarded
def picked(event: gr.EventData) -> str:
    """A prompt that was pressed somewhere goes to the composer."""
    data = getattr(event, "_data", None)
    return text(data.get("text") if isinstance(data, dict) else None, "the prompt")


def _who(request: gr.Request | None) -> str | None:
    return getattr(request, "session_hash", None)
