"""The dose curve: how strongly the found set is transplanted against how much it refuses."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from dapa.figures.theme import axis, figure, palette


def dose_chart(found: Any, dark: bool = False) -> go.Figure:
    """Strength against DSR with 95 % whiskers: the found set filled, its sham hollow and dashed.

    Args:
        found: As `measure.dose.Dose`.
        dark: Colours for a dark page.
    """
    colours = palette(dark)
    looks = {
        "found": ("found set", colours.blue, "circle", "solid"),
        "sham": ("sham, equal size", colours.grey, "diamond-open", "dash"),
    }
    traces = []
    for name, (title, colour, symbol, dash) in looks.items():
        points = found.curve(name)
        traces.append(
            go.Scatter(
                x=[p.strength for p in points],
                y=[p.dsr.value for p in points],
                error_y={
                    "symmetric": False,
                    "array": [max(0.0, p.dsr.high - p.dsr.value) for p in points],
                    "arrayminus": [max(0.0, p.dsr.value - p.dsr.low) for p in points],
                    "thickness": 1,
                    "width": 3,
                    "color": colour,
                },
                mode="lines+markers",
                name=title,
                line={"color": colour, "width": 1.5, "dash": dash},
                marker={"size": 8, "color": colour, "symbol": symbol},
                text=[
                    f"<b>{title}, strength {p.strength:g}</b><br>DSR {p.dsr.value:.2f} "
                    f"[{p.dsr.low:.2f}, {p.dsr.high:.2f}], n = {p.dsr.n}"
                    for p in points
                ],
                hovertemplate="%{text}<extra></extra>",
                showlegend=bool(points),
            )
        )
    return figure(
        colours,
        300,
        traces,
        margin={"l": 48, "r": 16, "t": 28, "b": 44},
        hovermode="closest",
        xaxis=axis(
            colours,
            title="strength",
            range=[-0.04, 1.04],
            tickvals=[0, 0.25, 0.5, 0.75, 1],
            showgrid=True,
            gridcolor=colours.hairline,
            fixedrange=True,
        ),
        yaxis=axis(
            colours,
            title="DSR",
            range=[-0.04, 1.06],
            tickvals=[0, 0.5, 1],
            showgrid=True,
            gridcolor=colours.hairline,
            fixedrange=True,
        ),
    )
