"""Views of the loaded pair beside its map: where refusal sits, what causes it, how layers compare.

One card, one panel, as for a finished search. A press starts a task of the server and tails it.
What each view measures and how it is drawn is its own file in `dapa/ui/measurements`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dapa.core.records import Mask, SettingError
from dapa.core.settings import MAX_SEED
from dapa.ui import download, plots
from dapa.ui.dashboard import Dashboard, guarded, one_of, piece, whole
from dapa.ui.measurements.views import Ask, views
from dapa.ui.parts import esc, hint, title
from dapa.ui.session import Session
from dapa.ui.tabs.localize import viewfiles
from dapa.ui.tabs.localize.behind import cards
from dapa.ui.tasks import Task
from dapa.ui.watching import OPS, again, ended, framed, progress_line, stage, toolbar

_LINE = "Each button measures one thing, in the background; the strip’s kind of site is measured."
_QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": "views"}


@dataclass(frozen=True)
class Shown:
    """Which view one browser looks at, and what it asked of it."""

    name: str = ""
    ask: Ask | None = None


@dataclass(frozen=True)
class PairViews:
    """The card's components."""

    bar: gr.HTML
    choice: gr.Dropdown
    limit: gr.Number
    seed: gr.Number
    panel: gr.HTML
    picture: gr.Radio
    plot: gr.Plot
    bridge: gr.HTML
    cell: gr.HTML
    html: gr.Button
    csv: gr.Button
    json: gr.Button
    carrier: gr.HTML
    timer: gr.Timer
    shown: gr.State
    drawn: gr.State


def build() -> PairViews:
    """Layout: buttons, how to measure, the panel, the picture, files."""
    with gr.Column(elem_classes="card", elem_id="views-card"):
        buttons = piece(_toolbar({}, "", False), "looks.js", elem_id="views")
        with gr.Row(elem_classes="inputs"):
            choice = gr.Dropdown(
                [], label="how", visible=False, elem_id="view-choice", filterable=False
            )
            limit = gr.Number(
                24, label="harmful prompts at most", minimum=4, maximum=2000, precision=0,
                elem_id="view-limit",
            )  # fmt: skip
            seed = gr.Number(0, label="seed", minimum=0, precision=0, elem_id="view-seed")
        panel = piece(_nothing(), "looks.js", elem_id="view")
        picture = gr.Radio(
            [], label="picture", show_label=False, visible=False, elem_id="view-picture"
        )
        plot = gr.Plot(
            show_label=False, label="View", container=False, visible=False, elem_id="view-plot"
        )
        bridge = piece("", "views.js", elem_id="view-bridge")
        cell = piece("", "shelf.js", elem_id="view-cell")
        with gr.Row(elem_classes="buttons"):
            files = [
                gr.Button(
                    f"Download {word}", elem_classes="plain", visible=False, elem_id=f"view-{word}"
                )
                for word in ("HTML", "CSV", "JSON")
            ]
        carrier = download.carrier("view-file")
    return PairViews(
        buttons, choice, limit, seed, panel, picture, plot, bridge, cell, *files, carrier,
        gr.Timer(0.5, active=False), gr.State(Shown()), gr.State(()),
    )  # fmt: skip


