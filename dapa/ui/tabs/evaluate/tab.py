"""Evaluate: prompt sets through student, patched and teacher into one table with intervals.

The evaluation is a task of the server: the tab that began it may be closed and come back. Every
reply is kept in the run store and opened from its cell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from dapa.core.html import Html, html, joined
from dapa.core.records import Mask, Rate, SettingError
from dapa.figures import rates_chart
from dapa.figures.tradeoff import tradeoff_chart
from dapa.ui import exporting, plots, strip
from dapa.ui.belonging import current, is_ours, owner_of, under, whose
from dapa.ui.dashboard import Dashboard, guarded, one_of, piece, text
from dapa.ui.parts import exactly, hint, note, title
from dapa.ui.session import Session
from dapa.ui.tabs.evaluate import behind, scores
from dapa.ui.tabs.evaluate import form as asked
from dapa.ui.tabs.localize import viewfiles
from dapa.ui.tabs.search.tab import TO_CHAT
from dapa.ui.tasks import Task
from dapa.ui.watching import again, clock, ended, progress_line, stage
from dapa.workbench import WRAP, Evaluation, EvaluationSettings, digest, titled
from dapa.writing.sentences import ENDED_FIRST

_CHARTS = ("rates", "safety against skill", "safety against harmless answered", "by category")
_EMPTY = hint(
    "Does the transplant cost anything?",
    "Ask the three models the same prompts: do they refuse what is harmful, answer what is not, "
    "and keep the student’s skill? Press Evaluate.",
)
_BARE = "No layer is on the strip yet: the patched model would be the student itself."
_PARTIAL = "Stopped early: the rates are over what was judged."
_QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": "evaluate"}
SUBJECT = "evaluation"
"""Of the server's tasks: the evaluations."""


@dataclass(frozen=True)
class Evaluate:
    """The tab's components."""

    asked: asked.EvaluationForm
    start: gr.Button
    stop: gr.Button
    over: gr.HTML
    """The headline card."""
    actions: gr.Row
    """What may be done with the mask that was evaluated; others put their buttons into it too."""
    ask: gr.Button
    table: gr.HTML
    picture: gr.Radio
    chart: gr.Plot
    files: viewfiles.Files
    """The table itself, to take away."""
    export: exporting.Export
    timer: gr.Timer
    shown: gr.State
    drawn: gr.State
    behind: behind.Behind
    whose: gr.HTML
    """Says so where the table is of another pair, or of other layers than the strip's."""


def build(dashboard: Dashboard) -> Evaluate:
    """Layout: what is asked in a sentence, start and stop, the table, the chart, the replies."""
    asked_parts = asked.build(dashboard)
    with gr.Row(elem_classes="buttons"):
        start = gr.Button("Evaluate", elem_classes="primary-action", elem_id="eval-start")
        stop = gr.Button(
            "Stop, keep what is measured", elem_classes="plain", elem_id="eval-stop", visible=False
        )
    owned = piece("", elem_id="eval-whose", elem_classes="owner")
    with gr.Column(elem_classes="card belongs", elem_id="eval-headline"):
        over = piece("", elem_id="eval-over")
        with gr.Row(elem_classes="buttons", elem_id="eval-actions") as actions:
            ask = gr.Button("Try it in chat", elem_classes="plain", elem_id="eval-ask")
        export = exporting.build("eval-export")
    with gr.Column(elem_classes="card belongs"):
        picture = gr.Radio(
            list(_CHARTS), value=_CHARTS[0], show_label=False, label="chart", visible=False,
            elem_id="eval-picture",
        )  # fmt: skip
        chart = gr.Plot(
            show_label=False, label="Rates", container=False, visible=False, elem_id="eval-chart"
        )
        table = piece(_EMPTY, "scores.js", elem_id="eval-table")
        files = viewfiles.build("eval-files")
    return Evaluate(
        asked_parts, start, stop, over, actions, ask, table, picture, chart, files, export,
        gr.Timer(0.5, active=False), gr.State(""), gr.State(()), behind.build(), owned,
    )  # fmt: skip


