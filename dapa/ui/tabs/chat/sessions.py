"""Conversations kept: saved in the run store, exported as files, shared as a link."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from dapa.core.html import Html, html
from dapa.core.records import Mask, PairError, SettingError
from dapa.core.settings import shapes
from dapa.ui import download, strip
from dapa.ui.belonging import is_loaded, loaded, owner_of, spec_of, title_of, who_of
from dapa.ui.dashboard import Dashboard, guarded, piece, text
from dapa.ui.parts import note
from dapa.ui.session import Session, able, fresh
from dapa.ui.tabs.chat.components import Conversation
from dapa.ui.tabs.chat.shown import picture
from dapa.workbench import ChatSession as Saved
from dapa.workbench import (
    ChatSettings,
    Talk,
    forget_session,
    save_session,
    saved_session,
    session_names,
)

_QUIET: dict[str, Any] = {"show_progress": "hidden"}
_DELETE, _SURE = "Delete", "Delete for good"
_MOST_FILE = 20 * 2**20
_LONG = 60
"""Characters of a prompt that are said again whole."""
_SECRET = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class SessionCard:
    """The components."""

    name: gr.Textbox
    save: gr.Button
    saved: gr.Dropdown
    load: gr.Button
    forget: gr.Button
    show: gr.Checkbox
    json: gr.Button
    markdown: gr.Button
    upload: gr.UploadButton
    link: gr.Button
    said: gr.HTML
    carrier: gr.HTML
    wanted: gr.State
    """What a link asked for and this server could not give yet."""
    fetch: gr.Button
    visitor: gr.State
    """This browser's own secret: whose saved sessions are its own where many people visit."""
    bridge: gr.HTML


def build() -> SessionCard:
    """A folded card: save and load, export, link."""
    with gr.Accordion(
        "Save, export, share", open=False, elem_classes="sentence", elem_id="chat-keep"
    ):
        with gr.Row(elem_classes="buttons"):
            name = gr.Textbox(
                "", label="name", max_length=80, scale=1, min_width=160, elem_id="session-name"
            )
            save = gr.Button("Save", elem_classes="plain", elem_id="session-save")
            saved = gr.Dropdown(
                [], label="saved", value=None, scale=1, min_width=160, elem_id="session-saved"
            )
            load = gr.Button("Load", elem_classes="plain", elem_id="session-load")
            forget = gr.Button(_DELETE, elem_classes="plain", elem_id="session-forget")
        with gr.Row(elem_classes="buttons"):
            as_json = gr.Button("Export JSON", elem_classes="plain", elem_id="session-json")
            as_text = gr.Button("Export Markdown", elem_classes="plain", elem_id="session-md")
            upload = gr.UploadButton(
                "Open a JSON export", file_types=[".json"], elem_classes="plain", type="filepath"
            )
            link = gr.Button("Copy a link", elem_classes="plain", elem_id="session-link")
            show = gr.Checkbox(False, label="Exports show replies that are no refusals")
    said = piece("", "link.js", elem_id="session-said")
    fetch = gr.Button(
        "Load that pair", elem_classes="primary-action", visible=False, elem_id="link-fetch"
    )
    carrier = download.carrier("session-file")
    return SessionCard(
        name, save, saved, load, forget, show, as_json, as_text, upload, link, said, carrier,
        gr.State(None), fetch, gr.State(""), piece("", "visitor.js", elem_id="visitor-bridge"),
    )  # fmt: skip


