"""Search: find a few layers that keep the refusals; a job of the server, told of here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from dapa.core.records import PairError, SettingError
from dapa.ui import exporting, replay, strip
from dapa.ui.belonging import current, owner_of, title_of
from dapa.ui.dashboard import Dashboard, guarded, piece
from dapa.ui.parts import hint
from dapa.ui.session import Session
from dapa.ui.tabs.search import certifying, closer, cost, plan
from dapa.ui.tabs.search import form as choices
from dapa.ui.tabs.search.status import SearchStatus
from dapa.workbench import SearchJob

_EMPTY = hint(
    "Which layers carry refusal?",
    "A search moves fewer and fewer layers from the teacher into the student and asks harmful "
    "prompts each time, until no more can be spared. Press Start search. An earlier search stands "
    "in Runs: Open in Search makes it again from what was judged, as does each closer look.",
)
_LIVE = ("ready", "running", "paused")
TO_CHAT = """(...values) => {
  [...document.querySelectorAll('#tabs .tab-wrapper button[role=tab]')]
    .find((tab) => tab.textContent.trim() === 'Chat')?.click();
  return values;
}"""
"""Opens the Chat tab and hands on what the event was given."""


@dataclass(frozen=True)
class Search:
    """The tab's components."""

    choices: choices.SearchForm
    plan: gr.HTML
    cost: cost.Cost
    start: gr.Button
    pause: gr.Button
    stop: gr.Button
    actions: gr.Row
    """What may be done with the result; others put their buttons into it too."""
    use: gr.Button
    ask: gr.Button
    repeat: gr.Button
    compare: gr.Button
    elsewhere: gr.Button
    """Searches the kind of site that may hold refusal, where nothing was found."""
    found: gr.HTML
    chart: gr.Plot
    below: gr.HTML
    export: exporting.Export
    meter: gr.HTML
    pictures: gr.HTML
    closer: closer.Closer
    timer: gr.Timer
    job: gr.State
    ended: gr.State
    drawn: gr.State
    pictured: gr.State
    """What the picture of a confidence search hangs on."""
    whose: gr.HTML
    """Says so where the search is of another pair than the loaded one."""


def build(dashboard: Dashboard) -> Search:
    """Layout: settings in a sentence, buttons, result, meter, pictures, and what looks closer."""
    chosen = choices.build()
    planned = plan.build()
    with gr.Row(elem_classes="buttons"):
        start = gr.Button("Start search", elem_classes="primary-action", elem_id="search-start")
        pause = gr.Button("Pause", elem_classes="plain", elem_id="search-pause", visible=False)
        stop = gr.Button(
            "Stop, keep best", elem_classes="plain", elem_id="search-stop", visible=False
        )
        ask = cost.button()
    costs = cost.build(ask)
    owned = piece("", elem_id="search-whose", elem_classes="owner")
    with gr.Column(elem_classes="card belongs", elem_id="result-card"):
        found = piece(_EMPTY, elem_id="result")
        with gr.Row(elem_classes="buttons", elem_id="result-actions") as actions:
            use = gr.Button(
                "Use these layers", elem_classes="primary-action", elem_id="use", visible=False
            )
            ask = gr.Button("Try it in chat", elem_classes="plain", elem_id="ask", visible=False)
            compare = gr.Button(
                "Compare baselines", elem_classes="plain", elem_id="compare", visible=False
            )
            repeat = gr.Button(
                "Repeat the choosing (10 orders, 10 resamples)", elem_classes="plain",
                elem_id="repeat", visible=False,
            )  # fmt: skip
            elsewhere = gr.Button(
                "", elem_classes="primary-action", elem_id="elsewhere", visible=False
            )
        chart = gr.Plot(
            show_label=False,
            label="Size against refusals",
            container=False,
            visible=False,
            elem_id="certified-chart",
        )
        export = exporting.build("search-export")
    meter = piece("", elem_id="meter", elem_classes="belongs")
    pictures = replay.picture("tests")
    with gr.Column(elem_classes="card belongs", elem_id="certified-card"):
        below = piece("", elem_id="certified")
    looked = closer.build()
    return Search(
        chosen, planned, costs, start, pause, stop, actions, use, ask, repeat, compare, elsewhere,
        found, chart, below, export, meter, pictures, looked, gr.Timer(0.4, active=False),
        gr.State(""), gr.State(""), gr.State(()), gr.State(()), owned,
    )  # fmt: skip


