"""The gap budget: what each part of the model brings, and what the chat template does."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from dapa.figures.effects import effects_chart


def gap_chart(budget: Any, dark: bool = False) -> go.Figure:
    """A row per part of the model: alone and left out, against the whole gap.

    Args:
        budget: As `localize.gap.GapBudget`.
        dark: Colours for a dark page.
    """
    rows = [
        (row.title, {"alone": row.alone, "left out": row.left_out})
        for row in budget.rows
        if row.differs
    ]
    return effects_chart(rows, budget.whole, dark, "refusal log-odds gained")


def template_chart(budget: Any, dark: bool = False) -> go.Figure:
    """A row per template: the student's and the teacher's weights under it.

    Args:
        budget: As `localize.gap.GapBudget`.
        dark: Colours for a dark page.
    """
    rows: dict[str, dict[str, Any]] = {}
    for cell in budget.templates:
        rows.setdefault(template_title(cell), {})[f"{cell.weights}'s weights"] = cell.log_odds
    return effects_chart(list(rows.items()), None, dark)


def template_title(cell: Any) -> str:
    """The template of a cell in words."""
    words = {
        "both": "shared template",
        "none": "text alone",
        "student": "student's template",
        "teacher": "teacher's template",
    }
    return words[cell.template] + (" + system" if cell.system else "")
