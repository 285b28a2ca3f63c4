"""Effects on refusal with their intervals, a row each: dots and whiskers around zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import plotly.graph_objects as go

from dapa.core.html import Html, html
from dapa.figures.theme import TEXT, axis, figure, number, palette, safe, wrapped

_ROW = 44  # pixels a row
_LINE = 18  # and a line of a legend
UNIT = "refusal log-odds"
TOGETHER = "all units together"
"""Names the line of what one kind of site brings whole: less than the gap between the models."""


class EffectLike(Protocol):
    """A mean with its interval, as `localize.effects.Effect`."""

    @property
    def value(self) -> float: ...  # noqa: D102
    @property
    def low(self) -> float: ...  # noqa: D102
    @property
    def high(self) -> float: ...  # noqa: D102
    @property
    def n(self) -> int: ...  # noqa: D102


def effects_chart(
    rows: Sequence[tuple[str, Mapping[str, EffectLike | None]]],
    whole: EffectLike | None = None,
    dark: bool = False,
    label: str = UNIT,
    whole_name: str = "the whole gap",
) -> go.Figure:
    """A row per title, a dot and whisker per series.

    The first series is a filled blue diamond, the second a hollow square, others triangles.

    Args:
        rows: (title, series -> effect, or None where there is none), top first.
        whole: What there is to explain; a dashed line.
        dark: Colours for a dark page.
        label: What the axis counts.
        whole_name: What the dashed line is.
    """
    colours = palette(dark)
    series = list(dict.fromkeys(name for _, effects in rows for name in effects))
    looks = ((colours.blue, "diamond"), (colours.grey, "square-open"), (colours.ink, "triangle-up"))
    traces: list[Any] = []
    for i, name in enumerate(series):
        colour, symbol = looks[min(i, 2)]
        shift = (i - (len(series) - 1) / 2) * 0.24
        found = [
            (row, title, effect)
            for row, (title, effects) in enumerate(rows)
            if (effect := effects.get(name)) is not None and np.isfinite(effect.value)
        ]
        traces.append(
            go.Scatter(
                x=[effect.value for _, _, effect in found],
                y=[row + shift for row, _, _ in found],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [_reach(e.high - e.value) for _, _, e in found],
                    "arrayminus": [_reach(e.value - e.low) for _, _, e in found],
                    "thickness": 1.5,
                    "width": 3,
                    "color": colour,
                },
                mode="markers",
                name=safe(name),
                marker={
                    "size": 9,
                    "color": colour,
                    "symbol": symbol,
                    "line": {"width": 2, "color": colour},
                },
                text=[
                    html("<b>{} · {}</b><br>{}", safe(title), safe(name), told(effect, label))
                    for _, title, effect in found
                ],
                hovertemplate=TEXT,
                showlegend=len(series) > 1,
            )
        )
    shapes, notes = [], []
    for x, text, dash in (
        (0.0, "", "solid"),
        *([(whole.value, whole_name, "dash")] if whole else []),
    ):
        shapes.append(
            {
                "type": "line",
                "yref": "paper",
                "x0": x,
                "x1": x,
                "y0": 0,
                "y1": 1,
                "line": {"color": colours.muted, "width": 1, "dash": dash},
                "layer": "below",
            }
        )
        if text:
            notes.append(
                {
                    "x": x,
                    "yref": "paper",
                    "y": 1,
                    "yanchor": "bottom",
                    "text": safe(text),
                    "showarrow": False,
                    "font": {"color": colours.muted, "size": 11},
                }
            )
    names = [wrapped(title, 20, 2) for title, _ in rows]
    lines = [line for name in names for line in name.split(html("<br>"))]
    left = 24 + 7 * max(map(len, lines), default=0)
    room = max(len(rows), 1) * _ROW - 8
    lift = _LINE if notes else 0  # the legend stands above the line's name, however it breaks
    made = figure(
        colours,
        room + 84 + lift,
        traces,
        margin={"l": left, "r": 24, "t": 40 + lift, "b": 44},
        hovermode="closest",
        shapes=shapes,
        annotations=notes,
        xaxis=axis(colours, title=label, showgrid=True, gridcolor=colours.hairline),
        yaxis=axis(
            colours,
            tickmode="array",
            tickvals=list(range(len(rows))),
            ticktext=names,
            range=[len(rows) - 0.5, -0.5],
            fixedrange=True,
        ),
    )
    return made.update_layout(legend_y=1 + lift / room)


def told(effect: EffectLike, label: str = UNIT) -> Html:
    """Value, interval and n for a hover."""
    sign = "+" if effect.value > 0 else ""
    span = ""
    if np.isfinite(effect.low + effect.high):
        span = f" [{number(effect.low)}, {number(effect.high)}]"
    return html("{}<br>n = {}", f"{label} {sign}{number(effect.value)}{span}", effect.n)


def _reach(length: float) -> float:
    return max(length, 0.0) if np.isfinite(length) else 0.0
