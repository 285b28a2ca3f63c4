"""Measurements of the loaded pair beside its map: where refusal sits, what causes it.

One card, one panel, as for a finished search. A press starts a task of the server and tails it.
What is measured, and what is said of it, is a file each in `dapa/workbench/measurements`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import gradio as gr

from dapa.core.html import Html, html, joined
from dapa.core.measurement import Call, Measured
from dapa.core.records import EMPTY, Mask, SettingError
from dapa.core.settings import Settings
from dapa.ui import download, forms, plots
from dapa.ui.dashboard import Dashboard, guarded, one_of, piece
from dapa.ui.measurements.html import drawn as told_page
from dapa.ui.parts import hint, title, titled, told_of
from dapa.ui.session import Session
from dapa.ui.tabs.localize import viewfiles
from dapa.ui.tabs.localize.behind import cards
from dapa.ui.tasks import Task
from dapa.ui.watching import OPS, again, clock, ended, framed, progress_line, stage, toolbar
from dapa.workbench.measurements import measurements

_LINE = "Each button measures one thing, in the background, of the kind of site on the strip above."
_QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": "views"}


def offered() -> list[str]:
    """The names of the card's measurements, in the order of the buttons."""
    return [
        name
        for name in measurements
        if measurements[name].of in ("pair", "files") and measurements[name].screen
    ]


@dataclass(frozen=True)
class Ask:
    """What a browser asks of a measurement; equal asks share one."""

    epoch: int
    settings: Settings
    kind: str = "gate"
    """The kind of unit that the strip's first row presses, where units of a kind are measured."""
    mask: Mask = EMPTY
    """The strip's, where the patched model is shown."""

    @property
    def subject(self) -> str:
        """Whose measurement it is, among the server's tasks."""
        asked = json.dumps(self.settings.as_dict(), sort_keys=True)
        return f"pair {self.epoch} {self.kind} {self.mask.key} {asked}"


@dataclass(frozen=True)
class Watched:
    """Which measurement one browser looks at, and what it asked of each."""

    name: str = ""
    asks: Mapping[str, Ask] = field(default_factory=dict)

    def asking(self, name: str, ask: Ask) -> Watched:
        """Looking at `name`, asked in this way."""
        return replace(self, name=name, asks={**self.asks, name: ask})


@dataclass(frozen=True)
class PairViews:
    """The card's components."""

    bar: gr.HTML
    forms: Mapping[str, forms.Form[Settings]]
    folds: Mapping[str, gr.Column]
    """What holds a measurement's form; only the chosen one's is seen."""
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

    @property
    def values(self) -> dict[str, Any]:
        """Every form's components, as `MEASUREMENT__FIELD`."""
        return {
            f"{name}__{key}": component
            for name, form in self.forms.items()
            for key, component in form.parts.items()
        }


def build() -> PairViews:
    """Layout: buttons, each measurement's settings, the panel, the picture, files."""
    asked: dict[str, forms.Form[Settings]] = {}
    folds: dict[str, gr.Column] = {}
    with gr.Column(elem_classes="card", elem_id="views-card"):
        buttons = piece(_toolbar({}, "", False), "looks.js", elem_id="views")
        for name in offered():
            fold = gr.Column(visible=False)
            with fold, forms.folded(measurements[name].settings, f"view-{name}") as form:
                folds[name], asked[name] = fold, form
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
        buttons, asked, folds, panel, picture, plot, bridge, cell, *files, carrier,
        gr.Timer(0.5, active=False), gr.State(Watched()), gr.State(()),
    )  # fmt: skip


