"""The panes as one browser sees them now, rulings and remarks included."""

from __future__ import annotations

from typing import Any

from dapa.core.html import Html, html
from dapa.core.records import Mask
from dapa.ui.belonging import whose
from dapa.ui.dashboard import Dashboard
from dapa.ui.harmless import harmless
from dapa.ui.tabs.chat import library
from dapa.ui.tabs.chat.panes import View, draw
from dapa.workbench import PANES, ChatSettings, Talk, rulings_on


def picture(
    dashboard: Dashboard, talk: Talk, mask: Mask, ways: ChatSettings, veil: tuple[str, ...]
) -> Html:
    """The panes as they stand, with the remark for prompts outside the toy world."""
    rulings = rulings_on(dashboard.workbench.store, talk.last)
    bench = dashboard.workbench
    whole = bench.pair.whole if bench.loaded else True
    safe = harmless(dashboard)
    view = View(mask, ways.blur, ways.words, veil, rulings, whole, safe)
    begin = library.examples(dashboard) if talk.last is None else html("")
    return framed(dashboard, talk, draw(talk, view, library.hint(dashboard, talk.prompt)) + begin)


def framed(dashboard: Dashboard, talk: Talk, panes: str) -> Html:
    """The panes, under whose they are where another pair spoke them."""
    return whose(dashboard, talk.owner, "This conversation") + panes


def order(veil: Any) -> tuple[str, ...]:
    """A blind order, which only ever comes from this server's own state; else none."""
    return veil if isinstance(veil, tuple) and set(veil) <= set(PANES) else ()
