"""Signed maps of a found set: layer by kind of harm, and layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dapa.core.html import html
from dapa.core.records import Unit
from dapa.figures.shapes import Floats
from dapa.figures.theme import (
    BAR,
    TEXT,
    Palette,
    above,
    axis,
    between,
    colorbar,
    corner,
    figure,
    palette,
    safe,
    short,
    signed,
    steps,
)
from dapa.figures.trials import column_names
from dapa.writing.numbers import percent
from dapa.writing.unit_names import unit_name

_LEVEL = 24
"""Characters of all names under a map that stand side by side on a phone."""


def category_heatmap(found: Any, dark: bool = False) -> go.Figure:
    """A row per unit left out, a column per category; colour: share of refusals lost, paired.

    Dots mark losses that are not clear (Holm-adjusted p above 0.05).

    Args:
        found: As `measure.categories.CategoryMap`.
        dark: Colours for a dark page.
    """
    colours = palette(dark)
    columns = list(found.categories)
    cells = [[found.cell(unit, name) for name in columns] for unit in found.units]
    z = np.array([[cell.lost.value for cell in row] for row in cells], dtype=float)
    texts = [
        [
            html(
                "<b>without {} · {}</b><br>lost {}<br>DSR {}, n = {}<br>p = {:.2g}",
                cell.unit, short(cell.category, 40),
                between(cell.lost.value, cell.lost.low, cell.lost.high), percent(cell.dsr.value),
                cell.dsr.n, cell.p_value,
            )
            for cell in row
        ]
        for row in cells
    ]  # fmt: skip
    unclear = [
        (i, j) for i, row in enumerate(cells) for j, cell in enumerate(row) if cell.p_value > 0.05
    ]
    names = [f"without {name}" for name in _rows(found.units)]
    return _map(
        colours,
        z,
        texts,
        unclear,
        [short(name, 16) for name in columns],
        names,
        "refusals lost (share)",
        labels=_labels(z),
        tilt=len(columns) > 5 or sum(map(len, columns)) > _LEVEL,
        losses=True,
    )


def interaction_heatmap(found: Any, dark: bool = False) -> go.Figure:
    """Unit by unit: what two do together beyond the sum of each alone, in refusal log-odds.

    Dots mark pairs whose 95 % interval includes zero; the diagonal is empty.

    Args:
        found: As `localize.interaction.Interactions`.
        dark: Colours for a dark page.
    """
    colours = palette(dark)
    names = column_names(found.units)
    z = np.array(found.values, dtype=float)
    texts = [
        [
            ""
            if i == j
            else html(
                "<b>{} and {}</b><br>beyond the sum {}<br>n = {}",
                unit_name(a), unit_name(b),
                between(found.values[i, j], found.low[i, j], found.high[i, j]), found.n,
            )
            for j, b in enumerate(found.units)
        ]
        for i, a in enumerate(found.units)
    ]  # fmt: skip
    with np.errstate(invalid="ignore"):
        spots = np.argwhere((found.low <= 0) & (found.high >= 0))
    return _map(
        colours,
        z,
        texts,
        [(int(i), int(j)) for i, j in spots],
        names,
        names,
        "refusal log-odds beyond the sum",
        title="layer" if len(set(names)) == len(names) and names[0].isdigit() else "",
    )


def _rows(units: Sequence[Unit]) -> list[str]:
    names = column_names(units)
    return [f"layer {name}" if name.isdigit() else name for name in names]


def _labels(z: Floats) -> list[list[str]]:
    return [[f"{v:+.2f}".replace("-", "\u2212") if v else "0" for v in row] for row in z]


def _map(
    colours: Palette,
    z: Floats,
    texts: Sequence[Sequence[str]],
    unclear: Sequence[tuple[int, int]],
    columns: Sequence[str],
    rows: Sequence[str],
    scale: str,
    labels: list[list[str]] | None = None,
    title: str = "",
    tilt: bool = False,
    losses: bool = False,
) -> go.Figure:
    """A signed heatmap, first row on top, with dots on what is not clear."""
    finite = z[np.isfinite(z)]
    most = (float(np.abs(finite).max()) if finite.size else 0.0) or 1.0
    row = 30 if len(rows) <= 20 else 18
    heat = go.Heatmap(
        z=z,
        x=list(range(len(columns))),
        y=list(range(len(rows))),
        text=texts,
        hovertemplate=TEXT,
        hoverongaps=False,
        xgap=1,
        ygap=1,
        colorscale=signed(colours, losses),
        zmin=-most,
        zmax=most,
        colorbar=colorbar(colours, -most, most),
    )
    dots = go.Scatter(
        x=[j + (0.42 if labels else 0) for _, j in unclear],
        y=[i - (0.34 if labels else 0) for i, _ in unclear],  # in a corner, off the number
        mode="markers",
        marker={"size": 4, "color": colours.ink, "opacity": 0.7},
        hoverinfo="skip",
        showlegend=False,
    )
    notes: list[dict[str, Any]] = [above(colours, scale)]
    if title:
        notes.append(corner(colours, title))
    if labels and len(columns) <= 12:
        for i, line in enumerate(labels):
            for j, label in enumerate(line):
                strong = abs(z[i, j]) > 0.6 * most
                notes.append(
                    {
                        "x": j,
                        "y": i,
                        "text": label,
                        "showarrow": False,
                        "font": {"size": 11, "color": colours.card if strong else colours.ink},
                    }
                )
    every = steps(len(columns))
    places = list(range(0, len(columns), every))
    return figure(
        colours,
        len(rows) * row + BAR + (64 if tilt else 36),
        [heat, dots],
        margin={"l": 112 if labels else 48, "r": 16, "t": BAR, "b": 64 if tilt else 36},
        plot_bgcolor=colours.hairline,
        xaxis=axis(
            colours,
            tickmode="array",
            tickvals=places,
            ticktext=[safe(columns[i]) for i in places],
            tickangle=None if tilt else 0,
            autotickangles=[0, -35],  # where names would touch
            range=[-0.5, len(columns) - 0.5],
            fixedrange=True,
        ),
        yaxis=axis(
            colours,
            tickmode="array",
            tickvals=list(range(0, len(rows), steps(len(rows)))),
            ticktext=[safe(rows[i]) for i in range(0, len(rows), steps(len(rows)))],
            range=[len(rows) - 0.5, -0.5],
            fixedrange=True,
        ),
        annotations=notes,
    )
