"""What a search can show with the prompts at hand, told before it starts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import gradio as gr

from dapa.core.html import Html, html, joined
from dapa.core.records import DapaError
from dapa.ui.dashboard import Dashboard, guarded, piece
from dapa.ui.parts import note, table
from dapa.ui.tabs.search import form as choices
from dapa.workbench import ConfidencePlan, SearchSettings
from dapa.writing.certified import chances, plan_text
from dapa.writing.confidence import EXACT

_IDLE = ("max_tests", "max_tokens", "max_seconds", "max_new_tokens", "screen", "canonical")
"""Settings that no plan hangs on."""
_KEPT = 32
"""Plans that are remembered: near-duplicates of a large set are slow to find."""


def build() -> gr.HTML:
    """The line under the settings."""
    return piece("", elem_id="plan")


def wire(
    dashboard: Dashboard, line: gr.HTML, chosen: choices.SearchForm, changed: Any, epoch: gr.State
) -> None:
    """The line follows the settings, by the event `changed`, and the loaded pair."""
    known: dict[str, ConfidencePlan | None] = {}

    @guarded
    def say(**values: Any) -> Html:
        if not dashboard.workbench.loaded:
            return html("")
        try:
            settings = chosen.read(values)
            key = _key(dashboard, settings)
            if key not in known:
                if len(known) >= _KEPT:
                    known.clear()
                known[key] = dashboard.workbench.search_plan(settings)
            return told(known[key])
        except DapaError:
            return html("")  # Start will say what is wrong

    quiet: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": "plan"}
    one: dict[str, Any] = {"inputs_kwargs": chosen.values, "concurrency_limit": 1, **quiet}
    changed.then(say, None, line, api_name="search_plan", **one)
    epoch.change(say, None, line, api_name="search_plan_pair", **one)


def _key(dashboard: Dashboard, settings: SearchSettings) -> str:
    body: Mapping[str, Any] = {k: v for k, v in asdict(settings).items() if k not in _IDLE}
    return json.dumps([dashboard.epoch, body], default=str)


def told(plan: ConfidencePlan | None) -> Html:
    """The plan as a line; what the exact mode is where none is made."""
    if plan is None:
        return note(EXACT)
    body = plan.as_dict()
    line = note(plan_text(body), "" if plan.margin else "warn")
    tables = joined(
        table((head, shown), [(a, b) for a, b in pairs]) for head, shown, pairs in chances(body)
    )
    if not tables:
        return line
    return html(
        '{}<details class="read"><summary>How likely it is to be shown</summary>'
        '<div class="two">{}</div></details>',
        line,
        tables,
    )