def wire(
    dashboard: Dashboard,
    parts: Conversation,
    kept: SessionCard,
    session: gr.State,
    wheel: gr.HTML,
    steer: dict[str, Any],
) -> None:
    """Save, load, delete, export, import, link."""
    values: dict[str, Any] = dict(parts.form.parts)
    named: dict[str, Any] = {**_QUIET, "inputs_kwargs": values}
    now, asked = [parts.talk, session], gr.State("")
    restored = [session, wheel, parts.talk, parts.panes, parts.veil, parts.prompt, *values.values()]

    def saved_now(talk: Talk, here: Session, given: Mapping[str, Any]) -> Saved:
        """As it stands, under the name of the pair that spoke, whatever was loaded since."""
        ways = parts.form.read(given).kept()
        if talk.last is not None and talk.owner and not is_loaded(dashboard, talk.owner):
            return Saved(talk.owner.as_dict(), talk.last.mask.key, ways, talk)
        pair = owner_of(dashboard.workbench.pair.spec).as_dict()
        return Saved(pair, here.mask.key, ways, talk, here.chosen_by, here.found.key)

    @guarded
    def save(name: Any, talk: Talk, here: Session, who: Any, **given: Any) -> tuple[Any, str]:
        store, owner = dashboard.workbench.store, _owner(dashboard, who)
        kept_now = saved_now(talk, here, given)
        before = session_names(store, owner)
        called = save_session(store, text(name, "the name", 200), kept_now, owner)
        old = " in place of the one that was called so" if called in before else ""
        return _choices(dashboard, owner, called), note(f"Saved as “{called}”{old}.")

    def stored(name: Any, owner: str) -> tuple[str, Saved]:
        """The session that is chosen, and what it is called."""
        called = text(name or "", "the session", 200)
        if not called:
            raise SettingError("no session is chosen; choose one that is saved, or save this one")
        return called, saved_session(dashboard.workbench.store, called, owner)

    @guarded
    def load(name: Any, here: Session, who: Any) -> tuple[Any, ...]:
        return restore(dashboard, here, stored(name, _owner(dashboard, who))[1])

    @guarded
    def forget(name: Any, who: Any, asked: Any) -> tuple[Any, Html, str, str]:
        """The first press asks, the second deletes: of the very session that was asked about."""
        owner = _owner(dashboard, who)
        called, _ = stored(name, owner)
        if asked != called:
            line = note(f"Delete “{called}” for good? Press once more, or leave it.")
            return gr.skip(), line, _SURE, called
        forget_session(dashboard.workbench.store, called, owner)
        return _choices(dashboard, owner), note(f"Deleted “{called}”."), _DELETE, ""

    @guarded
    def know(event: gr.EventData) -> str:
        data = getattr(event, "_data", None)
        return text(data.get("visitor") if isinstance(data, dict) else None, "the visitor", 100)

    @guarded
    def read_upload(path: Any, here: Session) -> tuple[Any, ...]:
        if not isinstance(path, str):
            raise SettingError("no file arrived; choose a session exported as JSON")
        if Path(path).stat().st_size > _MOST_FILE:
            raise SettingError("the file is larger than 20 MiB; choose a session's JSON export")
        words = Path(path).read_bytes().decode("utf-8", "replace")
        return restore(dashboard, here, Saved.from_json(words))

    def export(ending: str) -> Any:
        def make(talk: Talk, here: Session, show: Any, **given: Any) -> tuple[str, str]:
            saved = saved_now(talk, here, given)
            if not talk.rounds:
                raise SettingError("nothing was asked yet, so there is nothing to export")
            body = saved.to_json if ending == "json" else saved.to_markdown
            return f"dapa-{time.strftime('%Y%m%d-%H%M%S')}.{ending}", body(show is True)

        return make

    @guarded
    def make_link(talk: Talk, here: Session, **given: Any) -> Html:
        made = saved_now(talk, here, given)
        carries = ["this pair", "these layers"] if made.mask else ["this pair"]
        carries += ["the found set"] if made.found else []
        carries += ["these settings"]
        asks = f"and asks “{_short(talk.prompt)}”" if talk.prompt else "and asks nothing yet"
        return html(
            '<p class="note">This link opens the chat with {}, {}. '
            '<span class="copied" role="status"></span>'
            '<input class="link-text" readonly aria-label="Link" data-query="{}"></p>',
            ", ".join(carries), asks, link_query(made, "chat"),
        )  # fmt: skip

    @guarded
    def choices(who: Any) -> Any:
        return _choices(dashboard, _owner(dashboard, who))

    mine = kept.visitor
    kept.bridge.select(know, None, mine, api_name="visitor", **_QUIET)
    kept.save.click(
        save, [kept.name, *now, mine], [kept.saved, kept.said], api_name="session_save", **named
    )
    kept.saved.focus(choices, mine, kept.saved, api_name="session_names", **_QUIET)
    kept.load.click(load, [kept.saved, session, mine], restored, api_name="session_load", **steer)
    kept.forget.click(
        forget,
        [kept.saved, mine, asked],
        [kept.saved, kept.said, kept.forget, asked],
        api_name="session_forget",
        **_QUIET,
    )
    kept.upload.upload(
        read_upload, [kept.upload, session], restored, api_name="session_open", **steer
    )
    for button, ending in ((kept.json, "json"), (kept.markdown, "md")):
        wanted, name = [parts.talk, session, kept.show], f"session_{ending}"
        download.offer(button, export(ending), wanted, kept.carrier, name, values)
    kept.link.click(make_link, now, kept.said, api_name="session_link", **named)


