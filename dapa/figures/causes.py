"""What interventions do to refusal: the causal trace on the teacher, and cross-model patching."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from dapa.core.html import html
from dapa.figures.effects import UNIT
from dapa.figures.grid import Floats, doubt, grid, scale, shared_top, token_grid
from dapa.figures.theme import number, palette, safe
from dapa.writing.unit_names import SITE_TITLES, TOKEN_GROUPS

CHANGE = f"change of {UNIT}"


def patching_heatmap(found: Any, dark: bool = False, top: float | None = None) -> go.Figure:
    """Layer x site: what the teacher's activations there do to the student's refusal.

    Dots mark cells that cannot be told from zero (5 % false discoveries over all cells).

    Args:
        found: As `localize.patching.PatchMap`.
        dark: Colours for a dark page.
        top: The end of the colour scale, for panes that are compared.
    """
    names = [SITE_TITLES.get(site, site) for site in found.sites]
    sides = (found.values.T, found.low.T, found.high.T, found.q.T)
    return _grid(names, found.layers, sides, found.n, ~found.significant.T, dark, top)


def trace_heatmap(
    found: Any, kind: str = "mlp", dark: bool = False, top: float | None = None
) -> go.Figure:
    """Layer x group of tokens: refusal that comes back when one kind of module is restored there.

    Args:
        found: As `localize.tracing.TraceMap`.
        kind: One of its kinds.
        dark: Colours for a dark page.
        top: The end of the colour scale; by default that of all kinds, so that they compare.
    """
    k = found.kinds.index(kind)
    names = [TOKEN_GROUPS.get(group, group) for group in found.groups]
    sides = tuple(a[k].T for a in (found.values, found.low, found.high, found.q))
    return _grid(
        names, found.layers, sides, found.n, ~found.significant[k].T, dark,
        top or shared_top(found.values),
    )  # fmt: skip


def token_trace_heatmap(
    found: Any, kind: str = "mlp", dark: bool = False, top: float | None = None
) -> go.Figure:
    """Layer x token of one prompt, as `trace_heatmap`.

    Args:
        found: As `localize.tracing.TokenTrace`.
        kind: One of its kinds.
        dark: Colours for a dark page.
        top: The end of the colour scale; by default that of all kinds.
    """
    colours = palette(dark)
    z = found.values[found.kinds.index(kind)]
    hover = html(
        "<b>layer %{{y}} · {}</b><br>token %{{customdata}}<br>{} %{{z:.3g}}<extra></extra>",
        SITE_TITLES.get(kind, kind),
        CHANGE,
    )
    shades = scale(z, colours, "signed", top or shared_top(found.values))
    return token_grid(z, found.layers, found.tokens, hover, CHANGE, colours, shades)


def _grid(
    names: list[str],
    layers: tuple[int, ...],
    sides: tuple[Floats, ...],
    n: int,
    doubtful: Any,
    dark: bool,
    top: float | None,
) -> go.Figure:
    values, low, high, q = sides
    hovers = [
        [
            html(
                "<b>layer {} · {}</b><br>{} {}<br>n = {}{}",
                layer, safe(name), CHANGE, cell_text(values[i, j], low[i, j], high[i, j]), n,
                doubt(q[i, j]),
            )
            for j, layer in enumerate(layers)
        ]
        for i, name in enumerate(names)
    ]  # fmt: skip
    return grid(
        values, names, layers, hovers, CHANGE, palette(dark), "signed", top, doubtful=doubtful
    )


def cell_text(value: float, low: float, high: float) -> str:
    """A signed value with its interval."""
    span = f" [{number(low)}, {number(high)}]" if np.isfinite(low + high) else ""
    return f"{'+' if value > 0 else ''}{number(value)}{span}"
