"""The page: header, strip, tabs, and the wiring between them.

Layout first, wiring once. Every tab obeys the strip and may set it; the pulse notices a pair that
was loaded here or in another browser.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from dapa.assets import asset
from dapa.ui import header, strip
from dapa.ui.desk import Desk, guarded, script
from dapa.ui.session import Session, apply, fresh
from dapa.ui.tabs import chat, localize, search
from dapa.ui.theme import theme

_STEER: dict[str, Any] = {
    "show_progress": "hidden",
    "trigger_mode": "multiple",
    "concurrency_id": "session",
    "concurrency_limit": 1,
}
"""Handlers that replace a session run one after the other, so no press is lost."""


def build(desk: Desk) -> gr.Blocks:
    """The whole page over one desk."""
    with gr.Blocks(title="DAPA Dashboard", fill_width=True, analytics_enabled=False) as page:
        session = gr.State(Session())
        epoch = gr.State(-1)
        with gr.Column(elem_id="page"):
            top = header.build(desk)
            wheel = strip.build()
            with gr.Tabs(elem_id="tabs"):
                with gr.Tab("Localize", id="localize"):
                    maps = localize.build(desk)
                with gr.Tab("Search", id="search"):
                    hunt = search.build(desk)
                with gr.Tab("Chat", id="chat"):
                    talk = chat.build(desk)
        pulse = gr.Timer(1.0)
        _wire(desk, page, session, epoch, top, wheel, maps, hunt, talk, pulse)
    return page


def _wire(
    desk: Desk, page: gr.Blocks, session: gr.State, epoch: gr.State, top: header.Header,
    wheel: gr.HTML, maps: localize.Localize, hunt: search.Search, talk: chat.Chat,
    pulse: gr.Timer,
) -> None:  # fmt: skip
    @guarded
    def look(here: Session, seen: Any) -> tuple[Any, ...]:
        """Follow the server: the header always, session and strip when the pair changed."""
        bar = header.draw(desk)
        timer = gr.Timer(0.5 if desk.loading else 2.0)
        if not desk.workbench.loaded or here.epoch == desk.epoch:
            return gr.skip(), gr.skip(), bar, gr.skip(), timer
        now = fresh(desk.epoch, desk.workbench.pair)
        return now, desk.epoch, bar, strip.draw(desk, now), timer

    @guarded
    def steer(here: Session, event: gr.EventData) -> tuple[Session, str]:
        now = apply(current(desk, here), desk.workbench.pair, strip.operation(event))
        return now, strip.draw(desk, now)

    @guarded
    def click_column(here: Session, event: gr.EventData) -> tuple[Any, Any]:
        """A click on the heatmap: its layer, unless the click only looks."""
        data = strip.operation(event)
        if data.get("toggle") is not True:
            return gr.skip(), gr.skip()
        press = {"op": "toggle", "layers": [data.get("layer")]}
        now = apply(current(desk, here), desk.workbench.pair, press)
        return now, strip.draw(desk, now)

    header.wire(desk, top)
    out = [session, epoch, top.brand, wheel, pulse]
    page.load(look, [session, epoch], out, api_name="open", **_STEER)
    pulse.tick(look, [session, epoch], out, api_name="pulse", **_STEER)
    answer_again = chat.wire(desk, talk, session)
    pressed = wheel.select(steer, session, [session, wheel], api_name="steer", **_STEER)
    answer_again(pressed, "steer_answer")
    clicked = maps.bridge.select(
        click_column, session, [session, wheel], api_name="click_column", **_STEER
    )
    answer_again(clicked, "click_answer")
    localize.wire(desk, maps, epoch)
    (attach, attached), applied = search.wire(desk, hunt, session, wheel, _STEER)
    page.load(attach, None, attached, api_name="search_attach", show_progress="hidden")
    answer_again(applied, "use_answer")


def current(desk: Desk, here: Session) -> Session:
    """This session, or a fresh one where the pair was swapped since."""
    pair = desk.workbench.pair
    return here if here.epoch == desk.epoch else replace(fresh(desk.epoch, pair))


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
        "auth": auth,
        "ssr_mode": False,
        "enable_monitoring": False,
        "share": False,
        "quiet": True,
    }