def wire(
    dashboard: Dashboard,
    parts: PairViews,
    session: gr.State,
    dark: gr.State,
    first: Any,
    steer: Any,
) -> Any:
    """Press, watch, stop; the first view comes by itself after `first`, the map's own event.

    Args:
        dashboard: Who measures.
        parts: The card.
        session: The strip's state.
        dark: Is the page dark?
        first: The event after which a new pair's first view is measured.
        steer: (session, event) -> (session, strip): what a click on a layer does.

    Returns:
        The event that a click on a column of the picture makes.
    """
    buttons = [parts.html, parts.csv, parts.json]
    out = [
        parts.bar, parts.panel, parts.picture, parts.plot, parts.choice, parts.timer, parts.shown,
        parts.drawn, *buttons,
    ]  # fmt: skip

    def asked(name: str, here: Session, choice: Any, limit: Any, seed: Any) -> Ask:
        view = views[name]
        picked = choice if choice in view.choices else next(iter(view.choices), "")
        mask = here.mask if view.masked and here.epoch == dashboard.epoch else Mask()
        kind = here.kind if here.epoch == dashboard.epoch else "gate"
        most = whole(limit, "harmful prompts at most", 4, 2000)
        return Ask(dashboard.epoch, kind, most, whole(seed, "seed", 0, MAX_SEED), picked, mask)

    def task_of(shown: Shown, name: str | None = None) -> Task | None:
        ask = shown.ask
        return dashboard.tasks.of(ask.subject, name or shown.name) if ask is not None else None

    def begin(shown: Shown) -> None:
        view, ask = views[shown.name], shown.ask
        assert ask is not None, "a view is begun with what is asked of it"
        bench = dashboard.workbench
        bench.pair  # noqa: B018  (says plainly that none is loaded)
        dashboard.tasks.begin(
            ask.subject, shown.name, lambda told, stop: view.measure(bench, ask, told, stop)
        )

    def view_of(shown: Shown, caption: Any, dark: Any, drawn: Any) -> tuple[Any, ...]:
        """What the card shows: everything, or nothing where nothing changed."""
        task = task_of(shown)
        live = task is not None and not task.over
        stamp = (shown, stage(task), dark is True, caption)
        timer = gr.Timer(active=live)
        skip = gr.skip()
        if stamp == drawn:
            return skip, skip, skip, skip, skip, timer, skip, skip, *[skip] * 3
        figures = _figures(shown, task, dark is True)
        names = [name for name, _ in figures]
        picked = caption if caption in names else (names[0] if names else None)
        chart = gr.update(visible=False, value=None)
        if picked is not None and task is not None:
            name, line = f"{shown.name} {picked}", task.result.provenance
            made = plots.drawn(dict(figures)[picked], name, line, dark is True)
            chart = gr.update(visible=True, value=made)
        ready = dashboard.workbench.loaded
        states = {name: task_of(shown, name) for name in views} if shown.ask else {}
        view = views[shown.name] if shown.name else None
        chosen = shown.ask.choice if shown.ask else ""
        how = gr.update(
            visible=bool(view and view.choices),
            choices=[(words, key) for key, words in view.choices.items()] if view else [],
            value=chosen or None,
        )
        pictures = gr.update(visible=len(names) > 1, choices=names, value=picked)
        can = gr.update(visible=task is not None and task.result is not None)
        bar = _toolbar(states, shown.name, ready)
        return bar, _panel(shown, task), pictures, chart, how, timer, shown, stamp, can, can, can

    @guarded
    def press(
        event: gr.EventData, shown: Shown, here: Session, choice: Any, limit: Any, seed: Any,
        caption: Any, dark: Any,
    ) -> tuple[Any, ...]:  # fmt: skip
        """A button of the card: show, measure again, stop."""
        data = getattr(event, "_data", None)
        data = data if isinstance(data, dict) else {}
        name = data.get("look") or shown.name
        if not isinstance(name, str) or name not in views:
            raise SettingError(f"{str(name)[:40]!r} is no view; press one of the buttons")
        op = one_of(data.get("op") or "show", "press", OPS)
        if op == "stop":
            task = task_of(shown)
            if task is not None:
                task.stop()
            return view_of(shown, caption, dark, ())
        now = Shown(name, asked(name, here, choice, limit, seed))
        if task_of(now) is None or op == "again":
            begin(now)
        return view_of(now, caption, dark, ())

    @guarded
    def choose(
        shown: Shown, here: Session, choice: Any, limit: Any, seed: Any, caption: Any, dark: Any
    ) -> tuple[Any, ...]:
        """Another way to measure the view that is shown."""
        if not shown.name:
            return view_of(shown, caption, dark, ())
        now = Shown(shown.name, asked(shown.name, here, choice, limit, seed))
        if task_of(now) is None:
            begin(now)
        return view_of(now, caption, dark, ())

    @guarded
    def tick(shown: Shown, caption: Any, dark: Any, drawn: Any) -> tuple[Any, ...]:
        return view_of(shown, caption, dark, drawn if isinstance(drawn, tuple) else ())

    @guarded
    def start(here: Session, limit: Any, seed: Any, dark: Any) -> tuple[Any, ...]:
        """A new pair’s first view: where its refusal gap sits at all."""
        if not dashboard.workbench.loaded:
            return view_of(Shown(), None, dark, ())
        name = next(iter(views))
        now = Shown(name, asked(name, here, "", limit, seed))
        if task_of(now) is None:
            begin(now)
        return view_of(now, None, dark, ())

    def record_of(shown: Shown) -> Any:
        task = task_of(shown)
        if task is None or task.result is None:
            raise SettingError("nothing is measured here yet; press one of the buttons first")
        return task.result

    @guarded
    def behind(event: gr.EventData, shown: Shown, here: Session) -> Iterator[str]:
        """The prompts behind a clicked cell, then their replies."""
        data = getattr(event, "_data", None)
        view = views[shown.name] if shown.name else None
        layer, row = (data.get("layer"), data.get("site")) if isinstance(data, dict) else (None, "")
        found: Any = ()
        if view is not None and view.behind is not None and type(layer) is int:
            found = view.behind(record_of(shown), layer, str(row))
        if not found:
            yield ""
            return
        rows = [(text, f"{value:+.2f}") for text, value in found]
        mask = here.mask if here.epoch == dashboard.epoch else Mask()
        about = "Prompts behind the cell, the largest effect first; press one to ask it."
        head = f"Layer {layer}, {esc(str(row)[:80])}"
        yield from cards(dashboard, head, about, rows, "effect", mask)

    def told(shown: Shown) -> viewfiles.Told:
        record, view = record_of(shown), views[shown.name]
        return viewfiles.Told(
            shown.name, view.heading, record.provenance, lambda: view.figures(record, False),
            record.table, record.as_dict, view.about,
        )  # fmt: skip

    inputs = [parts.shown, session, parts.choice, parts.limit, parts.seed, parts.picture, dark]
    for name, event in (("view", parts.bar.select), ("view_panel", parts.panel.select)):
        event(press, inputs, out, api_name=name, **_QUIET)
    parts.choice.input(choose, inputs, out, api_name="view_choice", **_QUIET)
    seen = [parts.shown, parts.picture, dark, parts.drawn]
    parts.timer.tick(tick, seen, out, api_name="view_tick", **_QUIET)
    parts.picture.input(tick, seen, out, api_name="view_picture", **_QUIET)
    dark.change(tick, seen, out, api_name="view_dark", **_QUIET)
    first.then(
        start, [session, parts.limit, parts.seed, dark], out, api_name="view_first", **_QUIET
    )
    viewfiles.offer(buttons, told, parts.shown, parts.carrier, "view")
    parts.bridge.select(behind, [parts.shown, session], parts.cell, api_name="view_cell", **_QUIET)
    return steer(parts.bridge.select)


