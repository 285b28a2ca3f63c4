"""Conversations kept: the card that saves them, exports them as files and makes a link."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from dapa.core.html import Html, html
from dapa.core.records import SettingError
from dapa.ui import download
from dapa.ui.dashboard import Dashboard, guarded, piece, text
from dapa.ui.parts import note
from dapa.ui.session import Session
from dapa.ui.tabs.chat.components import Conversation
from dapa.ui.tabs.chat.links import as_it_stands, link_query, restore
from dapa.workbench import ChatSession as Saved
from dapa.workbench import Talk, forget_session, save_session, saved_session, session_names

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
) -> dict[str, Any]:
    """Save, load, delete, export, import, link; the events that restore a conversation, by name."""
    values: dict[str, Any] = dict(parts.form.parts)
    named: dict[str, Any] = {**_QUIET, "inputs_kwargs": values}
    now, asked = [parts.talk, session], gr.State("")
    restored = [session, wheel, parts.talk, parts.panes, parts.veil, parts.prompt, *values.values()]

    def saved_now(talk: Talk, here: Session, given: Mapping[str, Any]) -> Saved:
        return as_it_stands(dashboard, talk, here, parts.form.read(given))

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
    came = {
        "session_load": kept.load.click(
            load, [kept.saved, session, mine], restored, api_name="session_load", **steer
        ),
        "session_open": kept.upload.upload(
            read_upload, [kept.upload, session], restored, api_name="session_open", **steer
        ),
    }
    kept.forget.click(
        forget,
        [kept.saved, mine, asked],
        [kept.saved, kept.said, kept.forget, asked],
        api_name="session_forget",
        **_QUIET,
    )
    for button, ending in ((kept.json, "json"), (kept.markdown, "md")):
        wanted, name = [parts.talk, session, kept.show], f"session_{ending}"
        download.offer(button, export(ending), wanted, kept.carrier, name, values)
    kept.link.click(make_link, now, kept.said, api_name="session_link", **named)
    return came


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
