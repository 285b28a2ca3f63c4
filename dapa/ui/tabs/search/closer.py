"""Look closer: what is measured beside a finished search, each behind a button.

One card, one panel. A press starts a task of the server and tails it; another press brings what was
measured back; a reload finds it again. What is measured, and what is said of it, is a file each in
`dapa/workbench/measurements`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dapa.core.errors import SettingError
from dapa.core.html import Html, html, joined
from dapa.core.measurement import Call, Measured
from dapa.core.settings import Settings, presets
from dapa.ui import forms, plots
from dapa.ui.dashboard import Dashboard, guarded, piece, text
from dapa.ui.measurements.html import drawn as told_page
from dapa.ui.parts import hint, title
from dapa.ui.tabs.localize import viewfiles
from dapa.ui.tasks import Progress, Task
from dapa.ui.watching import OPS, again, clock, ended, framed, progress_line, stage, toolbar
from dapa.workbench import SearchJob
from dapa.workbench.measurements import measurements

_SCROLL = """(...values) => {
  document.getElementById('closer').scrollIntoView({ block: 'start' });
  return values;
}"""
_PLAIN = Settings()
"""What a measurement without settings is asked with."""


def offered() -> list[str]:
    """The names of the card's measurements, in the order of the buttons."""
    return [n for n in measurements if measurements[n].of == "search" and measurements[n].screen]


@dataclass(frozen=True)
class Closer:
    """The card's components."""

    bar: gr.HTML
    forms: Mapping[str, forms.Form[Settings]]
    """Of the measurements that have settings."""
    folds: Mapping[str, gr.Column]
    """What holds a form; only the chosen one's is seen."""
    panel: gr.HTML
    chart: gr.Plot
    files: viewfiles.Files
    timer: gr.Timer
    look: gr.State
    drawn: gr.State
    measured: gr.State

    @property
    def values(self) -> dict[str, Any]:
        """Every form's components, as `MEASUREMENT__FIELD`."""
        return {
            f"{name}__{key}": component
            for name, form in self.forms.items()
            for key, component in form.parts.items()
        }

    def asked(self, name: str, values: Mapping[str, Any]) -> Settings:
        """The settings of one measurement; SettingError says what is wrong."""
        form = self.forms.get(name)
        if form is None:
            return _PLAIN
        mine = {key: f"{name}__{key}" for key in form.parts}
        return form.read({key: values[long] for key, long in mine.items() if long in values})


def build() -> Closer:
    """Layout: the buttons, each measurement's settings, the panel, the chart."""
    asked: dict[str, forms.Form[Settings]] = {}
    folds: dict[str, gr.Column] = {}
    with gr.Column(elem_classes="card belongs", elem_id="closer"):
        buttons = piece(_toolbar({}, "", False), "looks.js", elem_id="looks")
        for name in offered():
            if presets(measurements[name].settings):
                fold = gr.Column(visible=False)
                with fold, forms.folded(measurements[name].settings, f"look-{name}") as form:
                    folds[name], asked[name] = fold, form
        panel = piece(_nothing(), "looks.js", elem_id="look")
        chart = gr.Plot(
            show_label=False, label="Chart", container=False, visible=False, elem_id="look-chart"
        )
        files = viewfiles.build("look-files")
    return Closer(
        buttons, asked, folds, panel, chart, files, gr.Timer(0.5, active=False), gr.State(""),
        gr.State(()), gr.State(""),
    )  # fmt: skip


