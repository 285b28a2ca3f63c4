"""The tab's small tables as files: the list of runs, and two runs side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import gradio as gr

from dapa.core.records import DapaError
from dapa.ui import download
from dapa.ui.tabs.runs import compare, evaluated
from dapa.ui.tabs.runs.listing import layers_of, named, pair_of, rate_of, way
from dapa.workbench import KIND, Run
from dapa.writing.tables import csv_text

Table = tuple[str, Sequence[str], Sequence[Mapping[str, Any]], str]
"""A file's name behind `dapa-`, the columns, the rows by column, where they are from."""
_RATE = ("value", "low", "high", "n", "cut")
_LIST = (
    "id",
    "created",
    "kind",
    "title",
    "layers",
    "dsr",
    "low",
    "high",
    "n",
    "how",
    "ended",
    "pair",
)
_BESIDE = ("part", "row", "model", "run", *_RATE)


def build(elem_id: str) -> tuple[gr.Button, gr.Button]:
    """Layout: a button for CSV, one for JSON."""
    with gr.Row(elem_classes="buttons"):
        csv, body = (
            gr.Button(word, elem_classes="plain", elem_id=f"{elem_id}-{word.lower()}")
            for word in ("CSV", "JSON")
        )
    return csv, body


def offer(
    buttons: tuple[gr.Button, gr.Button], told: Callable[..., Table], inputs: Sequence[Any],
    carrier: gr.HTML, api_name: str,
) -> None:  # fmt: skip
    """Each button hands over what `told(*inputs)` gives."""

    def as_csv(*given: Any) -> tuple[str, str]:
        name, heads, rows, line = told(*given)
        body = [[row.get(head) for head in heads] for row in rows]
        return f"dapa-{name}.csv", csv_text(heads, body, line)

    def as_json(*given: Any) -> tuple[str, str]:
        name, _, rows, line = told(*given)
        body = {"provenance": line, "rows": rows}
        return f"dapa-{name}.json", json.dumps(body, indent=2, ensure_ascii=False) + "\n"

    for button, make, word in zip(buttons, (as_csv, as_json), ("csv", "json"), strict=True):
        download.offer(button, make, inputs, carrier, f"{api_name}_{word}")


def listed(runs: Sequence[Run]) -> Table:
    """The list of runs; of one that cannot be read, what can be told."""
    rows = [_listed(run) for run in runs]
    return "runs", _LIST, rows, f"{len(rows)} stored runs, newest first"


def _listed(run: Run) -> dict[str, Any]:
    created = datetime.fromtimestamp(run.created, UTC).isoformat(timespec="seconds")
    row = {"id": run.id, "created": created, "kind": run.kind, "title": run.title}
    try:
        rate = rate_of(run)
        told = rate.as_dict() if rate else {}
        return {
            **row, "layers": layers_of(run), "dsr": told.get("value"), "low": told.get("low"),
            "high": told.get("high"), "n": told.get("n"), "how": way(run), "ended": run.outcome,
            "pair": pair_of(run.settings),
        }  # fmt: skip
    except (LookupError, TypeError, ValueError, AttributeError, DapaError):
        return {**row, "ended": "unreadable"}


def beside(first: Run, second: Run) -> Table:
    """What the comparison shows, a row per figure; `run` is A or B as on screen."""
    figures = evaluated.figures if first.kind == KIND else compare.figures
    rows = [
        {"run": letter, **row}
        for letter, found in zip("AB", figures(first, second), strict=True)
        for row in found
    ]
    line = f"A: {named(first)} · {first.id} · B: {named(second)} · {second.id}"
    return f"runs-{first.id}-{second.id}", _BESIDE, rows, line
