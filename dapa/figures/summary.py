"""All measures by layer in one look, and how far their rankings agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from dapa.core.html import Html, html, when
from dapa.figures.causes import cell_text
from dapa.figures.grid import Floats, grid
from dapa.figures.theme import between, number, palette, safe

SHORT = {
    "divergence": "divergence",
    "weights": "weight change",
    "single": "alone",
    "left_out": "left out",
    "trace": "trace, MLP",
    "patching": "patched MLP",
    "gradient": "gradient",
    "in_search": "in search",
}


def summary_heatmap(found: Any, dark: bool = False) -> go.Figure:
    """Measure x layer, each row as a share of its own largest value, since units differ.

    Blue: the layer carries refusal by this measure; orange: it works against it.

    Args:
        found: As `localize.summary.Summary`.
        dark: Colours for a dark page.
    """
    names = list(SHORT)
    z = np.array([_shares(found, name) for name in names])  # (measures, layers)
    hovers = [[_hover(found, name, i) for i in range(len(found.layers))] for name in names]
    return grid(
        z,
        [SHORT[name] for name in names],
        found.layers,
        hovers,
        "share of the measure's largest value",
        palette(dark),
        "signed",
        1.0,
    )


def _shares(found: Any, name: str) -> Floats:
    if name not in found.columns:
        return np.full(len(found.layers), np.nan)
    values = np.asarray(found.columns[name].values, dtype=float)
    most = np.nanmax(np.abs(values), initial=0.0)
    return values / most if most else values


def _hover(found: Any, name: str, i: int) -> Html:
    layer = found.layers[i]
    head = html("<b>layer {} · {}</b><br>", layer, SHORT[name])
    if name not in found.columns:
        return head + safe(found.missing.get(name, "not measured"))
    column = found.columns[name]
    value = float(column.values[i])
    if name == "in_search":
        return head + ("in the found set" if value else "not in the found set")
    rank = 1 + int((column.values > value).sum())
    text = html(
        "{}<br>rank {} of {}",
        cell_text(value, column.low[i], column.high[i]), rank, len(found.layers),
    )  # fmt: skip
    return head + text + when(column.n, "<br>n = {}", column.n)


def agreement_heatmap(found: Any, dark: bool = False) -> go.Figure:
    """Measure x measure: Spearman's rank correlation over layers; dots where p is above 0.05.

    Args:
        found: As `localize.summary.Summary`.
        dark: Colours for a dark page.
    """
    names = [name for name in SHORT if name in found.columns]
    k = len(names)
    z, doubtful = np.full((k, k), np.nan), np.zeros((k, k), dtype=bool)
    hovers = [["" for _ in names] for _ in names]
    for a, b, agreed in found.agreements:
        i, j = names.index(a), names.index(b)
        text = html("<b>{} and {}</b><br>not defined: one of them never varies", SHORT[a], SHORT[b])
        if np.isfinite(agreed.rho):
            text = html(
                "<b>{} and {}</b><br>rank correlation {}<br>permutation p {}, {} layers",
                SHORT[a], SHORT[b], between(agreed.rho, agreed.low, agreed.high),
                number(agreed.p), agreed.n,
            )  # fmt: skip
        for row, column in ((i, j), (j, i)):
            z[row, column], doubtful[row, column] = agreed.rho, agreed.p > 0.05
            hovers[row][column] = text
    short = [SHORT[name] for name in names]
    made = grid(
        z,
        short,
        short,
        hovers,
        "rank correlation over layers",
        palette(dark),
        "signed",
        1.0,
        doubtful=doubtful,
        axis_name="",
    )
    made.update_layout(height=made.layout.height + 52, margin_b=80)
    return made.update_xaxes(tickangle=-40)