def wire(
    dashboard: Dashboard,
    parts: PairViews,
    session: gr.State,
    dark: gr.State,
    first: Any,
    steer: Any,
    epoch: gr.State,
) -> Any:
    """Press, watch, stop; the first view comes by itself after `first`, the map's own event.

    Args:
        dashboard: Who measures.
        parts: The card.
        session: The strip's state.
        dark: Is the page dark?
        first: The event after which a new pair's first view is measured.
        steer: (session, event) -> (session, strip): what a click on a layer does.
        epoch: Changes with the loaded pair; what was measured of another one goes at once.

    Returns:
        The event that a click on a column of the picture makes.
    """
    buttons = [parts.html, parts.csv, parts.json]
    folds = list(parts.folds.values())
    out = [
        parts.bar, parts.panel, parts.picture, parts.plot, parts.timer, parts.shown, parts.drawn,
        *buttons, *folds,
    ]  # fmt: skip

    def asked(name: str, here: Session, values: Mapping[str, Any]) -> Ask:
        view, form = measurements[name], parts.forms[name]
        mine = {key: values[f"{name}__{key}"] for key in form.parts if f"{name}__{key}" in values}
        current = here.epoch == dashboard.epoch
        return Ask(
            dashboard.epoch,
            form.read(mine),
            here.kind if view.by_kind and current else "gate",
            here.mask if view.masked and current else EMPTY,
        )

    def task_of(shown: Watched, name: str | None = None) -> Task | None:
        name = name or shown.name
        ask = shown.asks.get(name)
        return dashboard.tasks.of(ask.subject, name) if ask is not None else None

    def call_of(shown: Watched, *heard: Any) -> Call:
        ask, bench = shown.asks[shown.name], dashboard.workbench
        return Call(bench, ask.settings, *heard, kind=ask.kind, mask=ask.mask)

    def begin(shown: Watched, *, unasked: bool = False) -> None:
        view, ask, bench = measurements[shown.name], shown.asks[shown.name], dashboard.workbench
        bench.pair  # noqa: B018  (says plainly that none is loaded)

        def work(told: Any, stop: Any) -> Measured:
            def heard(what: str, share: float | None) -> None:
                told(what, share or 0.0)

            return view.run(call_of(shown, heard, stop))

        dashboard.tasks.begin(ask.subject, shown.name, work, unasked=unasked)

    def price(shown: Watched, task: Task | None) -> str:
        """What a measurement would take that asks first; empty where it was begun."""
        cost = measurements[shown.name].cost if shown.name else None
        if cost is None or task is not None or not dashboard.workbench.loaded:
            return ""
        return cost(call_of(shown), shown.asks[shown.name].settings)

    def at_once(shown: Watched) -> bool:
        """Does a press begin it, with nothing to be told before?"""
        return task_of(shown) is None and measurements[shown.name].cost is None

    def view_of(shown: Watched, caption: Any, dark: Any, drawn: Any) -> tuple[Any, ...]:
        """What the card shows: everything, or nothing where nothing changed."""
        task = task_of(shown)
        stamp = (shown.name, shown.asks.get(shown.name), stage(task), dark is True, caption)
        timer = clock(task)
        skip = gr.skip()
        if stamp == drawn:
            return skip, skip, skip, skip, timer, skip, skip, *[skip] * (3 + len(folds))
        figures = _figures(shown, task, dark is True)
        names = [name for name, _ in figures]
        picked = caption if caption in names else (names[0] if names else None)
        chart = gr.update(visible=False, value=None)
        if picked is not None and task is not None:
            name, line = f"{shown.name} {picked}", task.result.origin
            made = plots.drawn(dict(figures)[picked], name, line, dark is True)
            chart = gr.update(visible=True, value=made)
        states = {name: task_of(shown, name) for name in parts.forms}
        pictures = gr.update(visible=len(names) > 1, choices=names, value=picked)
        can = gr.update(visible=task is not None and task.result is not None)
        bar = _toolbar(states, shown.name, dashboard.workbench.loaded)
        seen = [
            gr.update(visible=name == shown.name and bool(parts.forms[name].parts))
            for name in parts.folds
        ]
        panel = _panel(shown, task, price(shown, task))
        return bar, panel, pictures, chart, timer, shown, stamp, can, can, can, *seen

    @guarded
    def press(
        shown: Watched, here: Session, caption: Any, dark: Any, event: gr.EventData, **values: Any
    ) -> tuple[Any, ...]:
        """A button of the card: show, measure again, stop."""
        data = getattr(event, "_data", None)
        data = data if isinstance(data, dict) else {}
        name = data.get("look") or shown.name
        if not isinstance(name, str) or name not in parts.forms:
            raise SettingError(f"{str(name)[:40]!r} is no measurement; press one of the buttons")
        op = one_of(data.get("op") or "show", "press", OPS)
        if op == "stop":
            task = task_of(shown)
            if task is not None:
                task.stop()
            return view_of(shown, caption, dark, ())
        now = shown.asking(name, asked(name, here, values))
        if op == "again" or at_once(now):
            begin(now)
        return view_of(now, caption, dark, ())

    @guarded
    def choose(
        shown: Watched, here: Session, caption: Any, dark: Any, **values: Any
    ) -> tuple[Any, ...]:
        """Another way to measure what is shown."""
        if not shown.name:
            return view_of(shown, caption, dark, ())
        now = shown.asking(shown.name, asked(shown.name, here, values))
        if at_once(now):
            begin(now)
        return view_of(now, caption, dark, ())

    @guarded
    def tick(shown: Watched, caption: Any, dark: Any, drawn: Any) -> tuple[Any, ...]:
        return view_of(shown, caption, dark, drawn if isinstance(drawn, tuple) else ())

    @guarded
    def start(here: Session, dark: Any, **values: Any) -> tuple[Any, ...]:
        """A new pair’s first measurement: where its refusal gap sits at all."""
        if not dashboard.workbench.loaded:
            return view_of(Watched(), None, dark, ())
        name = next(iter(parts.forms))
        now = Watched().asking(name, asked(name, here, values))
        if task_of(now) is None:
            begin(now, unasked=True)
        return view_of(now, None, dark, ())

    @guarded
    def forget(dark: Any) -> tuple[Any, ...]:
        return (*view_of(Watched(), None, dark, ()), "")

    def measured(shown: Watched) -> Measured:
        task = task_of(shown)
        if task is None or task.result is None:
            raise SettingError("nothing is measured here yet; press one of the buttons first")
        found: Measured = task.result
        return found

    @guarded
    def behind(event: gr.EventData, shown: Watched, here: Session) -> Iterator[str]:
        """The prompts behind a clicked cell, then their replies."""
        data = getattr(event, "_data", None)
        view = measurements[shown.name] if shown.name else None
        layer, row = (data.get("layer"), data.get("site")) if isinstance(data, dict) else (None, "")
        found: Any = ()
        if view is not None and view.behind is not None and type(layer) is int:
            found = view.behind(measured(shown).record, layer, str(row))
        if not found:
            yield ""
            return
        rows = [(text, f"{value:+.2f}") for text, value in found]
        mask = here.mask if here.epoch == dashboard.epoch else EMPTY
        about = "Prompts behind the cell, the largest effect first; press one to ask it."
        head = f"Layer {layer}, {str(row)[:80]}"
        how = getattr(shown.asks[shown.name].settings, "format", lambda: None)()
        yield from cards(dashboard, head, about, rows, "effect", mask, how)

    def told(shown: Watched) -> viewfiles.Told:
        found, view = measured(shown), measurements[shown.name]
        return viewfiles.Told(
            shown.name, view.heading, found.origin, lambda: _pictures(shown, found, False),
            found.record.table, found.record.as_dict, view.how,
        )  # fmt: skip

    inputs, values = [parts.shown, session, parts.picture, dark], parts.values
    for name, event in (("view", parts.bar.select), ("view_panel", parts.panel.select)):
        event(press, inputs, out, inputs_kwargs=values, api_name=name, **_QUIET)
    ways = [part.input for part in values.values() if isinstance(part, gr.Dropdown)]
    gr.on(ways, choose, inputs, out, inputs_kwargs=values, api_name="view_choice", **_QUIET)
    for name, form in parts.forms.items():
        if form.parts:
            form.follow(f"view_{name}_say")
    seen = [parts.shown, parts.picture, dark, parts.drawn]
    parts.timer.tick(tick, seen, out, api_name="view_tick", **_QUIET)
    parts.picture.input(tick, seen, out, api_name="view_picture", **_QUIET)
    dark.change(tick, seen, out, api_name="view_dark", **_QUIET)
    epoch.change(forget, dark, [*out, parts.cell], api_name="view_pair", **_QUIET)
    first.then(start, [session, dark], out, inputs_kwargs=values, api_name="view_first", **_QUIET)
    viewfiles.offer(buttons, told, parts.shown, parts.carrier, "view")
    parts.bridge.select(behind, [parts.shown, session], parts.cell, api_name="view_cell", **_QUIET)
    return steer(parts.bridge.select)


