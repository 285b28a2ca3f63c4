"""What a page opens on: what its browser tab held before a reload, else what its link names.

A tab is known by a secret that it keeps itself (`opening.js`); the server remembers the newest
conversation and layers of so many, by pair, in memory only.
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
from dapa.core.owner import Owner
from dapa.core.records import PairError, SettingError
from dapa.ui.belonging import is_loaded, loaded, owner_of, spec_of, title_of, who_of
from dapa.ui.dashboard import Dashboard, guarded, script, text
from dapa.ui.parts import note
from dapa.ui.session import Session
from dapa.ui.tabs.chat import sessions
from dapa.ui.tabs.chat.components import Conversation
from dapa.ui.tabs.chat.links import as_it_stands, read_link, restore
from dapa.ui.tabs.chat.sessions import SessionCard
from dapa.ui.tabs.chat.shown import order, picture
from dapa.workbench import ChatSession as Saved
from dapa.workbench import ChatSettings, Talk

TABS = 512
"""How many openings are remembered; the one that was heard of longest ago goes first."""
_PAIRS = 4
"""Of how many pairs each is remembered."""
IN_ORDER: dict[str, Any] = {"concurrency_id": "panes", "concurrency_limit": 1}
"""How pictures are queued of which the later must stand."""
_QUIET: dict[str, Any] = {"show_progress": "hidden"}
_NOBODY = Owner()
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
    """What each browser tab held last, by its secret; the newest pair's first."""

    _held: OrderedDict[str, tuple[Wanted, ...]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hold(self, secret: Any, wanted: Wanted) -> None:
        """Remember; nothing for a tab that has no secret."""
        if not isinstance(secret, str) or not _SECRET.fullmatch(secret):
            return
        with self._lock:
            others = [w for w in self._held.get(secret, ()) if w.saved.pair != wanted.saved.pair]
            self._put(secret, (wanted, *others[: _PAIRS - 1]))

    def hand_over(self, before: Any, secret: Any) -> None:
        """A page that opens goes on with what its tab held before; that stays what it was."""
        if not isinstance(secret, str) or not _SECRET.fullmatch(secret):
            return
        with self._lock:
            if held := self._held.get(before) if isinstance(before, str) else None:
                self._put(secret, held)

    def _put(self, secret: str, held: tuple[Wanted, ...]) -> None:
        self._held[secret] = held
        self._held.move_to_end(secret)
        while len(self._held) > TABS:
            self._held.popitem(last=False)

    def of(self, secret: Any, owner: Owner = _NOBODY) -> Wanted | None:
        """What this tab held with the pair of `owner`, else with another; None where unknown."""
        with self._lock:
            held = self._held.get(secret, ()) if isinstance(secret, str) else ()
        return next((w for w in held if owner.same(owner_of(w.saved.pair))), next(iter(held), None))


@dataclass(frozen=True)
class Opening:
    """What a page's opening gives to the rest of the page."""

    ask: gr.State
    """Changes to a prompt that is to be asked: a link's."""
    came: dict[str, Any]
    """The events, by name, after which a kept conversation is on the page again."""
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
    steer: dict[str, Any],
    opened: Any,
    epoch: gr.State,
) -> Opening:
    """When the page opens, restore what its tab held or its link names, or offer to load its pair.

    The card of what is kept is wired too: it brings conversations back by a press. What could not
    be given yet comes with the pair, by the event of `epoch`.
    """
    restored = [session, wheel, parts.talk, parts.panes, parts.veil, parts.prompt]
    ask, known, tabs = gr.State(""), gr.State(False), Tabs()
    secret, mine = gr.Textbox(visible=False), gr.State("")

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
    def follow(request: gr.Request, tab: Any, here: Session) -> tuple[Any, ...]:
        before, _, now = text(tab or "", "the tab", 100).partition(" ")
        tabs.hand_over(before, now)
        held = tabs.of(now, loaded(dashboard))
        return (held is not None, now, *given(held or _linked(request), here))

    @guarded
    def again(wanted: Any, here: Session) -> tuple[Any, ...]:
        return given(wanted, here)

    @guarded
    def fetch(request: gr.Request, wanted: Any) -> Html:
        """Load a link's pair for everyone at this server, because someone pressed the button."""
        if not isinstance(wanted, Wanted):
            raise PairError("nothing waits for a pair here; choose one under Change pair")
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

    @guarded
    def drawn(tab: Any, talk: Talk, here: Session, veil: Any) -> Any:
        """The panes once more, as they were held: an empty picture may have been painted over."""
        held = tabs.of(tab, loaded(dashboard))
        if held is None:
            return gr.skip()
        ways = ChatSettings.restored(held.saved.settings)
        return picture(dashboard, talk, here.mask, ways, order(veil))

    out = [kept.said, kept.fetch, kept.wanted, ask, *restored, *parts.form.parts.values()]
    came = sessions.wire(dashboard, parts, kept, session, wheel, steer)
    opened.then(
        follow, [secret, session], [known, mine, *out], api_name="link_open",
        js=script("opening.js"), **_QUIET,
    )  # fmt: skip
    known.change(
        drawn, [mine, parts.talk, session, parts.veil], parts.panes, api_name="chat_back",
        **IN_ORDER, **_QUIET,
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