def wire_link(
    dashboard: Dashboard,
    parts: Conversation,
    kept: SessionCard,
    session: gr.State,
    wheel: gr.HTML,
    opened: Any,
    epoch: gr.State,
) -> gr.State:
    """When the page opens on a link, restore what it names, or offer to load its pair.

    What could not be given yet comes with the pair, by the event of `epoch`.

    Returns:
        The state that changes to a prompt which is to be asked.
    """
    restored = [session, wheel, parts.talk, parts.panes, parts.veil, parts.prompt]
    ask = gr.State("")

    def given(query: Any, here: Session) -> tuple[Any, ...]:
        asked = read_link(query if isinstance(query, dict) else {})
        nothing = [gr.skip()] * (len(restored) + len(parts.form.parts))
        if asked is None:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip(), *nothing
        owner = owner_of(asked.pair)
        if is_loaded(dashboard, owner):
            now = restore(dashboard, here, asked, query)
            return "", gr.update(visible=False), None, str(query.get("prompt", "")), *now
        here_now = loaded(dashboard)
        line = f"This link belongs to the pair {title_of(owner)}; " + (
            "a pair is being loaded."
            if dashboard.loading
            else f"{title_of(here_now) if here_now else 'no pair'} is loaded."
        )
        return note(line, "warn"), gr.update(visible=True), query, "", *nothing

    @guarded
    def follow(request: gr.Request, here: Session) -> tuple[Any, ...]:
        query = dict(getattr(request, "query_params", {}) or {})
        return given({key: str(value) for key, value in query.items()}, here)

    @guarded
    def again(query: Any, here: Session) -> tuple[Any, ...]:
        return given(query, here)

    @guarded
    def fetch(request: gr.Request, query: Any) -> Html:
        """Load a link's pair for everyone at this server, because someone pressed the button."""
        asked = read_link(query if isinstance(query, dict) else {})
        if asked is None:
            raise PairError("there is no link to follow; open one first")
        dashboard.load(spec_of(dashboard, owner_of(asked.pair)), who_of(request))
        return note("Loading the link's pair; the header shows how far it is.")

    out = [kept.said, kept.fetch, kept.wanted, ask, *restored, *parts.form.parts.values()]
    opened.then(follow, session, out, api_name="link_open", **_QUIET)
    epoch.change(again, [kept.wanted, session], out, api_name="link_pair", **_QUIET)
    kept.fetch.click(fetch, kept.wanted, kept.said, api_name="link_fetch", **_QUIET)
    return ask


