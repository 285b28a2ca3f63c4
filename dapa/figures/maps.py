"""Heatmaps of how far two models are apart: by layer and site, by prompt, by token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dapa.core.html import Html, html
from dapa.figures.grid import doubt, grid, scale, token_grid
from dapa.figures.shapes import ContrastLike, Map, TokensLike
from dapa.figures.theme import (
    BAR,
    above,
    axis,
    corner,
    figure,
    number,
    palette,
    short,
    ticks,
    wrapped,
)
from dapa.writing.unit_names import SITE_TITLES


def divergence_heatmap(
    map: Map, dark: bool = False, contrast: bool | None = None, top: float | None = None
) -> go.Figure:
    """Layer x site: a column per layer in the strip's order, a row per site.

    Args:
        map: What was measured.
        dark: Colours for a dark page.
        contrast: Show harmful minus harmless; by default where the map has it. Dots mark cells
            that cannot be told from zero (5 % false discoveries over all cells).
        top: The end of the colour scale, for panes that are compared; the largest value if None.
    """
    colours = palette(dark)
    difference = map.contrast if contrast is not False else None
    shown = difference or map
    z = shown.values.T  # (sites, layers)
    names = [SITE_TITLES.get(site, site) for site in map.sites]
    doubtful = None
    if difference is not None:
        doubtful = ~difference.significant.T
    return grid(
        z,
        names,
        map.layers,
        _hovers(map, shown, difference is not None),
        _name(map) + (", harmful minus harmless" if difference else ""),
        colours,
        "quantity" if difference is None else "signed",
        top,
        doubtful=doubtful,
    )


_NAMES = 148
"""Room for the beginning of a prompt; a phone keeps as much for the layers."""


def layer_prompt_heatmap(
    map: Map, site: str, dark: bool = False, limit: int = 40, top: float | None = None
) -> go.Figure:
    """Layer x prompt at one site: a row per prompt, the furthest apart on top.

    The trace's `meta` lists each row's index into `map.prompts`, for clicks.

    Args:
        map: What was measured.
        site: One of `map.sites`.
        dark: Colours for a dark page.
        limit: Show at most this many prompts.
        top: The end of the colour scale.
    """
    colours = palette(dark)
    values = map.per_prompt[:, :, map.sites.index(site)]  # (prompts, layers)
    order = np.argsort(-np.nan_to_num(values).mean(axis=1), kind="stable")[:limit]
    z, chosen = values[order], [map.prompts[i] for i in order]
    row = 22 if len(chosen) <= 24 else 15
    heat = go.Heatmap(
        z=z,
        x=list(range(len(map.layers))),
        y=list(range(len(chosen))),
        customdata=_repeated([wrapped(text) for text in chosen], len(map.layers)),
        hovertemplate=_value_hover(map, site, "layer %{x}", "%{customdata}"),
        hoverongaps=False,
        xgap=1,
        ygap=1,
        meta=order.tolist(),
        **scale(z, colours, top=top),
    )
    rest = f" · {len(chosen)} furthest of {map.n}" if len(chosen) < map.n else ""
    return figure(
        colours,
        max(len(chosen), 1) * row + BAR + 28,
        [heat],
        margin={"l": _NAMES, "r": 16, "t": BAR, "b": 28},
        xaxis=axis(colours, **ticks(map.layers)),
        annotations=[corner(colours, "layer" + rest), above(colours, _name(map))],
        yaxis=axis(
            colours,
            tickmode="array",
            tickvals=list(range(len(chosen))),
            ticktext=[short(text, 22) for text in chosen],
            range=[len(chosen) - 0.5, -0.5],
            fixedrange=True,
        ),
    )


def layer_token_heatmap(
    map: TokensLike, site: str, dark: bool = False, top: float | None = None
) -> go.Figure:
    """Layer x token of one prompt at one site: tokens left to right, layer 0 at the bottom.

    Args:
        map: What was measured.
        site: One of `map.sites`.
        dark: Colours for a dark page.
        top: The end of the colour scale. By default the largest value without the attention
            sinks, which would drown the rest; they are shown, clipped.
    """
    colours = palette(dark)
    z = map.values[:, map.sites.index(site)]  # (layers, tokens)
    kept = [i for i in range(len(map.tokens)) if i not in (map.sinks or (0,))]
    rest = z[:, kept] if kept else z
    return token_grid(
        z,
        map.layers,
        map.tokens,
        _value_hover(map, site, "layer %{y}", "token %{customdata}"),
        _name(map),
        colours,
        scale(rest, colours, top=top),
    )


def _name(map: Map | TokensLike) -> str:
    return f"{map.title} ({map.unit})" if map.unit else map.title


def _hovers(map: Map, shown: Map | ContrastLike, difference: bool) -> list[list[Html]]:
    """Layer, site, value with its interval, and n, for every cell, (sites, layers)."""
    count = f"n = {shown.n}"
    if difference:
        count = f"{shown.n} harmful minus {map.contrast.n_harmless} harmless"
    q = map.contrast.q if difference else None
    rows = []
    for j, site in enumerate(map.sites):
        row = []
        for i, layer in enumerate(map.layers):
            value, low, high = (a[i, j] for a in (shown.values, shown.low, shown.high))
            span = f" [{number(low)}, {number(high)}]" if np.isfinite(low + high) else ""
            sign = "+" if difference and value > 0 else ""
            row.append(
                html(
                    "<b>layer {} · {}</b><br>{} {}<br>{}{}",
                    layer, SITE_TITLES.get(site, site), _name(map), f"{sign}{number(value)}{span}",
                    count, doubt(q[i, j]) if difference else _few(map, i, j),
                )
            )  # fmt: skip
        rows.append(row)
    return rows


def _few(map: Map, i: int, j: int) -> Html:
    """How much of a distance a few dimensions hold."""
    share = np.nan if map.share is None else map.share[i, j]
    if not np.isfinite(share):
        return html("")
    return html("<br>{:.0f}\u2009% of it in {} dimensions", 100 * share, map.few)


def _value_hover(map: Map | TokensLike, site: str, first: str, second: str) -> Html:
    return html(
        "<b>{} · {}</b><br>{}<br>{} %{{z:.3g}}<extra></extra>",
        first, SITE_TITLES.get(site, site), second, _name(map),
    )  # fmt: skip


def _repeated(texts: Sequence[str], columns: int) -> list[list[str]]:
    return [[text] * columns for text in texts]
