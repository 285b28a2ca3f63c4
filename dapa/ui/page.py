"""The page: header, strip, tabs, and the wiring between them.

Layout first, wiring once. Every tab obeys the strip and may set it; the pulse notices a pair that
was loaded here or in another browser.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from dapa.core.assets import asset
from dapa.core.owner import Owner
from dapa.ui import belonging, header, strip, whatif
from dapa.ui.checked_blocks import Page
from dapa.ui.dashboard import Dashboard, guarded, script
from dapa.ui.session import Session, apply, state
from dapa.ui.tabs import presenter
from dapa.ui.tabs.chat import opening
from dapa.ui.tabs.chat import tab as chat
from dapa.ui.tabs.evaluate import agreement
from dapa.ui.tabs.evaluate import form as asked
from dapa.ui.tabs.evaluate import tab as evaluate
from dapa.ui.tabs.localize import inside, pairviews
from dapa.ui.tabs.localize import tab as localize
from dapa.ui.tabs.runs import tab as runs
from dapa.ui.tabs.search import tab as search
from dapa.ui.theme import theme

_STEER: dict[str, Any] = {
    "show_progress": "hidden",
    "trigger_mode": "multiple",
    "concurrency_id": "session",
    "concurrency_limit": 1,
}
"""Handlers that replace a session run one after the other, so no press is lost."""


_TO_CHAT = """() => {
  [...document.querySelectorAll('#tabs .tab-wrapper button[role=tab]')]
    .find((tab) => tab.textContent.trim() === 'Chat')?.click();
}"""


def build(dashboard: Dashboard) -> gr.Blocks:
    """The whole page over one dashboard."""
    with Page(title="DAPA Dashboard", fill_width=True, analytics_enabled=False) as page:
        session = gr.State(Session())
        epoch = gr.State(-1)
        with gr.Column(elem_id="page"):
            top = header.build(dashboard)
            news, ear = belonging.build()
            wheel = strip.build()
            flips = whatif.build()
            with gr.Tabs(elem_id="tabs"):
                with gr.Tab("Localize", id="localize"):
                    maps = localize.build()
                    around = pairviews.build()
                    unfolded = inside.build()
                with gr.Tab("Search", id="search"):
                    hunt = search.build(dashboard)
                with gr.Tab("Chat", id="chat"):
                    talk = chat.build(dashboard)
                with gr.Tab("Evaluate", id="evaluate"):
                    scored = evaluate.build(dashboard)
                    agreed = agreement.build(dashboard)
                with gr.Tab("Runs", id="runs") as tab:
                    past = runs.build(dashboard, tab)
        shown = presenter.build(top.present)
        pulse = gr.Timer(1.0)
        header.wire(dashboard, top)
        put = belonging.wire(dashboard, ear, news, session, wheel, _STEER)
        opened = _follow_server(dashboard, page, session, epoch, top, wheel, pulse, news)
        made, drawn = localize.wire(dashboard, maps, epoch, session)
        viewed = pairviews.wire(
            dashboard, around, session, maps.dark, drawn, _presser(dashboard, session, wheel), epoch
        )
        inside.wire(dashboard, unfolded, maps, made.shown, epoch)
        tables, evaluated = evaluate.wire(
            dashboard, scored, session, maps.dark, page, wheel, _STEER, epoch
        )
        asked.wire(dashboard, scored.asked, session)
        agreement.wire(dashboard, agreed)
        top.theme.select(is_dark, None, maps.dark, api_name="theme", show_progress="hidden")
        (attach, attached), (reopen, filled), (applied, tried) = search.wire(
            dashboard, hunt, session, wheel, _STEER, maps.dark, epoch
        )
        page.load(attach, None, attached, api_name="search_attach", show_progress="hidden")
        newest = {"Search": (reopen, None, filled), "Evaluate": tables}
        reopened = runs.wire(dashboard, past, session, wheel, _STEER, newest, maps.dark, epoch)
        prompts = {
            "map": maps.cell, "view": around.cell, "evaluate": scored.behind.replies,
            "runs": past.below,
        }  # fmt: skip
        picked = {
            name: cell.select(
                chat.picked, None, talk.prompt, api_name=f"{name}_ask", js=_TO_CHAT,
                show_progress="hidden",
            )
            for name, cell in prompts.items()
        }  # fmt: skip
        picked["story"] = shown.story.select(
            chat.picked, None, talk.prompt, api_name="story_pick", show_progress="hidden"
        )
        back = opening.wire(dashboard, talk, talk.keep, session, wheel, _STEER, opened, epoch)
        answer_again = chat.wire(dashboard, talk, session, flips, epoch, picked, back)
        back.known.change(reopen, None, filled, api_name="search_again", show_progress="hidden")
        presenter.wire(dashboard, shown, session, wheel, _STEER)
        steered = _steering(dashboard, session, wheel, maps)
        pressed = {
            "use": applied,
            "try": tried,
            "reopen": reopened,
            "view_click": viewed,
            "put": put,
            "evaluated": evaluated,
        }
        for name, event in {**steered, **pressed}.items():
            answer_again(event, f"{name}_answer")
    return page


@guarded
def is_dark(event: gr.EventData) -> bool:
    """Is the page dark? Figures are drawn for it."""
    data = getattr(event, "_data", None)
    return isinstance(data, dict) and data.get("dark") is True


def _follow_server(
    dashboard: Dashboard, page: gr.Blocks, session: gr.State, epoch: gr.State, top: header.Header,
    wheel: gr.HTML, pulse: gr.Timer, news: gr.HTML,
) -> Any:  # fmt: skip
    """Header, session and strip follow what is loaded, here or from another browser.

    Returns the event of the page's opening.
    """
    owner = gr.State(Owner())

    @guarded
    def look(request: gr.Request, here: Session, seen: Any, before: Owner) -> tuple[Any, ...]:
        """Follow the server: the header always, session and strip when the pair changed."""
        bar = header.draw(dashboard)
        timer = gr.Timer(0.5 if dashboard.loading else 2.0)
        now = dashboard.epoch
        if not dashboard.workbench.loaded or seen == here.epoch == now:
            return gr.skip(), gr.skip(), bar, gr.skip(), timer, gr.skip(), gr.skip()
        told = belonging.announced(dashboard, before, belonging.who_of(request))
        # a press may have met the new pair before this pulse did
        anew = belonging.current(dashboard, here)
        drawn = gr.skip() if anew is here else strip.draw(dashboard, anew)
        return anew, now, bar, drawn, timer, belonging.loaded(dashboard), told

    held, out = [session, epoch, owner], [session, epoch, top.brand, wheel, pulse, owner, news]
    pulse.tick(look, held, out, api_name="pulse", **_STEER)
    return page.load(look, held, out, api_name="open", **_STEER)


def _steering(
    dashboard: Dashboard, session: gr.State, wheel: gr.HTML, maps: localize.Localize
) -> dict[str, Any]:
    """What the strip and the heatmap press; name -> event, for whoever answers to a new mask."""

    @guarded
    def steer(here: Session, event: gr.EventData) -> tuple[Session, str]:
        bench = dashboard.workbench
        released, _ = bench.released()
        now = apply(
            belonging.current(dashboard, here), bench.pair, strip.operation(event), released
        )
        return now, strip.draw(dashboard, now)

    click_column = clicked(dashboard)

    out = [session, wheel]
    return {
        "steer": wheel.select(steer, session, out, api_name="steer", **_STEER),
        "click": maps.bridge.select(click_column, session, out, api_name="click_column", **_STEER),
    }


def _presser(dashboard: Dashboard, session: gr.State, wheel: gr.HTML) -> Any:
    """Wires a picture's clicks to the strip; for cards that know no strip."""

    def steer(event: Any) -> Any:
        return event(clicked(dashboard), session, [session, wheel], api_name="view_press", **_STEER)

    return steer