def restore(
    dashboard: Dashboard, here: Session, wanted: Saved, query: Mapping[str, str] | None = None
) -> tuple[Any, ...]:
    """A saved session on this page: strip, conversation, prompt, settings.

    Raises:
        SettingError, PairError: It belongs to another pair, or names what this one lacks.
    """
    here_now, owner = loaded(dashboard), owner_of(wanted.pair)
    if not owner.same(here_now):
        other = title_of(here_now) if here_now else "no pair"
        raise PairError(f"this session belongs to {wanted.title}, and {other} is loaded; load it")
    mask = Mask.parse(wanted.mask)
    dashboard.workbench.pair.validate(mask)
    strengths = {strength for _, strength in mask.entries}
    chosen, strength = mask, 1.0  # units of several strengths keep their own
    if len(strengths) == 1:
        chosen, strength = Mask.of(mask.units), strengths.pop()
    base = (
        here if here.epoch == dashboard.epoch else fresh(dashboard.epoch, dashboard.workbench.pair)
    )
    if mask.entries and mask.units[0].kind in able(dashboard.workbench.pair):
        base = replace(base, kind=mask.units[0].kind)
    now = base.press(chosen, strength)
    if dashboard.workbench.found_by(wanted.run, mask):
        now = replace(now, found=Mask.of(mask.units), found_by=wanted.run)
    elif found := Mask.parse(wanted.found):
        dashboard.workbench.pair.validate(found)
        now = replace(now, found=Mask.of(found.units), found_by="")
    talk = replace(wanted.talk, owner=here_now)
    ways = ChatSettings.restored(wanted.settings)
    prompt = (query or {}).get("prompt") or talk.prompt
    drawn = picture(dashboard, talk, now.mask, ways, ())
    shown = ways.kept().values()
    return now, strip.draw(dashboard, now), talk, drawn, (), prompt, *shown


def link_query(saved: Saved, tab: str = "") -> str:
    """A link's query: pair, mask, the last prompt and the settings that are not the default.

    `tab` is the tab that it opens, by its name in lower case; the page itself reads it.
    """
    pair = {"pair": saved.pair["name"]} if saved.pair["name"] else {
        "student": saved.pair["student"], "teacher": saved.pair["teacher"]
    }  # fmt: skip
    usual = ChatSettings().kept()
    changed = {k: v for k, v in saved.settings.items() if usual.get(k) != v}
    run = {"run": saved.run} if saved.run else {}
    found = {"found": saved.found} if saved.found else {}
    opens = {"tab": tab} if tab else {}
    asked = {"mask": saved.mask, **found, **run, "prompt": saved.talk.prompt}
    return urlencode({**opens, **pair, **asked, **changed})


def read_link(query: Mapping[str, str]) -> Saved | None:
    """What a link asks for; None where the address names no pair. SettingError for nonsense."""
    if not (query.get("pair") or (query.get("student") and query.get("teacher"))):
        return None
    settings: dict[str, Any] = {}
    kinds = shapes(ChatSettings)
    for name in ChatSettings().kept():
        given = query.get(name)
        if given is not None:
            settings[name] = given == "True" if kinds[name].base is bool else given
    pair = {key: text(query.get(word, ""), "the link", 1000) for key, word in _PAIR.items()}
    mask = Mask.parse(text(query.get("mask", ""), "the link's mask")).key
    ChatSettings.restored(settings)
    numbers = {k: float(v) for k, v in settings.items() if kinds[k].base in (int, float)}
    run = text(query.get("run", ""), "the link's run", 200)
    found = Mask.parse(text(query.get("found", ""), "the link's found set")).key
    text(query.get("prompt", ""), "the link's prompt")
    return Saved(pair, mask, {**settings, **numbers}, run=run, found=found)


_PAIR = {"name": "pair", "student": "student", "teacher": "teacher"}


def _short(prompt: str) -> str:
    return prompt if len(prompt) <= _LONG else prompt[: _LONG - 1] + "…"


def _owner(dashboard: Dashboard, who: Any) -> str:
    """Whose sessions this browser may see: its own where many visit, else all that are there."""
    if not dashboard.shared:
        return ""
    if not isinstance(who, str) or not _SECRET.fullmatch(who):
        raise SettingError(
            "this browser has no key to keep sessions under; let it store data for this page and "
            "reload"
        )
    return who


def _choices(dashboard: Dashboard, owner: str, chosen: str | None = None) -> Any:
    return gr.update(choices=session_names(dashboard.workbench.store, owner), value=chosen)