def wire(
    dashboard: Dashboard,
    parts: Closer,
    job_id: gr.State,
    ended: gr.State,
    shortcuts: Mapping[str, gr.Button],
    dark: gr.State,
) -> gr.State:
    """Press, watch, stop, come back; returns the state that changes when something was measured.

    `shortcuts` are the result's own buttons: the measurement that each starts by one click.
    """
    out = [
        parts.bar, parts.panel, parts.chart, parts.timer, parts.look, parts.drawn, parts.measured,
        *parts.folds.values(),
    ]  # fmt: skip

    def subject(value: Any) -> SearchJob | None:
        wanted = text(value, "the search", 200)
        return next((job for job in dashboard.workbench.jobs() if job.id == wanted), None)

    def begin(job: SearchJob | None, name: str, values: Mapping[str, Any]) -> None:
        one = measurements[name]
        if job is None or job.report is None or not job.report.units:
            raise SettingError("there is no finished search to look at; run one to its end first")
        if why := one.refuses(job):
            raise SettingError(why)
        settings, pair = parts.asked(name, values), job.pair  # an error says where it is gone

        def work(told: Progress, stop: threading.Event, held: Any = pair) -> Measured:
            """Holds the pair until it is measured, whatever is loaded meanwhile."""

            def heard(what: str, share: float | None) -> None:
                told(what, share or 0.0)

            found = one.run(Call(dashboard.workbench, settings, heard, stop, job=job))
            if not stop.is_set():
                dashboard.workbench.keep(job.id, name, found)
            return found

        dashboard.tasks.begin(job.id, name, work)

    def price(job: SearchJob | None, name: str, values: Mapping[str, Any]) -> str:
        """What a measurement would take that asks first; SettingError says why it cannot be."""
        one = measurements[name] if name else None
        if job is None or one is None or one.cost is None or dashboard.tasks.of(job.id, name):
            return ""
        if why := one.refuses(job):
            raise SettingError(why)
        asked = parts.asked(name, values) if values else one.settings.read(presets(one.settings))
        return one.cost(job, asked)

    def view(
        job: SearchJob | None, name: str, dark: Any, drawn: Any,
        values: Mapping[str, Any] | None = None,
    ) -> tuple[Any, ...]:  # fmt: skip
        """What the card shows: everything, or nothing where nothing changed."""
        ready = job is not None and job.report is not None and bool(job.report.units)
        names = offered()
        tasks = {n: dashboard.tasks.of(job.id, n) for n in names} if job is not None else {}
        task, told = tasks.get(name), [tasks.get("skill"), tasks.get("stability")]
        over = [str(t.seconds) for t in told if t is not None and t.over]
        live = [t for t in tasks.values() if t is not None and not t.over]
        ends = tuple((n, t.state) for n, t in tasks.items() if t is not None)
        stamp = (job.id if job else "", ready, name, ends, stage(task), dark is True)
        timer = clock(min(live, key=lambda each: each.seconds, default=None))
        if stamp == drawn:
            return (*[gr.skip()] * 3, timer, *[gr.skip()] * (3 + len(parts.folds)))
        chart: Any = gr.update(visible=False, value=None)
        if job is not None and ready and task is not None and task.result is not None:
            chart = _chart(name, job, task.result, dark is True) or chart
        if tuple(drawn)[:4] == stamp[:4] and tuple(drawn)[5:] == stamp[5:]:
            chart = gr.skip()  # only the progress line moved: no flicker
        chosen = name if ready else ""
        return (
            _toolbar(tasks, chosen, ready),
            _panel(name, task, price(job, name, values or {})) if ready else _nothing(),
            chart,
            timer,
            name,
            stamp,
            f"{job.id}:{':'.join(over)}" if job and over else "",
            *(gr.update(visible=fold == chosen) for fold in parts.folds),
        )

    @guarded
    def press(
        here: Any, now: Any, dark: Any, event: gr.EventData, **values: Any
    ) -> tuple[Any, ...]:
        """A button of the card: show, measure again, stop."""
        data = getattr(event, "_data", None)
        data = data if isinstance(data, dict) else {}
        name, op = data.get("look") or now, data.get("op") or "show"
        if not isinstance(name, str) or name not in offered():
            raise SettingError(f"{str(name)[:40]!r} is no closer look; press one of the buttons")
        if op not in OPS:
            raise SettingError(f"{str(op)[:40]!r} is nothing to do here; press one of the buttons")
        job = subject(here)
        task = dashboard.tasks.of(job.id, name) if job is not None else None
        if op == "stop":
            if task is not None:
                task.stop()
        elif op == "again" or (task is None and measurements[name].cost is None):
            begin(job, name, values)
        elif task is None:
            return view(job, name, dark, (), values)
        return view(job, name, dark, ())

    def shortcut(name: str) -> Any:
        """One of the result's own buttons."""

        @guarded
        def start(here: Any, dark: Any, **values: Any) -> tuple[Any, ...]:
            job = subject(here)
            if job is None or dashboard.tasks.of(job.id, name) is None:
                begin(job, name, values)
            return view(job, name, dark, ())

        return start

    @guarded
    def tick(here: Any, name: Any, dark: Any, drawn: Any) -> tuple[Any, ...]:
        name = text(name, "the look", 40)
        return view(subject(here), name, dark, drawn if isinstance(drawn, tuple) else ())

    @guarded
    def attach(here: Any, dark: Any) -> tuple[Any, ...]:
        """Another search is shown, or the page was loaded anew: its newest look, if any."""
        job = subject(here)
        newest = dashboard.tasks.newest(job.id) if job is not None else None
        return view(job, newest.name if newest else "", dark, ())

    def told(drawn: Any) -> viewfiles.Told:
        """What is shown, as its files want it."""
        known = isinstance(drawn, tuple) and len(drawn) > 2
        job, name = (drawn[0], drawn[2]) if known else ("", "")
        task = dashboard.tasks.of(job, name) if name in offered() else None
        if task is None or task.result is None:
            raise SettingError("nothing is measured yet; press one of the buttons above")
        one, found = measurements[name], task.result
        figures = one.figures
        return viewfiles.Told(
            name,
            one.heading,
            found.origin,
            lambda: figures(found.record, False) if figures is not None else (),
            found.record.table,
            found.record.as_dict,
            " ".join([one.describe(found.record).finding, one.how]),
        )

    viewfiles.wire(parts.files, told, parts.drawn, parts.drawn, "look_take")
    quiet: dict[str, Any] = {
        "show_progress": "hidden",
        "concurrency_id": "closer",  # one after the other, so that no answer overtakes another
        "concurrency_limit": 1,
    }
    values = parts.values
    for name, event in (("look", parts.bar.select), ("look_panel", parts.panel.select)):
        event(press, [job_id, parts.look, dark], out, inputs_kwargs=values, api_name=name, **quiet)
    for name, button in shortcuts.items():
        button.click(
            shortcut(name), [job_id, dark], out, inputs_kwargs=values, api_name=f"look_{name}",
            js=_SCROLL, **quiet,
        )  # fmt: skip
    for name, form in parts.forms.items():
        form.follow(f"look_{name}_say")
    seen = [job_id, parts.look, dark, parts.drawn]
    parts.timer.tick(tick, seen, out, api_name="look_tick", **quiet)
    dark.change(tick, seen, out, api_name="look_dark", **quiet)
    for name, state in (("look_attach", job_id), ("look_ended", ended)):
        state.change(attach, [job_id, dark], out, api_name=name, **quiet)
    return parts.measured


