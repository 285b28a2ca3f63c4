"""A stored run as files: JSON with all of it, CSV with a row per test or per reply."""

from __future__ import annotations

import json
from typing import Any

from dapa.workbench import KIND, Run
from dapa.writing.tables import csv_text

_TESTS = (
    "index", "phase", "mask", "defended", "incoherent", "unclear", "judged", "asked", "satisfied",
    "memo", "seconds",
)  # fmt: skip
_REPLIES = (
    "model", "measure", "prompt", "category", "split", "reply", "verdict", "manner", "judge",
    "reason", "hit", "tokens", "cut",
)  # fmt: skip


def as_json(run: Run, trials: list[dict[str, Any]]) -> tuple[str, str]:
    """The file's name, and the run as `runs show --json` tells it."""
    body = {
        "id": run.id,
        "created": run.created,
        "updated": run.updated,
        "kind": run.kind,
        "title": run.title,
        "state": run.state,
        "outcome": run.outcome,
        "settings": run.settings,
        "result": run.result,
        "trials": trials,
    }
    return f"dapa-run-{run.id}.json", json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def as_csv(run: Run, trials: list[dict[str, Any]]) -> tuple[str, str]:
    """The file's name, and its tests, or an evaluation's replies."""
    head = _REPLIES if run.kind == KIND else _TESTS
    head = tuple(name for name in head if any(name in row for row in trials)) or head
    rows = [[row.get(name) for name in head] for row in trials]
    return f"dapa-run-{run.id}.csv", csv_text(head, rows, f"{run.title} · {run.id}")