def wire(
    dashboard: Dashboard,
    parts: Search,
    session: gr.State,
    wheel: gr.HTML,
    steer: dict[str, Any],
    dark: gr.State,
    epoch: gr.State,
) -> tuple[Any, Any, tuple[Any, Any]]:
    """Events.

    Returns:
        What shows the newest search, and what shows one that was opened from the store, each with
        its outputs; the two events that applied the found layers.
    """
    status = SearchStatus(
        dashboard,
        [
            parts.found, parts.below, parts.meter, parts.pictures, parts.start, parts.cost.ask,
            parts.pause, parts.stop, parts.use, parts.ask, parts.compare, parts.repeat,
            parts.elsewhere, parts.timer, parts.ended, parts.drawn, parts.pictured,
            parts.whose,
        ],
    )  # fmt: skip

    @guarded
    def start(**values: Any) -> tuple[Any, ...]:
        settings = parts.choices.read(values)
        job = begin(dashboard, lambda: dashboard.workbench.search_job(settings))
        return (job.id, *status.view(job, ()))

    @guarded
    def start_elsewhere(job_id: Any) -> tuple[Any, ...]:
        """The same search of another kind of site, whatever the form says by now."""
        found = _needed(status.job(job_id))
        kind = status.elsewhere(found)
        if not kind:
            raise SettingError("no other kind of site is known to try; choose one in the settings")
        settings = replace(found.settings, kind=kind)
        job = begin(dashboard, lambda: dashboard.workbench.search_job(settings))
        return (job.id, kind, *status.view(job, ()))

    @guarded
    def tick(job_id: Any, drawn: Any) -> tuple[Any, ...]:
        return status.view(status.job(job_id), drawn if isinstance(drawn, tuple) else ())

    @guarded
    def pause(job_id: Any) -> None:
        job = _needed(status.job(job_id))
        (job.control.resume if job.control.paused else job.control.pause)()

    @guarded
    def stop(job_id: Any) -> None:
        _needed(status.job(job_id)).control.stop()

    @guarded
    def say(job_id: Any) -> Any:
        """The sentence, once something beside the search was measured."""
        job = status.job(job_id)
        return gr.skip() if job is None or not job.wait(0) else status.headline(job, "done")

    @guarded
    def attach() -> tuple[Any, ...]:
        """After a reload: the newest search of this server, running or ended."""
        jobs = dashboard.workbench.jobs()
        if not jobs:
            return (gr.skip(), *status.view(None, ()))
        return (jobs[-1].id, *status.view(jobs[-1], ()))

    @guarded
    def reopen() -> tuple[Any, ...]:
        """A stored run was opened: it is shown, and the form holds what it was searched with.

        Else Search again would search with whatever else stood there.
        """
        jobs = dashboard.workbench.jobs()
        asked = parts.choices
        filled = asked.filled(jobs[-1].settings) if jobs else [gr.skip() for _ in asked.filling]
        return (*attach(), *filled)

    def ours(job: SearchJob) -> bool:
        """Was the loaded pair searched?"""
        return dashboard.workbench.loaded and job.suits(dashboard.workbench.pair)

    @guarded
    def remember(here: Session, job_id: Any) -> tuple[Any, Any]:
        """The strip's `found` link knows the result from now on."""
        job = status.job(job_id)
        if job is None or job.report is None or not ours(job):
            return gr.skip(), gr.skip()
        base = current(dashboard, here)
        now = replace(base, found=job.report.mask, found_by=job.id)
        return now, strip.draw(dashboard, now)

    @guarded
    def use(here: Session, job_id: Any) -> tuple[Session, str]:
        job = _needed(status.job(job_id))
        if job.report is None or not job.report.units:
            raise SettingError("this search has no result yet; wait for its end or stop it")
        if not ours(job):
            of = title_of(owner_of(job.owner))
            raise PairError(f"these layers were found for {of}; load it to use them")
        mask = job.report.mask
        dashboard.workbench.pair.validate(mask)
        base = current(dashboard, here)
        now = base.holding(dashboard.workbench.pair, mask, job.settings.kind, job.id)
        return now, strip.draw(dashboard, now)

    @guarded
    def draw(job_id: Any, dark: Any) -> Any:
        """The picture of a confidence search, as far as it is."""
        return certifying.chart(status.job(job_id), dark is True)

    quiet: dict[str, Any] = {"show_progress": "hidden"}
    out, settings = status.outputs, parts.choices.values
    chosen = choices.wire(parts.choices, dashboard, epoch)
    plan.wire(dashboard, parts.plan, parts.choices, chosen, epoch)
    started = parts.start.click(
        start, None, [parts.job, *out], inputs_kwargs=settings, api_name="search_start", **quiet
    )
    cost.wire(dashboard, parts.cost, parts.choices, chosen, started)
    parts.elsewhere.click(
        start_elsewhere,
        parts.job,
        [parts.job, parts.choices.form.parts["kind"], *out],
        api_name="search_elsewhere",
        **quiet,
    )
    epoch.change(tick, [parts.job, parts.drawn], out, api_name="search_pair", **quiet)
    epoch.change(
        remember, [session, parts.ended], [session, wheel], api_name="search_known", **steer
    )
    # What the tick draws nobody else draws while it runs: answers may overtake each other.
    parts.timer.tick(
        tick, [parts.job, parts.drawn], out, api_name="search_tick", concurrency_limit=8, **quiet
    )
    parts.pause.click(pause, parts.job, None, api_name="search_pause", **quiet)
    parts.stop.click(stop, parts.job, None, api_name="search_stop", **quiet)
    parts.ended.change(
        remember, [session, parts.ended], [session, wheel], api_name="search_found", **steer
    )
    applied = parts.use.click(
        use, [session, parts.job], [session, wheel], api_name="search_use", **steer
    )
    asked = parts.ask.click(
        use, [session, parts.job], [session, wheel], api_name="search_try", js=TO_CHAT, **steer
    )

    def exported(ended: str) -> str:
        """A search that found a set, once it has ended."""
        job = status.job(ended)
        return job.id if job is not None and job.report is not None and job.report.units else ""

    exporting.wire(dashboard, parts.export, exported, parts.ended, "search")
    one: dict[str, Any] = {"concurrency_id": "certified", "concurrency_limit": 1, **quiet}
    for name, changed in (("search_picture", parts.pictured), ("search_dark", dark)):
        changed.change(draw, [parts.job, dark], parts.chart, api_name=name, **one)
    shortcuts = {"baselines": parts.compare, "stability": parts.repeat}
    measured = closer.wire(dashboard, parts.closer, parts.job, parts.ended, shortcuts, dark)
    measured.change(say, parts.job, parts.found, api_name="search_measured", **quiet)
    shown = [parts.job, *out]
    return (attach, shown), (reopen, [*shown, *parts.choices.filling]), (applied, asked)


def begin(dashboard: Dashboard, make: Callable[[], SearchJob]) -> SearchJob:
    """Start a search, unless one is under way; SettingError says which."""
    for job in dashboard.workbench.jobs():
        if job.state in _LIVE and not job.wait(0):
            raise SettingError(
                f"the search {job.id} is still running; stop it first, or reload to watch it"
            )
    job = make()
    job.start()
    return job


def _needed(job: SearchJob | None) -> SearchJob:
    if job is None:
        raise SettingError("there is no such search on this server; start one")
    return job
