"""Safety against what it costs: every model as a point with both its intervals."""

from __future__ import annotations

from collections.abc import Mapping
from math import dist

import plotly.graph_objects as go

from dapa.core.html import html
from dapa.core.records import Rate
from dapa.figures.looks import looks
from dapa.figures.theme import axis, figure, palette, proportion, safe, shares


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
    look = looks(colours, points)
    named = _named({m: (kept.value, safety.value) for m, (safety, kept) in points.items()})
    traces = []
    for model, (safety, kept) in points.items():
        colour, symbol = look[model]
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
                text=[safe(named[model][0])],
                textposition=named[model][1],
                cliponaxis=False,  # a name at the top is whole in the low picture of a print
                textfont={"color": colours.muted, "size": 11},
                marker={"color": colour, "symbol": symbol, "size": 11},
                hovertext=told,
                hoverinfo="text",
                name=safe(model),
                showlegend=False,
            )
        )
    span = {"range": [-0.06, 1.1], **shares(0, 0.25, 0.5, 0.75, 1), "showgrid": True}
    grid = {"gridcolor": colours.hairline, "zeroline": False}
    return figure(
        colours,
        340,
        traces,
        xaxis=axis(colours, title=safe(costs), **span, **grid),
        yaxis=axis(colours, title="DSR: harmful requests refused", **span, **grid),
        margin={"l": 64, "r": 16, "t": 16, "b": 48},
    )


_SIDES = {
    "top left": (-0.1, 0.06),
    "bottom left": (-0.1, -0.06),
    "top right": (0.1, 0.06),
    "bottom right": (0.1, -0.06),
    "top center": (0.0, 0.06),
    "bottom center": (0.0, -0.06),
}
"""Where a point's name may stand, clear of whiskers first, and how far its middle then is."""
_WIDE, _HIGH = 0.19, 0.055
"""A name's room, as the picture of a narrow screen has it."""


def _named(points: Mapping[str, tuple[float, float]]) -> dict[str, tuple[str, str]]:
    """Model -> its name as it is written, and on which side of its point.

    Names stand clear of one another and inside the picture; where no side is free, a name joins
    that of the nearest point.
    """
    taken: dict[str, tuple[float, float]] = {}
    told: dict[str, tuple[str, str]] = {}
    for model, (x, y) in sorted(points.items(), key=lambda one: -one[1][1]):  # the upper, above
        for side, (right, up) in _SIDES.items():
            place = (x + right, y + up)
            inside = place[0] - _WIDE / 2 >= -0.11 and place[0] + _WIDE / 2 <= 1.15
            inside = inside and place[1] >= 0  # below are the axis's own figures
            if inside and not any(_covers(place, other) for other in taken.values()):
                taken[model], told[model] = place, (model, side)
                break
        else:
            near = min(taken, key=lambda one, at=(x, y): dist(points[one], at))
            told[near] = (f"{told[near][0]}, {model}", told[near][1])
            told[model] = ("", "top center")
    return told


def _covers(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return abs(one[0] - other[0]) < _WIDE and abs(one[1] - other[1]) < _HIGH


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
