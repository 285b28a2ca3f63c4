"""Evaluate: prompt sets through student, patched and teacher into one table with intervals."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dapa.figures import rates_chart
from dapa.measure.evaluation import COLUMNS, MODELS, Evaluation, Purpose
from dapa.records import DapaError, Mask, Prompt, Rate, SettingError
from dapa.ui.desk import Desk, guarded, piece, whole
from dapa.ui.parts import bar, esc, hint, names, note, rate, seconds, table, title
from dapa.ui.session import Session

SETS: Mapping[str, Purpose] = {
    "harmful, held out": "dsr",
    "harmless twins": "over_refusal",
    "borderline harmless": "borderline",
    "skill": "skill",
}
_TITLES = {
    "dsr": "refuses harmful (DSR)",
    "dsr_search": "refuses harmful, search set",
    "over_refusal": "refuses harmless twins",
    "borderline": "refuses borderline harmless",
    "incoherent": "incoherent",
    "unclear": "unclear",
    "skill": "skill, exact answers",
    "harm": "harmful (second axis)",
}
_EMPTY = hint(
    "Does the transplant cost anything?",
    "Ask the three models the same prompts: do they refuse what is harmful, answer what is not, "
    "and keep the student’s skill? Press Evaluate.",
)


@dataclass(frozen=True)
class Evaluate:
    """The tab's components."""

    sentence: gr.Accordion
    sets: gr.CheckboxGroup
    limit: gr.Number
    tokens: gr.Number
    start: gr.Button
    stop: gr.Button
    table: gr.HTML
    chart: gr.Plot


class Counter:
    """How far an evaluation has come, written by its thread, read by the screen."""

    def __init__(self) -> None:
        """Nothing judged yet."""
        self.done, self.total, self.since = 0, 0, time.monotonic()
        self.result: Evaluation | None = None
        self.error: Exception | None = None

    def told(self, done: int, total: int) -> None:
        """The evaluation's progress callback."""
        self.done, self.total = done, total

    def line(self) -> str:
        """A progress line with what is left."""
        took = time.monotonic() - self.since
        left = ""
        if self.done and took > 1:
            left = f" · about {seconds(took / self.done * (self.total - self.done))} left"
        done = bar(self.done / self.total if self.total else None)
        return (
            f'{title("Asking the three models")}<p class="note" role="status">{done} '
            f"{self.done:,} of {self.total or '…'} replies judged{left}</p>"
        )


def build(desk: Desk) -> Evaluate:
    """Layout: which sets in a sentence, start and stop, the table, the chart."""
    chosen = list(SETS)
    with gr.Accordion(
        _sentence(chosen, 64, 48), open=False, elem_classes="sentence", elem_id="eval-settings"
    ) as sentence:
        sets = gr.CheckboxGroup(chosen, value=chosen, label="prompt sets")
        with gr.Row():
            limit = gr.Number(64, label="prompts a set at most", minimum=4, precision=0)
            tokens = gr.Number(48, label="most new tokens", minimum=1, maximum=8192, precision=0)
    with gr.Row(elem_classes="buttons"):
        start = gr.Button("Evaluate", elem_classes="primary-action", elem_id="eval-start")
        stop = gr.Button("Stop", elem_classes="plain", elem_id="eval-stop", visible=False)
    with gr.Column(elem_classes="card"):
        shown = piece(_EMPTY, elem_id="eval-table")
        chart = gr.Plot(
            show_label=False, label="Rates", container=False, visible=False, elem_id="eval-chart"
        )
    return Evaluate(sentence, sets, limit, tokens, start, stop, shown, chart)


def _sentence(sets: list[str], limit: Any, tokens: Any) -> str:
    """The settings as one line."""
    return f"{', '.join(sets) or 'no set'} · up to {limit} prompts each · {tokens} tokens · greedy"


