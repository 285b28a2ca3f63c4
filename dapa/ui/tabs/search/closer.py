"""Look closer: what is measured beside a finished search, each behind a button.

One card, one panel. A press starts a task of the server and tails it; another press brings what was
measured back; a reload finds it again. What each look measures and how it is drawn is its own file
in `dapa/ui/measurements`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dapa.core.records import SettingError
from dapa.model.pair import Pair
from dapa.search.job import SearchJob
from dapa.ui import plots
from dapa.ui.dashboard import Dashboard, guarded, piece, text
from dapa.ui.measurements.looks import looks
from dapa.ui.parts import hint, title
from dapa.ui.tasks import Progress, Task
from dapa.ui.watching import OPS, again, ended, framed, progress_line, stage, toolbar

_SCROLL = """(...values) => {
  document.getElementById('closer').scrollIntoView({ block: 'start' });
  return values;
}"""


@dataclass(frozen=True)
class Closer:
    """The card's components."""

    bar: gr.HTML
    panel: gr.HTML
    chart: gr.Plot
    timer: gr.Timer
    look: gr.State
    drawn: gr.State
    measured: gr.State


def build() -> Closer:
    """Layout: the buttons, the panel, the chart."""
    with gr.Column(elem_classes="card", elem_id="closer"):
        buttons = piece(_toolbar({}, "", False), "looks.js", elem_id="looks")
        panel = piece(_nothing(), "looks.js", elem_id="look")
        chart = gr.Plot(
            show_label=False, label="Chart", container=False, visible=False, elem_id="look-chart"
        )
    return Closer(
        buttons, panel, chart, gr.Timer(0.5, active=False), gr.State(""), gr.State(()), gr.State("")
    )


def wire(
    dashboard: Dashboard,
    parts: Closer,
    job_id: gr.State,
    ended: gr.State,
    compare: gr.Button,
    dark: gr.State,
) -> gr.State:
    """Press, watch, stop, come back; returns the state that changes when something was measured."""
    out = [
        parts.bar, parts.panel, parts.chart, parts.timer, parts.look, parts.drawn, parts.measured,
    ]  # fmt: skip

    def subject(value: Any) -> SearchJob | None:
        wanted = text(value, "the search", 200)
        return next((job for job in dashboard.workbench.jobs() if job.id == wanted), None)

    def begin(job: SearchJob | None, name: str) -> None:
        look = looks[name]
        if job is None or job.report is None or not job.report.units:
            raise SettingError("there is no finished search to look at; run one to its end first")
        if why := look.refuses(job):
            raise SettingError(why)
        pair = job.pair  # an error says where it is gone

        def work(told: Progress, stop: threading.Event, held: Pair = pair) -> Any:
            """Holds the pair until it is measured, whatever is loaded meanwhile."""
            return look.measure(dashboard.workbench, job, told, stop)

        dashboard.tasks.begin(job.id, name, work)

    def view(job: SearchJob | None, name: str, dark: Any, drawn: Any) -> tuple[Any, ...]:
        """What the card shows: everything, or nothing where nothing changed."""
        ready = job is not None and job.report is not None and bool(job.report.units)
        tasks = {n: dashboard.tasks.of(job.id, n) for n in looks} if job is not None else {}
        task, skill = tasks.get(name), tasks.get("skill")
        live = [t for t in tasks.values() if t is not None and not t.over]
        ends = tuple((n, t.state) for n, t in tasks.items() if t is not None)
        stamp = (job.id if job else "", ready, name, ends, stage(task), dark is True)
        timer = gr.Timer(active=bool(live))
        if stamp == drawn:
            return (*[gr.skip()] * 3, timer, *[gr.skip()] * 3)
        chart: Any = gr.update(visible=False, value=None)
        if job is not None and ready and task is not None and task.result is not None:
            figure = looks[name].figure
            if figure is not None and (made := figure(task.result, job, dark is True)):
                picture = plots.drawn(made, f"{name} {job.id}", job.origin, dark is True)
                chart = gr.update(visible=True, value=picture)
        if tuple(drawn)[:4] == stamp[:4] and tuple(drawn)[5:] == stamp[5:]:
            chart = gr.skip()  # only the progress line moved: no flicker
        body = _panel(job, name, task) if job is not None and ready else _nothing()
        return (
            _toolbar(tasks, name if ready else "", ready),
            body,
            chart,
            timer,
            name,
            stamp,
            f"{job.id}:{skill.seconds}" if job and skill and skill.over else "",
        )

    @guarded
    def press(here: Any, now: Any, dark: Any, event: gr.EventData) -> tuple[Any, ...]:
        """A button of the card: show, measure again, stop."""
        data = getattr(event, "_data", None)
        data = data if isinstance(data, dict) else {}
        name, op = data.get("look") or now, data.get("op") or "show"
        if not isinstance(name, str) or name not in looks:
            raise SettingError(f"{str(name)[:40]!r} is no closer look; press one of the buttons")
        if op not in OPS:
            raise SettingError(f"{str(op)[:40]!r} is nothing to do here; press one of the buttons")
        job = subject(here)
        task = dashboard.tasks.of(job.id, name) if job is not None else None
        if op == "stop":
            if task is not None:
                task.stop()
        elif task is None or op == "again":
            begin(job, name)
        return view(job, name, dark, ())

    @guarded
    def rivals(here: Any, dark: Any) -> tuple[Any, ...]:
        """The result's own button: the table of baselines, by one click."""
        job = subject(here)
        if job is None or dashboard.tasks.of(job.id, "baselines") is None:
            begin(job, "baselines")
        return view(job, "baselines", dark, ())

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

    quiet: dict[str, Any] = {
        "show_progress": "hidden",
        "concurrency_id": "closer",  # one after the other, so that no answer overtakes another
        "concurrency_limit": 1,
    }
    for name, event in (("look", parts.bar.select), ("look_panel", parts.panel.select)):
        event(press, [job_id, parts.look, dark], out, api_name=name, **quiet)
    compare.click(rivals, [job_id, dark], out, api_name="look_baselines", js=_SCROLL, **quiet)
    seen = [job_id, parts.look, dark, parts.drawn]
    parts.timer.tick(tick, seen, out, api_name="look_tick", **quiet)
    dark.change(tick, seen, out, api_name="look_dark", **quiet)
    for name, state in (("look_attach", job_id), ("look_ended", ended)):
        state.change(attach, [job_id, dark], out, api_name=name, **quiet)
    return parts.measured


def _toolbar(tasks: dict[str, Task | None], chosen: str, ready: bool) -> str:
    """The buttons; each says what came of its measurement."""
    line = (
        "Each button measures one thing about the found set. What was judged is not judged again."
    )
    head = title("How sure is it? Look closer", line)
    return toolbar(head, {name: looks[name].title for name in looks}, tasks, chosen, ready)


def _nothing() -> str:
    return hint("Nothing to look at yet", "Run a search to its end; then ask here how sure it is.")


def _panel(job: SearchJob, name: str, task: Task | None) -> str:
    """One look: what it is, how far it is, or what it found."""
    if not name:
        return hint(
            "How sure is it?", "Press one of the buttons above; each says what it measures."
        )
    look = looks[name]
    if task is None:
        empty = hint(look.title, "Not measured yet: press its button.")
        return framed(look.heading, look.about) + empty
    if not task.over:
        return framed(look.heading, look.about) + progress_line(task)
    drawn = look.draw(task.result, job) if task.result is not None else ""
    return f"{framed(look.heading, look.about, again(task))}{ended(task)}{drawn}"
