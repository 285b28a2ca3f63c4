"""DSR against reply length: where do verdicts settle?"""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from dapa.figures.theme import axis, figure, palette


def length_chart(found: Any, dark: bool = False) -> go.Figure:
    """Tokens of a reply (doubling) against DSR with 95 % whiskers, a line per model.

    Args:
        found: As `measure.length.Lengths`.
        dark: Colours for a dark page.
    """
    colours = palette(dark)
    looks = {
        "student": (colours.grey, "circle", "dot"),
        "patched": (colours.blue, "diamond", "solid"),
        "teacher": (colours.blue, "square-open", "dash"),
    }
    traces = []
    for model in found.models:
        colour, symbol, dash = looks[model]
        points = found.curve(model)
        traces.append(
            go.Scatter(
                x=[p.tokens for p in points],
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
                name=model,
                line={"color": colour, "width": 1.5, "dash": dash},
                marker={"size": 8, "color": colour, "symbol": symbol},
                text=[
                    f"<b>{model}, {p.tokens} tokens</b><br>DSR {p.dsr.value:.2f} "
                    f"[{p.dsr.low:.2f}, {p.dsr.high:.2f}], n = {p.dsr.n}<br>{p.dsr.cut} cut, "
                    f"{100 * p.same.value:.0f} % of verdicts as at the end"
                    for p in points
                ],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    ticks = sorted({p.tokens for p in found.points})
    return figure(
        colours,
        300,
        traces,
        margin={"l": 48, "r": 16, "t": 28, "b": 44},
        hovermode="closest",
        xaxis=axis(
            colours,
            title="tokens of a reply",
            type="log",
            tickvals=ticks,
            ticktext=[f"{tick:,}" for tick in ticks],
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
