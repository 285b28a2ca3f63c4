"""Rates of student, patched and teacher side by side, with their intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from dapa.core.html import html
from dapa.core.records import Rate
from dapa.figures.looks import looks
from dapa.figures.theme import TEXT, axis, figure, lines_of, palette, proportion, safe, shares

TITLES = {
    "dsr": "refuses harmful (DSR)",
    "dsr_search": "refuses harmful, search set",
    "over_refusal": "refuses harmless twins",
    "borderline": "refuses borderline harmless",
    "incoherent": "incoherent",
    "unclear": "unclear",
    "skill": "skill, exact answers",
    "harm": "harmful (second axis)",
}
"""The measures for people, in picture and table, in the table's order."""
_LINE = 16
"""Characters of a name in one line, beside a picture that must fit a phone."""
_ROW, _MODEL = 56, 14  # pixels a measure, at least; pixels a model


def rates_chart(
    rows: Mapping[str, Mapping[str, Rate | None]],
    dark: bool = False,
    across: str = "share of replies",
) -> go.Figure:
    """A group of dots per measure, one dot and whisker per model.

    Args:
        rows: Model -> measure -> rate (95 % interval); None where there is no data.
        dark: Colours for a dark page.
        across: What the axis counts.
    """
    colours = palette(dark)
    look = looks(colours, rows)
    every = dict.fromkeys(m for rates in rows.values() for m, rate in rates.items() if rate)
    measures = [m for m in TITLES if m in every] + [m for m in every if m not in TITLES]
    traces: list[Any] = []
    for i, (model, rates) in enumerate(rows.items()):
        colour, symbol = look[model]
        shift = (i - (len(rows) - 1) / 2) * min(0.24, 0.8 / max(len(rows), 1))
        found = [(row, m, rate) for row, m in enumerate(measures) if (rate := rates.get(m))]
        traces.append(
            go.Scatter(
                x=[rate.value for _, _, rate in found],
                y=[row + shift for row, _, _ in found],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [max(rate.high - rate.value, 0.0) for _, _, rate in found],
                    "arrayminus": [max(rate.value - rate.low, 0.0) for _, _, rate in found],
                    "thickness": 1.5,
                    "width": 3,
                    "color": colour,
                },
                mode="markers",
                cliponaxis=False,  # what stands at 0 or 100 % is whole
                name=safe(model),
                marker={
                    "size": 10,
                    "color": colour,
                    "symbol": symbol,
                    "line": {"width": 2, "color": colour},
                },
                text=[
                    html(
                        "<b>{} · {}</b><br>{}",
                        safe(model), safe(TITLES.get(m, m)), proportion(rate),
                    )
                    for _, m, rate in found
                ],
                hovertemplate=TEXT,
            )
        )  # fmt: skip
    return figure(
        colours,
        max(len(measures), 1) * max(_ROW, _MODEL * (len(rows) + 1)) + 28 + 48,
        traces,
        margin={"l": _margin(measures), "r": 24, "t": 28, "b": 48},
        hovermode="closest",
        xaxis=axis(
            colours,
            title=safe(across),
            range=[-0.04, 1.04],
            **shares(0, 0.25, 0.5, 0.75, 1),
            showgrid=True,
            gridcolor=colours.hairline,
            fixedrange=True,
        ),
        yaxis=axis(
            colours,
            automargin=True,
            ticklabelstandoff=4,
            tickmode="array",
            tickvals=list(range(len(measures))),
            ticktext=[lines_of(_broken(m)) for m in measures],
            range=[len(measures) - 0.5, -0.5],
            fixedrange=True,
        ),
    )


def _margin(measures: Sequence[str]) -> int:
    """Pixels for the names at the left: no more than they need, since a phone has few."""
    longest = max((len(line) for m in measures for line in _broken(m)), default=0)
    return min(120, 20 + 7 * longest)


def _broken(measure: str) -> list[str]:
    """A measure's name in lines."""
    return textwrap.wrap(TITLES.get(measure, measure), _LINE) or [""]
