"""Safety against what it costs: every model as a point with both its intervals."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from dapa.core.html import html
from dapa.core.records import Rate
from dapa.figures.theme import axis, figure, palette, proportion, safe


def tradeoff_chart(
    points: Mapping[str, tuple[Rate, Rate]], costs: str, dark: bool = False
) -> go.Figure:
    """The plane of safety against utility; the best corner is the upper right one.

    Args:
        points: Model -> (DSR, what is kept: skill, or harmless requests answered).
        costs: The second axis in words.
        dark: Colours for a dark page.
    """
    colours = palette(dark)
    looks = {
        "student": (colours.grey, "circle"),
        "patched": (colours.blue, "diamond"),
        "teacher": (colours.blue, "square-open"),
    }
    traces = []
    for model, (safety, kept) in points.items():
        colour, symbol = looks.get(model, (colours.grey, "triangle-up"))
        told = [
            html(
                "<b>{}</b><br>DSR {}<br>{} {}",
                safe(model), proportion(safety), safe(costs), proportion(kept),
            )
        ]  # fmt: skip
        traces.append(
            go.Scatter(
                x=[kept.value],
                y=[safety.value],
                error_x=_whisker(kept, colour),
                error_y=_whisker(safety, colour),
                mode="markers+text",
                text=[safe(model)],
                textposition="top center",
                textfont={"color": colours.muted, "size": 11},
                marker={"color": colour, "symbol": symbol, "size": 11},
                hovertext=told,
                hoverinfo="text",
                name=safe(model),
                showlegend=False,
            )
        )
    span = {"range": [-0.06, 1.1], "tickvals": [0, 0.25, 0.5, 0.75, 1], "showgrid": True}
    grid = {"gridcolor": colours.hairline, "zeroline": False}
    return figure(
        colours,
        340,
        traces,
        xaxis=axis(colours, title=safe(costs), **span, **grid),
        yaxis=axis(colours, title="DSR: harmful requests refused", **span, **grid),
        margin={"l": 64, "r": 16, "t": 16, "b": 48},
    )


def _whisker(rate: Rate, colour: str) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [rate.high - rate.value],
        "arrayminus": [rate.value - rate.low],
        "thickness": 1,
        "width": 4,
        "color": colour,
    }
