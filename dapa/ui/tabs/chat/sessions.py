"""Conversations kept: saved in the run store, exported as files, shared as a link."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from dapa.core.records import Mask, PairError, SettingError
from dapa.core.settings import shapes
from dapa.ui import download, strip
from dapa.ui.dashboard import Dashboard, guarded, piece, text
from dapa.ui.parts import esc, note
from dapa.ui.session import Session, able, fresh
from dapa.ui.tabs.chat.components import Conversation
from dapa.ui.tabs.chat.shown import picture
from dapa.workbench import ChatSession as Saved
from dapa.workbench import (
    ChatSettings,
    PairSpec,
    Talk,
    current_name,
    forget_session,
    save_session,
    saved_session,
    session_names,
)

_QUIET: dict[str, Any] = {"show_progress": "hidden"}
_MOST_FILE = 20 * 2**20
_SECRET = re.compile(r"[0-9a-f]{32}")
_PATIENCE = 600.0
"""Seconds that a link waits for its pair."""


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
            forget = gr.Button("Delete", elem_classes="plain", elem_id="session-forget")
        with gr.Row(elem_classes="buttons"):
            as_json = gr.Button("Export JSON", elem_classes="plain", elem_id="session-json")
            as_text = gr.Button("Export Markdown", elem_classes="plain", elem_id="session-md")
            upload = gr.UploadButton(
                "Open a JSON export", file_types=[".json"], elem_classes="plain", type="filepath"
            )
            link = gr.Button("Make a link", elem_classes="plain", elem_id="session-link")
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
    now = [parts.talk, session]
    restored = [session, wheel, parts.talk, parts.panes, parts.veil, parts.prompt, *values.values()]

    def saved_now(talk: Talk, here: Session, given: Mapping[str, Any]) -> Saved:
        spec = dashboard.workbench.pair.spec
        pair = {"name": spec.name, "student": spec.student, "teacher": spec.teacher}
        return Saved(pair, here.mask.key, parts.form.read(given).kept(), talk, here.chosen_by)

    @guarded
    def save(name: Any, talk: Talk, here: Session, who: Any, **given: Any) -> tuple[Any, str]:
        store, owner = dashboard.workbench.store, _owner(dashboard, who)
        kept_now = saved_now(talk, here, given)
        called = save_session(store, text(name, "the name", 200), kept_now, owner)
        return _choices(dashboard, owner, called), note(f"Saved as “{esc(called)}”.")

    @guarded
    def load(name: Any, here: Session, who: Any) -> tuple[Any, ...]:
        called, owner = text(name or "", "the session", 200), _owner(dashboard, who)
        return restore(dashboard, here, saved_session(dashboard.workbench.store, called, owner))

    @guarded
    def forget(name: Any, who: Any) -> tuple[Any, str]:
        called, owner = text(name or "", "the session", 200), _owner(dashboard, who)
        saved_session(dashboard.workbench.store, called, owner)
        forget_session(dashboard.workbench.store, called, owner)
        return _choices(dashboard, owner), note(f"Deleted “{esc(called)}”.")

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
    def make_link(talk: Talk, here: Session, **given: Any) -> str:
        query = link_query(saved_now(talk, here, given))
        return (
            '<p class="note">This link restores pair, layers, settings and the last prompt: '
            f'<input class="link-text" readonly aria-label="Link" data-query="{esc(query)}"></p>'
        )

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
        forget, [kept.saved, mine], [kept.saved, kept.said], api_name="session_forget", **_QUIET
    )
    kept.upload.upload(
        read_upload, [kept.upload, session], restored, api_name="session_open", **steer
    )
    for button, ending in ((kept.json, "json"), (kept.markdown, "md")):
        wanted, name = [parts.talk, session, kept.show], f"session_{ending}"
        download.offer(button, export(ending), wanted, kept.carrier, name, values)
    kept.link.click(make_link, now, kept.said, api_name="session_link", **named)
    kept.fetch.click(
        _fetcher(dashboard),
        [kept.wanted, session],
        [kept.said, kept.fetch, kept.wanted, *restored],
        api_name="link_fetch",
        **_QUIET,
    )


def wire_link(
    dashboard: Dashboard,
    parts: Conversation,
    kept: SessionCard,
    session: gr.State,
    wheel: gr.HTML,
    opened: Any,
) -> None:
    """When the page opens on a link, restore what it names, or offer to load its pair."""
    restored = [session, wheel, parts.talk, parts.panes, parts.veil, parts.prompt]

    @guarded
    def follow(request: gr.Request, here: Session) -> Iterator[tuple[Any, ...]]:
        query = {k: str(v) for k, v in dict(getattr(request, "query_params", {}) or {}).items()}
        asked = read_link(query)
        nothing = [gr.skip()] * (len(restored) + len(parts.form.parts))
        if asked is None:
            yield gr.skip(), gr.skip(), gr.skip(), *nothing
            return
        end = time.monotonic() + _PATIENCE
        while dashboard.loading is not None and time.monotonic() < end:
            yield gr.skip(), gr.skip(), gr.skip(), *nothing
            time.sleep(0.5)
        if _same(dashboard, asked.pair):
            yield "", gr.update(visible=False), None, *restore(dashboard, here, asked, query)
            return
        spec = dashboard.workbench.pair.spec.title if dashboard.workbench.loaded else "no pair"
        line = f"This link belongs to the pair {esc(asked.title)}; {esc(spec)} is loaded."
        yield note(line, "warn"), gr.update(visible=True), query, *nothing

    out = [kept.said, kept.fetch, kept.wanted, *restored, *parts.form.parts.values()]
    opened.then(follow, session, out, api_name="link_open", **_QUIET)


def _fetcher(dashboard: Dashboard) -> Any:
    @guarded
    def fetch(query: Any, here: Session) -> Iterator[tuple[Any, ...]]:
        """Load a link's pair for everyone at this server, because someone pressed the button."""
        asked = read_link(query if isinstance(query, dict) else {})
        if asked is None:
            raise PairError("there is no link to follow; open one first")
        count = 6 + len(ChatSettings().kept())
        spec = dashboard.workbench.spec(
            asked.pair["name"] or None,
            *(
                (None, None)
                if asked.pair["name"]
                else (asked.pair["student"], asked.pair["teacher"])
            ),
        )
        dashboard.load(spec)
        while dashboard.loading is not None:
            yield note("Loading the link's pair…"), gr.skip(), gr.skip(), *[gr.skip()] * count
            time.sleep(0.5)
        if dashboard.failure:
            raise PairError(dashboard.failure)
        yield "", gr.update(visible=False), None, *restore(dashboard, here, asked, query)

    return fetch