def clicked(dashboard: Dashboard) -> Any:
    """A click on a picture whose columns are layers presses that layer, or a range."""

    @guarded
    def click_column(here: Session, event: gr.EventData) -> tuple[Any, Any]:
        data = strip.operation(event)
        if data.get("toggle") is not True:
            return gr.skip(), gr.skip()
        layer, start = data.get("layer"), data.get("from")
        layers, base = [layer], belonging.current(dashboard, here)
        press: dict[str, Any] = {"op": "toggle"}
        ends = [end for end in (layer, start) if type(end) is int]
        if len(ends) == 2 and max(ends) - min(ends) < dashboard.workbench.pair.n_layers:
            layers = list(range(min(ends), max(ends) + 1))
            pair = dashboard.workbench.pair
            on = [x for x in layers if state(pair, base.chosen, x, base.kind) == "all"]
            press["on"] = start in on or not on  # the first was perhaps only read
        now = apply(base, dashboard.workbench.pair, {**press, "layers": layers})
        return now, strip.draw(dashboard, now)

    return click_column


VISITORS = 256
"""Visits that are remembered: Gradio holds 1.5 MB of each, which is 15 GB at its own 10,000."""


def launch_options(auth: tuple[str, str] | None) -> dict[str, Any]:
    """What `launch` needs for look, limits and safety."""
    return {
        "theme": theme(),
        "css": asset("css/dapa.css").read_text(encoding="utf-8"),
        "js": script("page.js"),
        "footer_links": [],
        "run_history": False,
        "show_error": False,
        "allowed_paths": [],
        "max_file_size": "20mb",
        "state_session_capacity": VISITORS,
        "auth": auth,
        "ssr_mode": False,
        "mcp_server": False,
        "enable_monitoring": False,
        "share": False,
        "quiet": True,
    }
