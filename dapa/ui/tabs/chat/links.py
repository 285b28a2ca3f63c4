"""A conversation's link, and how a saved conversation comes back onto the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from dapa.core.records import Mask, PairError
from dapa.core.settings import shapes
from dapa.ui import strip
from dapa.ui.belonging import current, is_loaded, loaded, owner_of, title_of
from dapa.ui.dashboard import Dashboard, text
from dapa.ui.session import Session, able
from dapa.ui.tabs.chat.shown import picture
from dapa.workbench import ChatSession as Saved
from dapa.workbench import ChatSettings, Talk


def as_it_stands(dashboard: Dashboard, talk: Talk, here: Session, ways: ChatSettings) -> Saved:
    """The conversation under the name of the pair that spoke, whatever was loaded since."""
    if talk.last is not None and talk.owner and not is_loaded(dashboard, talk.owner):
        return Saved(talk.owner.as_dict(), talk.last.mask.key, ways.kept(), talk)
    pair = owner_of(dashboard.workbench.pair.spec).as_dict()
    return Saved(pair, here.mask.key, ways.kept(), talk, here.chosen_by, here.found.key)


def restore(
    dashboard: Dashboard, here: Session, wanted: Saved, prompt: str = "",
    veil: tuple[str, ...] = (),
) -> tuple[Any, ...]:  # fmt: skip
    """A saved session on this page: strip, conversation, prompt, settings.

    Args:
        dashboard: Whose pair it must be of.
        here: What this page chose so far.
        wanted: The session.
        prompt: What stands in the composer; the newest request unless it is given.
        veil: The order of unnamed panes, where they are to stay unnamed.

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
    base = current(dashboard, here)
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
    drawn = picture(dashboard, talk, now.mask, ways, veil)
    shown = ways.kept().values()
    return now, strip.draw(dashboard, now), talk, drawn, veil, prompt or talk.prompt, *shown


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