def wire(
    dashboard: Dashboard, parts: Evaluate, session: gr.State, dark: gr.State, page: gr.Blocks,
    wheel: gr.HTML, steer: dict[str, Any], epoch: gr.State,
) -> Any:  # fmt: skip
    """Start, watch, stop, come back; open the replies behind a cell.

    Returns what shows the newest table and fills the form with what it was measured with (handler,
    inputs, outputs), and the event that pressed the evaluated layers, for the chat to answer.
    """
    out = [
        parts.table, parts.picture, parts.chart, parts.start, parts.stop, parts.timer, parts.shown,
        parts.drawn, parts.over,
    ]  # fmt: skip

    def task_of(shown: Any) -> Task | None:
        return dashboard.tasks.of(SUBJECT, shown) if isinstance(shown, str) and shown else None

    def view(shown: str, picture: Any, dark: Any, drawn: Any) -> tuple[Any, ...]:
        """The table, the chart and the buttons as the task stands."""
        task = task_of(shown)
        live = task is not None and not task.over
        stamp = (shown, stage(task), picture, dark is True)
        timer = clock(task)
        buttons = gr.update(visible=not live), gr.update(visible=live)
        if stamp == drawn:
            return gr.skip(), gr.skip(), gr.skip(), *buttons, timer, shown, drawn, gr.skip()
        nothing = gr.update(visible=False)
        if task is None:
            return _EMPTY, nothing, nothing, *buttons, timer, "", stamp, ""
        if live:
            head = title("Asking the models") + progress_line(task, stoppable=False)
            return head, nothing, nothing, *buttons, timer, shown, stamp, ""
        found: Evaluation | None = task.result
        told = html('{}<p class="note">{}</p>', ended(task), again(task))
        if found is None or not found.replies:
            return title("No table") + told, nothing, nothing, *buttons, timer, shown, stamp, ""
        figure = _chart(found, picture, dark is True)
        chart = nothing
        if figure is not None:
            made = plots.drawn(figure, f"evaluate {picture}", origin(found), dark is True)
            chart = gr.update(value=made, visible=True)
        partial = not found.complete and task.state != "stopped"  # opened again from Runs
        first = html("") if found.complete else note(ENDED_FIRST, "warn")
        body = joined((scores.draw(found), note(_PARTIAL) if partial else "", told, first))
        over = scores.headline(found, found.total or total_of(found))
        return body, gr.update(visible=True), chart, *buttons, timer, shown, stamp, over

    def total_of(found: Evaluation) -> int:
        """Of a table stored before it was told: what the loaded pair says, if it is its own."""
        bench = dashboard.workbench
        known = bench.loaded and found.run and is_ours(dashboard, bench.store.run(found.run))
        return bench.pair.choices(found.mask) if known else 0

    @guarded
    def use(here: Session, shown: Any) -> tuple[Session, str]:
        """The evaluated layers onto the strip."""
        task, bench = task_of(shown), dashboard.workbench
        if task is None or task.result is None:
            raise SettingError("no table is on the screen; press Evaluate first")
        mask = task.result.mask
        bench.pair.validate(mask)
        base = current(dashboard, here)
        strengths = {strength for _, strength in mask.entries}
        now = base.press(Mask.of(mask.units), max(strengths, default=1.0))
        return now, strip.draw(dashboard, now)

    def origin(found: Evaluation) -> str:
        """Where the table's numbers come from."""
        named = dashboard.workbench.store.run(found.run).title if found.run else "not stored"
        judged = f"{len(found.replies)} replies" + ("" if found.complete else ", stopped early")
        mask = f"patched: {exactly(found.mask)}"
        beside = [f"{name}: {exactly(each)}" for name, each in found.beside.items()]
        who = f"judged by {titled(found.judge)}"
        return " · ".join((named, mask, *beside, who, judged, f"run {found.run}"))

    @guarded
    def begin(
        here: Session, picture: Any, dark: Any, *beside: Any, **values: Any
    ) -> tuple[Any, ...]:
        bench = dashboard.workbench
        base = here if here.epoch == dashboard.epoch else replace(here, chosen=Session().chosen)
        form = parts.asked.form
        settings = asked.settings_of(dashboard, form, base.mask.key, beside, values, base.chosen_by)
        pair = bench.pair
        pair.validate(base.mask)
        sets = bench.asked_sets(settings)
        if not sets:
            raise SettingError("no prompt of these sets is left to ask; choose other sets")
        name = digest(dashboard.epoch, repr(settings), sorted(sets))

        def work(told: Any, stop: Any, held: Any = pair) -> Evaluation:
            """Of the pair that was on screen, whatever is loaded by the time its turn comes."""

            def heard(what: str, share: float | None) -> None:
                told(what, share or 0.0)

            return bench.evaluation(settings, heard, stop, sets=sets, pair=held)

        dashboard.tasks.begin(SUBJECT, name, work, owner_of(pair.spec), base.mask)
        return view(name, picture, dark, ())

    @guarded
    def belongs(shown: Any, here: Session) -> Html:
        """Whose the table is, where it is not what strip and header say."""
        task = task_of(shown)
        if task is None:
            bare = dashboard.workbench.loaded and not here.mask.entries
            return note(_BARE) if bare else html("")
        other = whose(dashboard, task.owner, "This table")
        return other or under(dashboard, task.owner, task.mask, here.mask)

    @guarded
    def tick(shown: Any, picture: Any, dark: Any, drawn: Any) -> tuple[Any, ...]:
        chosen = one_of(picture, "chart", _CHARTS)
        if not text(shown, "the evaluation", 80):
            return attach(picture, dark)  # a dark page says so while it still hears what is there
        return view(shown, chosen, dark, drawn)

    @guarded
    def attach(picture: Any, dark: Any) -> tuple[Any, ...]:
        """After a reload: the newest evaluation of this server."""
        newest = dashboard.tasks.newest(SUBJECT)
        return view(newest.name if newest else "", picture, dark, ())

    @guarded
    def reopen(picture: Any, dark: Any) -> tuple[Any, ...]:
        """A stored run was opened: its table, and the form holds what it was measured with."""
        newest = dashboard.tasks.newest(SUBJECT)
        filled = [gr.skip() for _ in parts.asked.filling]
        if newest is not None and newest.result is not None and newest.result.run:
            stored = dashboard.workbench.store.run(newest.result.run).settings
            filled = parts.asked.filled(dashboard, EvaluationSettings.from_dict(stored))
        return (*attach(picture, dark), *filled)

    @guarded
    def halt(shown: Any) -> None:
        task = task_of(shown)
        if task is not None:
            task.stop()

    @guarded
    def press(
        event: gr.EventData, shown: Any, picture: Any, dark: Any, here: Session, *beside: Any,
        **values: Any,
    ) -> Any:  # fmt: skip
        """A link in the table: measure again."""
        data = getattr(event, "_data", None)
        if isinstance(data, dict) and data.get("op") == "again":
            return begin(here, picture, dark, *beside, **values)
        return view(text(shown, "the evaluation", 80), picture, dark, ())

    def exported(shown: str) -> str:
        """The stored run of the table on the screen."""
        task = task_of(shown)
        found: Evaluation | None = task.result if task is not None and task.over else None
        return str(found.run) if found is not None and found.replies and found.run else ""

    def told(shown: Any) -> viewfiles.Told:
        """The table on the screen, as its files want it."""
        task = task_of(shown)
        found: Evaluation | None = task.result if task is not None and task.over else None
        if found is None or not found.replies:
            raise SettingError("no table is on the screen; press Evaluate first")

        def pictures() -> list[tuple[str, Any]]:
            drawn = [(name, _chart(found, name, False)) for name in _CHARTS]
            return [(name, figure) for name, figure in drawn if figure is not None]

        return viewfiles.Told(
            "evaluation", "What each model did", origin(found), pictures,
            lambda: scores.as_table(found), found.as_dict,
        )  # fmt: skip

    viewfiles.wire(parts.files, told, parts.shown, parts.drawn, "evaluate_take")
    exporting.wire(dashboard, parts.export, exported, parts.shown, "evaluate", parts.drawn)
    beside, values = parts.asked.beside, dict(parts.asked.form.parts)
    parts.start.click(
        begin, [session, parts.picture, dark, *beside], out, inputs_kwargs=values,
        api_name="evaluate", **_QUIET,
    )  # fmt: skip
    parts.stop.click(halt, parts.shown, None, api_name="evaluate_stop", queue=False)
    seen = [parts.shown, parts.picture, dark, parts.drawn]
    parts.timer.tick(tick, seen, out, api_name="evaluate_tick", **_QUIET)
    parts.picture.input(tick, seen, out, api_name="evaluate_chart", **_QUIET)
    dark.change(tick, seen, out, api_name="evaluate_dark", **_QUIET)
    parts.table.like(
        press, [parts.shown, parts.picture, dark, session, *beside], out,
        inputs_kwargs=values, api_name="evaluate_again", **_QUIET,
    )  # fmt: skip
    behind.wire(parts.behind, parts.table, parts.shown, task_of)
    gr.on(
        [epoch.change, session.change, parts.shown.change], belongs, [parts.shown, session],
        parts.whose, api_name="evaluate_whose", trigger_mode="always_last", show_progress="hidden",
    )  # fmt: skip
    page.load(
        attach, [parts.picture, dark], out, api_name="evaluate_attach", show_progress="hidden"
    )
    reopened = (reopen, [parts.picture, dark], [*out, *parts.asked.filling])
    return reopened, parts.ask.click(
        use, [session, parts.shown], [session, wheel], api_name="evaluate_try", js=TO_CHAT, **steer
    )