def _figures(shown: Shown, task: Task | None, dark: bool) -> list[tuple[str, Any]]:
    """The view’s pictures, by their captions."""
    if task is None or task.result is None or not task.over:
        return []
    view = views[shown.name]
    made = []
    for caption, figure in view.figures(task.result, dark):
        figure.update_layout(meta={"layers": view.by_layer})
        made.append((caption, figure))
    return made


def _toolbar(tasks: dict[str, Task | None], chosen: str, ready: bool) -> str:
    head = title("Where does refusal sit, and what causes it?", _LINE)
    return toolbar(head, {name: views[name].title for name in views}, tasks, chosen, ready)


def _nothing() -> str:
    return hint(
        "Nothing measured yet", "The first view comes with the pair; press any other above."
    )


def _panel(shown: Shown, task: Task | None) -> str:
    """One view: what it is, how far it is, or what it found."""
    if not shown.name:
        return _nothing()
    view = views[shown.name]
    if task is None:
        return framed(view.heading, view.about) + hint(view.title, "Not measured yet: press it.")
    if not task.over:
        return framed(view.heading, view.about) + progress_line(task)
    drawn = view.draw(task.result) if task.result is not None else ""
    return f"{framed(view.heading, view.about, again(task))}{ended(task)}{drawn}"