def _pictures(shown: Watched, found: Measured, dark: bool) -> list[tuple[str, Any]]:
    """The pictures of what was measured, by their captions."""
    view = measurements[shown.name]
    return list(view.figures(found.record, dark)) if view.figures is not None else []


def _figures(shown: Watched, task: Task | None, dark: bool) -> list[tuple[str, Any]]:
    """The pictures as the card shows them: once the measurement is over, columns told apart."""
    if task is None or task.result is None or not task.over:
        return []
    made = _pictures(shown, task.result, dark)
    for _, figure in made:
        figure.update_layout(meta={"layers": measurements[shown.name].by_layer})
    return made


def _toolbar(tasks: dict[str, Task | None], chosen: str, ready: bool) -> Html:
    head = title("Where does refusal sit, and what causes it?", _LINE)
    return toolbar(head, {name: measurements[name] for name in offered()}, tasks, chosen, ready)


def _nothing() -> Html:
    return hint(
        "Nothing measured yet", "The first view comes with the pair; press any other above."
    )


def _patched(shown: Watched) -> str:
    """Which layers the patched model of a view has; empty where it shows none."""
    if not measurements[shown.name].masked:
        return ""
    mask = shown.asks[shown.name].mask
    if not mask.entries:
        return (
            " No layer was pressed on the strip, so the patched model is the student itself: press "
            "layers, then this view again."
        )
    where = f"{told_of(mask)} {titled(mask)[1]}"
    return f" Patched: {where}, as the strip had them; after other presses, press this view again."


def _panel(shown: Watched, task: Task | None, cost: str = "") -> Html:
    """One measurement: what it is, how far it is, or what it found."""
    if not shown.name:
        return _nothing()
    view = measurements[shown.name]
    heading, how = view.heading, view.how + _patched(shown)
    if task is None and cost:
        start = html(
            '{} <button type="button" class="link" data-do="again">measure now</button>', cost
        )
        return framed(heading, how) + hint("What it takes", start)
    if task is None:
        return framed(heading, how) + hint(view.title, "Not measured yet: press it.")
    if not task.over:
        return framed(heading, how) + progress_line(task)
    said = told_page(view.describe(task.result.record)) if task.result is not None else ""
    return joined((framed(heading, how, again(task)), ended(task), said))