def wire(desk: Desk, parts: Evaluate, session: gr.State, dark: gr.State) -> None:
    """Start, watch, stop."""
    stops: dict[str, threading.Event] = {}

    def chosen_sets(sets: Any, limit: Any) -> dict[Purpose, tuple[Prompt, ...]]:
        if not isinstance(sets, list) or any(name not in SETS for name in sets):
            raise SettingError(f"prompt sets must be some of {', '.join(SETS)}")
        if not sets:
            raise SettingError("no prompt set is chosen; choose at least one")
        most = whole(limit, "prompts a set at most", 1, 100_000)
        wanted = {SETS[name] for name in sets}
        every = desk.workbench.evaluation_sets()
        return {purpose: items[:most] for purpose, items in every.items() if purpose in wanted}

    @guarded
    def run(
        here: Session, dark: Any, sets: Any, limit: Any, tokens: Any, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        who = str(getattr(request, "session_hash", ""))
        asked = chosen_sets(sets, limit)
        most = whole(tokens, "most new tokens", 1, 8192)
        counter, stop = Counter(), threading.Event()
        if who in stops:
            stops[who].set()
        stops[who] = stop

        def work() -> None:
            try:
                counter.result = desk.workbench.evaluate(
                    here.mask, asked, max_new_tokens=most, progress=counter.told, stop=stop
                )
            except Exception as error:  # handed to the screen, which asks for it below
                counter.error = error

        thread = threading.Thread(target=work, daemon=True, name="evaluate")
        thread.start()
        try:
            while thread.is_alive():
                yield counter.line(), gr.skip(), gr.update(visible=False), gr.update(visible=True)
                thread.join(0.3)
        finally:
            stop.set()  # the tab was closed: nobody waits for the rest
            if stops.get(who) is stop:
                del stops[who]
        buttons = gr.update(visible=True), gr.update(visible=False)
        if isinstance(counter.error, DapaError):
            failed = title("No table") + note(esc(counter.error), "fail")
            yield failed, gr.update(visible=False), *buttons
            return
        if counter.error is not None:
            raise counter.error
        assert counter.result is not None, "the thread ended without result and without error"
        yield draw(counter.result), _chart(counter.result, dark is True), *buttons

    @guarded
    def halt(request: gr.Request) -> None:
        event = stops.get(str(getattr(request, "session_hash", "")))
        if event is not None:
            event.set()

    @guarded
    def say(sets: Any, limit: Any, tokens: Any) -> Any:
        return gr.update(label=_sentence(sets if isinstance(sets, list) else [], limit, tokens))

    settings = [parts.sets, parts.limit, parts.tokens]
    quiet: dict[str, Any] = {"show_progress": "hidden"}
    parts.start.click(
        run,
        [session, dark, *settings],
        [parts.table, parts.chart, parts.start, parts.stop],
        api_name="evaluate",
        concurrency_limit=4,
        **quiet,
    )
    parts.stop.click(halt, None, None, api_name="evaluate_stop", queue=False, **quiet)
    for i, component in enumerate(settings):
        component.change(say, settings, parts.sentence, api_name=f"evaluate_say_{i}", **quiet)


def draw(found: Evaluation) -> str:
    """The one table: a row per measure, a column per model."""
    rates = _rates(found)
    rows = [
        (_TITLES[column], *(rate(rates[model][column]) for model in MODELS))
        for column in COLUMNS
        if any(rates[model][column] for model in MODELS)
    ]
    head = "Student, patched and teacher on the same prompts"
    line = f"Patched with {_mask(found.mask)}. Rates with 95\u202f% Wilson intervals."
    partial = "" if found.complete else note("Stopped early: the rates are over what was judged.")
    body = table(("share of replies", *MODELS), rows) if rows else note("Nothing was judged.")
    return title(head, line) + partial + body


def _mask(mask: Mask) -> str:
    return names(mask.units) if mask.entries else "no layer: it is the student"


def _rates(found: Evaluation) -> dict[str, dict[str, Rate | None]]:
    return {model: {c: found.rate(model, c) for c in COLUMNS} for model in MODELS}


def _chart(found: Evaluation, dark: bool) -> Any:
    if not found.replies:
        return gr.update(visible=False)
    return gr.update(value=rates_chart(_rates(found), dark=dark), visible=True)