def _chart(name: str, job: SearchJob, found: Measured, dark: bool) -> Any:
    """The first picture of what was measured; None where there is none."""
    figures = measurements[name].figures
    made = list(figures(found.record, dark)) if figures is not None else []
    if not made:
        return None
    picture = plots.drawn(made[0][1], f"{name} {job.id}", found.origin, dark)
    return gr.update(visible=True, value=picture)


def _toolbar(tasks: Mapping[str, Task | None], chosen: str, ready: bool) -> Html:
    """The buttons; each says what came of its measurement."""
    line = (
        "Each button measures one thing about the found set. What was judged is not judged again."
    )
    head = title("How sure is it? Look closer", line)
    return toolbar(head, {name: measurements[name] for name in offered()}, tasks, chosen, ready)


def _nothing() -> Html:
    return hint(
        "Nothing to look at yet",
        "Run a search to its end, or open one from Runs; then ask here how sure it is.",
    )


def _panel(name: str, task: Task | None, cost: str = "") -> Html:
    """One measurement: what it is, how far it is, or what it found."""
    if not name:
        return hint(
            "How sure is it?", "Press one of the buttons above; each says what it measures."
        )
    one = measurements[name]
    heading, how = one.heading, one.how
    if task is None and cost:
        start = html(
            '{} <button type="button" class="link" data-do="again">measure now</button>', cost
        )
        return framed(heading, how) + hint("What it takes", start)
    if task is None:
        return framed(heading, how) + hint(one.title, "Not measured yet: press its button.")
    if not task.over:
        return framed(heading, how) + progress_line(task)
    said = told_page(one.describe(task.result.record)) if task.result is not None else ""
    return joined((framed(heading, how, again(task)), ended(task), said))