def restore(
    dashboard: Dashboard, here: Session, wanted: Saved, query: Mapping[str, str] | None = None
) -> tuple[Any, ...]:
    """A saved session on this page: strip, conversation, prompt, settings.

    Raises:
        SettingError, PairError: It belongs to another pair, or names what this one lacks.
    """
    if not _same(dashboard, wanted.pair):
        loaded = dashboard.workbench.pair.spec.title
        raise PairError(f"this session belongs to {wanted.title}, and {loaded} is loaded; load it")
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
    ways = ChatSettings.restored(wanted.settings)
    prompt = (query or {}).get("prompt") or wanted.talk.prompt
    drawn = picture(dashboard, wanted.talk, now.mask, ways, ())
    shown = ways.kept().values()
    return now, strip.draw(dashboard, now), wanted.talk, drawn, (), prompt, *shown


def link_query(saved: Saved) -> str:
    """A link's query: pair, mask, the last prompt and the settings that are not the default."""
    pair = {"pair": saved.pair["name"]} if saved.pair["name"] else {
        "student": saved.pair["student"], "teacher": saved.pair["teacher"]
    }  # fmt: skip
    usual = ChatSettings().kept()
    changed = {k: v for k, v in saved.settings.items() if usual.get(k) != v}
    run = {"run": saved.run} if saved.run else {}
    return urlencode({**pair, "mask": saved.mask, **run, "prompt": saved.talk.prompt, **changed})


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
    return Saved(pair, mask, {**settings, **numbers}, run=run)


_PAIR = {"name": "pair", "student": "student", "teacher": "teacher"}


def _same(dashboard: Dashboard, pair: Mapping[str, str]) -> bool:
    """Is the loaded pair the one that was meant?"""
    if not dashboard.workbench.loaded:
        return False
    spec: PairSpec = dashboard.workbench.pair.spec
    if pair.get("name"):
        return current_name(spec.name) == current_name(pair["name"])
    return (spec.student, spec.teacher) == (pair.get("student"), pair.get("teacher"))


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