def _chart(found: Evaluation, picture: Any, dark: bool) -> Any:
    """The chosen chart, or None where it has no data."""
    if picture == "by category":
        rates = scores.by_category(found, "dsr")
        across = f"refuses harmful, {found.asked} (DSR)"
        return rates_chart(rates, dark, across) if any(rates.values()) else None
    if picture in _CHARTS[1:3]:
        return _tradeoff(found, picture, dark)
    measures = scores.measures_of(found)
    rows = {
        model: {m.removeprefix(WRAP): found.rate(model, m) for m in measures}
        for model in found.models
    }
    return rates_chart(rows, dark=dark)


def _tradeoff(found: Evaluation, picture: str, dark: bool) -> Any:
    points: dict[str, tuple[Rate, Rate]] = {}
    skill = picture == _CHARTS[1]
    for model in found.models:
        safety = found.rate(model, "dsr") or found.rate(model, "dsr_search")
        kept = found.rate(model, "skill" if skill else "over_refusal")
        if safety is None or kept is None:
            continue
        answered = Rate(1 - kept.value, 1 - kept.high, 1 - kept.low, kept.n)
        points[model] = (safety, kept if skill else answered)
    what = "skill, exact answers" if skill else "harmless requests answered"
    return tradeoff_chart(points, what, dark) if points else None
