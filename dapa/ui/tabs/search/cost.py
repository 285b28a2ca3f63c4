"""What a search would cost, asked before it starts: a short timing, as a task of the server."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr

from dapa.core.html import Html, html
from dapa.ui.dashboard import Dashboard, guarded, piece, text
from dapa.ui.parts import bar, note
from dapa.ui.tabs.search import form as choices
from dapa.ui.tasks import Task
from dapa.ui.watching import clock
from dapa.workbench import digest
from dapa.writing.confidence import CERTIFIED, EXACT
from dapa.writing.sentences import estimate_sentence


@dataclass(frozen=True)
class Cost:
    """The components."""

    ask: gr.Button
    line: gr.HTML
    timer: gr.Timer
    subject: gr.State


def button() -> gr.Button:
    """The button, for the row of the others."""
    return gr.Button("Estimate cost", elem_classes="plain", elem_id="search-cost")


def build(ask: gr.Button) -> Cost:
    """The line under the row."""
    return Cost(ask, piece("", elem_id="cost"), gr.Timer(0.5, active=False), gr.State(""))


def wire(
    dashboard: Dashboard, parts: Cost, chosen: choices.SearchForm, changed: Any, started: Any
) -> None:
    """Ask, watch; another choice, told by the event `changed`, makes the answer stale.

    Once a search has `started`, what it takes stands in its meter, beside which a guess would only
    contradict.
    """
    out = [parts.line, parts.timer, parts.subject]

    def view(task: Task | None) -> tuple[Any, ...]:
        if task is None:
            return "", clock(None), ""
        return told(task), clock(task), task.subject

    @guarded
    def ask(**values: Any) -> tuple[Any, ...]:
        settings = chosen.read(values)
        pair = dashboard.workbench.pair  # a plain error where none is loaded
        subject = digest(json.dumps(asdict(settings), default=str), pair.digest)
        known = dashboard.tasks.of(subject, "cost")
        if known is not None and (not known.over or known.result is not None):
            return view(known)
        bench = dashboard.workbench
        return view(
            dashboard.tasks.begin(
                subject, "cost", lambda told, stop: bench.estimate(settings, stop)
            )
        )

    @guarded
    def tick(subject: Any) -> tuple[Any, ...]:
        return view(dashboard.tasks.of(text(subject, "the estimate", 200), "cost"))

    @guarded
    def forget() -> tuple[Any, ...]:
        return view(None)

    quiet: dict[str, Any] = {
        "show_progress": "hidden",
        "concurrency_id": "cost",
        "concurrency_limit": 1,
    }
    parts.ask.click(ask, None, out, inputs_kwargs=chosen.values, api_name="search_cost", **quiet)
    parts.timer.tick(tick, parts.subject, out, api_name="search_cost_tick", **quiet)
    changed.then(forget, None, out, api_name="search_cost_stale", **quiet)
    started.success(forget, None, out, api_name="search_cost_over", **quiet)


def told(task: Task) -> Html:
    """The estimate, or how far it is."""
    if not task.over:
        word = "Waits for a measurement" if task.state == "waiting" else "Timing this pair"
        line = html("{} {}; a few prompts, then searches on paper.", bar(None), word)
        return note(line)
    if task.result is None:
        return note(task.error or "The estimate was stopped.", "fail")
    costs = task.result.as_dict()
    said = note(estimate_sentence(costs))
    if costs["algorithm"] in CERTIFIED:  # what it can show, the plan above says already
        return said
    return said + note(costs["shows"].removeprefix(EXACT).strip())
