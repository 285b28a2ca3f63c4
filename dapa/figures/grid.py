"""Heatmaps of rows by layers, all of one look: the strip's columns, one scale, marked cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dapa.core.html import Html, html
from dapa.figures.theme import (
    BAR,
    LEFT,
    QUANTITY,
    TEXT,
    Palette,
    above,
    axis,
    colorbar,
    corner,
    figure,
    number,
    safe,
    short,
    signed,
    steps,
    ticks,
)

RATE = 0.05
"""The share of false discoveries borne among cells that are told from zero."""
Floats = NDArray[np.float64]
SCALES = ("quantity", "signed")
"""From zero up; around zero, where above it means more refusal or further apart, so blue."""


def scale(
    z: Floats, colours: Palette, kind: str = "quantity", top: float | None = None
) -> dict[str, Any]:
    """Colours for values: cividis from zero, or a signed scale symmetric around it.

    Args:
        z: The values; what is not finite does not count.
        colours: Of the page.
        kind: One of `SCALES`.
        top: The scale's end, for panes that are compared; by default the largest size in `z`.
    """
    found = z[np.isfinite(z)]
    most = top or (float(np.abs(found).max()) if found.size else 0.0) or 1.0
    low = 0.0 if kind == "quantity" else -most
    shades: Any = signed(colours) if low else QUANTITY
    return {
        "colorscale": shades,
        "zmin": low,
        "zmax": most,
        "colorbar": colorbar(colours, low, most),
    }


def shared_top(*values: Floats) -> float:
    """One end of the scale for all panes that are compared."""
    sizes = [float(np.abs(z[np.isfinite(z)]).max()) for z in values if np.isfinite(z).any()]
    return max(sizes, default=0.0) or 1.0


@dataclass(frozen=True, kw_only=True)
class GridLook:
    """What a heatmap may look like otherwise."""

    doubtful: NDArray[np.bool_] | None = None
    """Cells that get a dot: they cannot be told from zero."""
    row: int = 34
    """Pixels a row."""
    left: int = LEFT
    """Pixels for the names."""
    axis_name: str = "layer"
    """What a column is."""


def grid(
    z: Floats,
    names: Sequence[str],
    columns: Sequence[Any],
    hovers: Sequence[Sequence[str]],
    label: str,
    colours: Palette,
    kind: str = "quantity",
    top: float | None = None,
    **look: Any,
) -> go.Figure:
    """A row per name, a column per layer.

    Args:
        z: (rows, columns), NaN where not defined.
        names: One a row, unique, top first.
        columns: One a column.
        hovers: A text a cell, escaped.
        label: What the scale counts.
        colours: Of the page.
        kind: One of `SCALES`.
        top: The scale's end; by default the largest size in `z`.
        look: Of `GridLook`.
    """
    asked = GridLook(**look)
    doubtful, row, left, axis_name = asked.doubtful, asked.row, asked.left, asked.axis_name
    names = [safe(name) for name in names]
    # Rows go in bottom first, as the axis runs: plotly reorders z by category, but not the text.
    traces: list[Any] = [
        go.Heatmap(
            z=z[::-1],
            x=list(range(len(columns))),
            y=list(names)[::-1],
            text=list(hovers)[::-1],
            hovertemplate=TEXT,
            hoverongaps=False,
            xgap=1,
            ygap=1,
            **scale(z, colours, kind, top),
        )
    ]
    if doubtful is not None:
        cells = np.argwhere(doubtful & np.isfinite(z))
        traces.append(
            go.Scatter(
                x=cells[:, 1].tolist(),
                y=[names[i] for i in cells[:, 0]],
                mode="markers",
                marker={"size": 4, "color": colours.ink, "opacity": 0.7},
                hoverinfo="skip",
                showlegend=False,
            )
        )
    return figure(
        colours,
        len(names) * row + BAR + 28,
        traces,
        margin={"l": left, "r": 16, "t": BAR, "b": 28},
        xaxis=axis(colours, **ticks(columns)),
        plot_bgcolor=colours.hairline,  # shows between cells: a white cell keeps its edge
        yaxis=axis(
            colours,
            categoryorder="array",
            categoryarray=list(names)[::-1],
            range=[-0.5, len(names) - 0.5],
            fixedrange=True,
        ),
        annotations=[
            corner(colours, axis_name),
            above(colours, label),
            *undefined(z, names, len(columns), colours),
        ],
    )


def token_grid(
    z: Floats,
    layers: Sequence[int],
    tokens: Sequence[str],
    hover: str,
    label: str,
    colours: Palette,
    shades: dict[str, Any],
) -> go.Figure:
    """A row per layer, 0 at the bottom, and a column per token, left to right.

    Args:
        z: (layers, tokens).
        layers: Their numbers.
        tokens: As text.
        hover: A template in which %{customdata} is a token's index and text.
        label: What the scale counts.
        colours: Of the page.
        shades: From `scale`.
    """
    count = len(tokens)
    heat = go.Heatmap(
        z=z,
        x=list(range(count)),
        y=list(layers),
        customdata=[[html("{} “{}”", i, short(repr(t)[1:-1], 40)) for i, t in enumerate(tokens)]]
        * len(layers),
        hovertemplate=hover,
        hoverongaps=False,
        xgap=1 if count <= 160 else 0,
        ygap=1,
        **shades,
    )
    places = list(range(0, count, max(1, -(-count // 64))))
    row = 20 if len(layers) <= 24 else 11
    return figure(
        colours,
        len(layers) * row + BAR + 84,
        [heat],
        margin={"l": 48, "r": 16, "t": BAR, "b": 84},
        xaxis=axis(
            colours,
            tickmode="array",
            tickvals=places,
            ticktext=[short(tokens[i].strip() or repr(tokens[i])[1:-1], 12) for i in places],
            tickangle=-60,
            range=[-0.5, count - 0.5],
        ),
        annotations=[above(colours, label)],
        plot_bgcolor=colours.hairline,
        yaxis=axis(colours, title="layer", dtick=steps(len(layers)), fixedrange=True),
    )


def doubt(q: float) -> Html:
    """How sure a cell is of not being zero, for its hover."""
    if not np.isfinite(q):
        return html("")
    chance = "" if q <= RATE else ": it may be 0 by chance"
    return html("<br>adjusted p {}{}", number(q), chance)


def undefined(
    z: Floats, names: Sequence[str], columns: int, colours: Palette
) -> list[dict[str, Any]]:
    """A word in each row that has no value at all."""
    return [
        {
            "x": (columns - 1) / 2,
            "y": name,
            "text": "not defined here",
            "showarrow": False,
            "font": {"color": colours.muted, "size": 11},
        }
        for name, line in zip(names, z, strict=True)
        if not np.isfinite(line).any()
    ]
