"""Every mask that was judged in full: what it moves against how much it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from dapa.core.html import Html, html
from dapa.core.records import Mask
from dapa.figures.theme import (
    BAR,
    QUANTITY,
    TEXT,
    Palette,
    above,
    axis,
    colorbar,
    figure,
    palette,
    proportion,
    safe,
    shares,
)
from dapa.writing.numbers import plain


def pareto_chart(points: Sequence[Any], found: Mask | None = None, dark: bool = False) -> go.Figure:
    """Share of the parameters against DSR with 95 % whiskers; the best for each size as a line.

    The found set is a diamond, the front's other sets are filled, all others hollow. Where KL was
    measured it shades the marks.

    Args:
        points: As `search.pareto.Point`, smallest first.
        found: The found mask.
        dark: Colours for a dark page.
    """
    colours = palette(dark)
    line, best = [], -1.0
    for point in points:
        if point.dsr.value > best:
            line.append(point)
            best = point.dsr.value
    front = [p for p in points if p.on_front]
    costs = [p.utility for p in points if p.utility is not None]
    most_kl = max(costs, default=0.0) or 1.0
    groups: list[tuple[str, list[Any], str, str, int]] = [
        ("others", [p for p in points if not p.on_front and p.mask != found], colours.grey,
         "circle-open", 7),
        ("on the front", [p for p in front if p.mask != found], colours.blue, "circle", 8),
        ("found set", [p for p in points if p.mask == found], colours.blue, "diamond", 12),
    ]  # fmt: skip
    traces: list[Any] = [
        go.Scatter(
            x=[p.size for p in line],
            y=[p.dsr.value for p in line],
            mode="lines",
            line={"color": colours.blue, "width": 1.5, "shape": "hv"},
            hoverinfo="skip",
            showlegend=False,
        )
    ]
    shaded = next((name for name, members, *_ in groups if members), "")
    for name, members, colour, symbol, size in groups:
        traces.append(
            go.Scatter(
                x=[p.size for p in members],
                y=[p.dsr.value for p in members],
                error_y={
                    "symmetric": False,
                    "array": [max(0.0, p.dsr.high - p.dsr.value) for p in members],
                    "arrayminus": [max(0.0, p.dsr.value - p.dsr.low) for p in members],
                    "thickness": 1,
                    "width": 2,
                    "color": colour,
                },
                mode="markers",
                name=safe(name),
                marker={
                    "size": size,
                    "symbol": symbol,
                    "line": {"width": 1.5, "color": colour},
                    **_shade(members, colour, costs, most_kl, colours, name == shaded),
                },
                text=[_hover(p) for p in members],
                hovertemplate=TEXT,
                showlegend=bool(members),
            )
        )
    most = max((p.size for p in points), default=1.0) or 1.0
    return figure(
        colours,
        360,
        traces,
        margin={"l": 48, "r": 16, "t": BAR if costs else 16, "b": 76},
        legend={
            "orientation": "h",
            "x": 0,
            "y": -0.2,
            "yanchor": "top",
            "font": {"color": colours.muted, "size": 11},
            "itemclick": False,
            "itemdoubleclick": False,
        },
        annotations=[
            {
                # no axis title: under a horizontal scale plotly sets that among the tick labels
                "xref": "paper",
                "yref": "paper",
                "x": 0.5,
                "y": 0,
                "yanchor": "top",
                "yshift": -22,
                "showarrow": False,
                "text": safe("share of the parameters"),
                "font": {"color": colours.muted, "size": 11},
            },
            *([above(colours, "KL, bits a token")] if costs else []),
        ],
        hovermode="closest",
        xaxis=axis(
            colours,
            range=[-0.04 * most, 1.06 * most],
            tickformat=".0%" if most > 0.05 else ".1%",
            nticks=6,
            showgrid=True,
            gridcolor=colours.hairline,
        ),
        yaxis=axis(
            colours,
            title="DSR",
            range=[-0.04, 1.06],
            **shares(0, 0.5, 1),
            showgrid=True,
            gridcolor=colours.hairline,
            fixedrange=True,
        ),
    )


def _shade(
    members: Sequence[Any],
    colour: str,
    costs: Sequence[float],
    most: float,
    colours: Palette,
    scaled: bool,
) -> dict[str, Any]:
    """One colour, or cividis by KL; its scale is drawn once, with the first of the groups."""
    if not costs:
        return {"color": colour}
    return {
        "color": [p.utility for p in members],
        "colorscale": QUANTITY,
        "cmin": 0.0,
        "cmax": most,
        "showscale": scaled,
        "colorbar": colorbar(colours, 0.0, most),
    }


def _hover(point: Any) -> Html:
    layers = ", ".join(map(str, point.mask.layers[:12])) or "none: the student"
    more = " …" if len(point.mask.layers) > 12 else ""
    kl = "" if point.utility is None else html("<br>KL {} bits a token", plain(point.utility))
    return html(
        "<b>{} transplanted</b>, layers {}{}<br>DSR {}<br>"
        "{:.2f}\u2009% of the parameters{} · {}",
        len(point.mask), layers, more, proportion(point.dsr), 100 * point.size, kl,
        safe(point.phase),
    )  # fmt: skip
