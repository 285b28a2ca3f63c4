"""What a page opens on: what its browser tab held before a reload, else what its link names.

A tab is known by a secret that it keeps itself (`opening.js`); the server remembers the newest
conversation and layers of so many tabs, in memory only.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from dapa.core.html import Html
from dapa.core.records import PairError, SettingError
from dapa.ui.belonging import is_loaded, loaded, owner_of, spec_of, title_of, who_of
from dapa.ui.dashboard import Dashboard, guarded, script, text
from dapa.ui.parts import note
from dapa.ui.session import Session
from dapa.ui.tabs.chat.components import Conversation
from dapa.ui.tabs.chat.links import as_it_stands, read_link, restore
from dapa.ui.tabs.chat.sessions import SessionCard
from dapa.ui.tabs.chat.shown import order
from dapa.workbench import ChatSession as Saved
from dapa.workbench import Talk

TABS = 256
"""How many tabs are remembered; the one that was heard of longest ago goes first."""
_QUIET: dict[str, Any] = {"show_progress": "hidden"}
_SECRET = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Wanted:
    """What a page that opens is to show."""

    saved: Saved
    prompt: str = ""
    """What a link asks at once."""
    typed: str = ""
    """What stood in the composer when the tab was heard of last."""
    veil: tuple[str, ...] = ()
    """The order of panes that were unnamed."""
    held: bool = False
    """Did this very tab hold it before a reload?"""


@dataclass(frozen=True)
class Tabs:
    """What each browser tab held last, by its secret."""

    _held: OrderedDict[str, Wanted] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hold(self, secret: Any, wanted: Wanted) -> None:
        """Remember; nothing for a tab that has no secret."""
        if not isinstance(secret, str) or not _SECRET.fullmatch(secret):
            return
        with self._lock:
            self._held[secret] = wanted
            self._held.move_to_end(secret)
            while len(self._held) > TABS:
                self._held.popitem(last=False)

    def of(self, secret: Any) -> Wanted | None:
        """What this tab held; None where nothing is known of it."""
        with self._lock:
            return self._held.get(secret) if isinstance(secret, str) else None

    def come(self, secret: Any, origin: Any) -> Wanted | None:
        """What a page that opens finds: its tab's own, else a copy of that of the tab it is of."""
        held = self.of(secret) or self.of(origin)
        if held is not None:
            self.hold(secret, held)
        return held


@dataclass(frozen=True)
class Opening:
    """What a page's opening gives to the rest of the page."""

    ask: gr.State
    """Changes to a prompt that is to be asked: a link's."""
    came: Any
    """The event after which what was held, or a link names, is on the page."""
    known: gr.State
    """Becomes true where the tab was here before."""
    hold: Callable[[Any, str], None]
    """(listener, its name): at it the tab's conversation, layers and settings are remembered."""


def wire(
    dashboard: Dashboard,
    parts: Conversation,
    kept: SessionCard,
    session: gr.State,
    wheel: gr.HTML,
    opened: Any,
    epoch: gr.State,
) -> Opening:
    """When the page opens, restore what its tab held or its link names, or offer to load its pair.

    What could not be given yet comes with the pair, by the event of `epoch`.
    """
    restored = [session, wheel, parts.talk, parts.panes, parts.veil, parts.prompt]
    ask, known, tabs = gr.State(""), gr.State(False), Tabs()
    secret, origin = gr.Textbox(visible=False), gr.Textbox(visible=False)
    mine = gr.State("")

    def given(wanted: Wanted | None, here: Session) -> tuple[Any, ...]:
        nothing = [gr.skip()] * (len(restored) + len(parts.form.parts))
        if wanted is None:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip(), *nothing
        owner = owner_of(wanted.saved.pair)
        if is_loaded(dashboard, owner):
            now = restore(
                dashboard, here, wanted.saved, wanted.prompt or wanted.typed, wanted.veil
            )  # fmt: skip
            return "", gr.update(visible=False), None, wanted.prompt, *now
        here_now = loaded(dashboard)
        what = "What this tab showed before the reload" if wanted.held else "This link"
        line = f"{what} belongs to the pair {title_of(owner)}; " + (
            "a pair is being loaded."
            if dashboard.loading
            else f"{title_of(here_now) if here_now else 'no pair'} is loaded."
        )
        return note(line, "warn"), gr.update(visible=True), wanted, "", *nothing

    @guarded
    def follow(request: gr.Request, tab: Any, of: Any, here: Session) -> tuple[Any, ...]:
        held = tabs.come(tab, of)
        return (held is not None, tab, *given(held or _linked(request), here))

    @guarded
    def again(wanted: Any, here: Session) -> tuple[Any, ...]:
        return given(wanted, here)

    @guarded
    def fetch(request: gr.Request, wanted: Any) -> Html:
        """Load a link's pair for everyone at this server, because someone pressed the button."""
        if not isinstance(wanted, Wanted):
            raise PairError("there is no link to follow; open one first")
        dashboard.load(spec_of(dashboard, owner_of(wanted.saved.pair)), who_of(request))
        return note("Loading that pair; the header shows how far it is.")

    @guarded
    def hold(
        tab: Any, talk: Talk, here: Session, veil: Any, typed: Any, awaited: Any, **values: Any
    ) -> None:
        if talk.last is None and isinstance(awaited, Wanted) and awaited.held:
            return  # what waits for its pair is not forgotten for an empty page
        if dashboard.workbench.loaded:
            try:
                ways = parts.form.read(values)
            except SettingError:
                return  # half a number: the button that asks will say what is wrong
            saved = as_it_stands(dashboard, _ended(talk), here, ways)
            tabs.hold(tab, Wanted(saved, typed=_typed(typed), veil=order(veil), held=True))

    def holding(listen: Any, name: str) -> None:
        listen(
            hold, [mine, parts.talk, session, parts.veil, parts.prompt, kept.wanted], None,
            api_name=f"{name}_held", inputs_kwargs=dict(parts.form.parts), **_QUIET,
        )  # fmt: skip

    out = [kept.said, kept.fetch, kept.wanted, ask, *restored, *parts.form.parts.values()]
    came = opened.then(
        follow, [secret, origin, session], [known, mine, *out], api_name="link_open",
        js=script("opening.js"), **_QUIET,
    )  # fmt: skip
    epoch.change(again, [kept.wanted, session], out, api_name="link_pair", **_QUIET)
    kept.fetch.click(fetch, kept.wanted, kept.said, api_name="link_fetch", **_QUIET)
    return Opening(ask, came, known, holding)


def _ended(talk: Talk) -> Talk:
    """The conversation without a round that is being written: a reload ends its writing."""
    last = talk.last
    return talk if last is None or all(pane.ending for pane in last.panes) else talk.undone()


def _typed(words: Any) -> str:
    """The composer's words; none that could not be asked."""
    try:
        return text(words or "", "the prompt")
    except SettingError:
        return ""


def _linked(request: gr.Request) -> Wanted | None:
    """What the page's address names; None where it names no pair. SettingError for nonsense."""
    told: Mapping[str, Any] = getattr(request, "query_params", None) or {}
    query = {key: str(value) for key, value in dict(told).items()}
    saved = read_link(query)
    return Wanted(saved, query.get("prompt", "")) if saved is not None else None
