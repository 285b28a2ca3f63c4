"""The refusal direction by layer, and prompts as points in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dapa.core.html import html
from dapa.figures.theme import (
    TEXT,
    Palette,
    axis,
    between,
    figure,
    number,
    palette,
    safe,
    ticks,
    wrapped,
)

_HEIGHT = 300


def looks(colours: Palette) -> dict[str, tuple[str, str]]:
    """Pane -> (colour, symbol): grey circles, blue diamonds, and squares in ink."""
    return {
        "student": (colours.grey, "circle"),
        "patched": (colours.blue, "diamond"),
        "teacher": (colours.ink, "square"),
    }


def direction_chart(found: Any, dark: bool = False) -> go.Figure:
    """Each pane along the refusal direction, by layer: harmful prompts solid, harmless ones dotted.

    0 is the teacher on harmless prompts, 1 the teacher on harmful ones.

    Args:
        found: As `localize.directions.DirectionMap`.
        dark: Colours for a dark page.
    """
    colours = palette(dark)
    traces = []
    for pane in found.panes:
        colour, symbol = looks(colours)[pane]
        for kind, side in found.along[pane].items():
            harmful = kind == "harmful"
            n = len(side.prompts)
            traces.append(
                go.Scatter(
                    x=list(range(len(found.layers))),
                    y=side.values,
                    error_y=_whiskers(side.values, side.low, side.high, colour),
                    mode="lines+markers",
                    name=safe(f"{pane}, {kind}"),
                    line={"color": colour, "width": 2, "dash": "solid" if harmful else "dot"},
                    marker={
                        "size": 8,
                        "color": colour,
                        "symbol": symbol if harmful else f"{symbol}-open",
                    },
                    text=[
                        html(
                            "<b>layer {} · {}, {}</b><br>along the direction {}<br>n = {}",
                            layer, pane, kind,
                            between(side.values[i], side.low[i], side.high[i]), n,
                        )
                        for i, layer in enumerate(found.layers)
                    ],
                    hovertemplate=TEXT,
                )
            )  # fmt: skip
    return _by_layer(
        colours, found.layers, traces, "along the refusal direction", [0.0, 1.0], legend=3
    )


def separation_chart(found: Any, dark: bool = False) -> go.Figure:
    """How well harmful and harmless prompts stand apart along the direction: AUC by layer.

    Args:
        found: As `localize.directions.DirectionMap`.
        dark: Colours for a dark page.
    """
    colours = palette(dark)
    traces = []
    for pane in found.panes:
        colour, symbol = looks(colours)[pane]
        rates = found.separation[pane]
        sides = [np.array([getattr(r, name) for r in rates]) for name in ("value", "low", "high")]
        traces.append(
            go.Scatter(
                x=list(range(len(found.layers))),
                y=sides[0],
                error_y=_whiskers(*sides, colour),
                mode="lines+markers",
                name=safe(pane),
                line={"color": colour, "width": 2},
                marker={"size": 8, "color": colour, "symbol": symbol},
                text=[
                    html(
                        "<b>layer {} · {}</b><br>AUC {}<br>n = {}<br>along its own direction {}"
                        "<br>its cosine with the teacher's {}",
                        layer, pane, between(rate.value, rate.low, rate.high), rate.n,
                        number(found.own[pane][i].value), number(found.cosine[pane][i]),
                    )
                    for i, (layer, rate) in enumerate(zip(found.layers, rates, strict=True))
                ],
                hovertemplate=TEXT,
            )
        )  # fmt: skip
    made = _by_layer(colours, found.layers, traces, "AUC, harmful against harmless", [0.5, 1.0])
    return made.update_yaxes(range=[-0.04, 1.06])


def projection_scatter(found: Any, layer: int, dark: bool = False) -> go.Figure:
    """One layer's plane: harmful prompts filled, harmless ones open.

    Args:
        found: As `localize.projection.Projection`.
        layer: Which one.
        dark: Colours for a dark page.
    """
    colours = palette(dark)
    i = found.layers.index(layer)
    traces: list[Any] = []
    texts = np.array([wrapped(prompt) for prompt in found.prompts], dtype=object)
    classes = np.array(found.classes, dtype=object)
    for p, pane in enumerate(found.panes):
        colour, symbol = looks(colours)[pane]
        for kind in dict.fromkeys(found.classes):
            here = classes == kind
            traces.append(
                go.Scatter(
                    x=found.points[p, i, here, 0],
                    y=found.points[p, i, here, 1],
                    mode="markers",
                    name=safe(f"{pane}, {kind}"),
                    marker={
                        "size": 7,
                        "color": colour,
                        "symbol": symbol if kind == "harmful" else f"{symbol}-open",
                        "opacity": 0.8,
                    },
                    text=texts[here],
                    hovertemplate=html(
                        "<b>{}, {}</b><br>%{{text}}<extra></extra>", pane, safe(kind)
                    ),
                )
            )
    return figure(
        colours,
        420,
        traces,
        margin={"l": 56, "r": 16, "t": 56, "b": 44},
        hovermode="closest",
        xaxis=_component(colours, found, i, 0),
        yaxis=_component(colours, found, i, 1),
    )


def projection_slides(found: Any, dark: bool = False) -> go.Figure:
    """`projection_scatter` with a slider over layers, for a page without a server.

    Args:
        found: As `localize.projection.Projection`.
        dark: Colours for a dark page.
    """
    colours = palette(dark)
    made = projection_scatter(found, found.layers[0], dark)
    steps = []
    for layer in found.layers:
        slide = projection_scatter(found, layer, dark)
        i = found.layers.index(layer)
        steps.append(
            {
                "method": "update",
                "label": str(layer),
                "args": [
                    {axis_: [list(trace[axis_]) for trace in slide.data] for axis_ in ("x", "y")},
                    {
                        "xaxis.title.text": _component_title(found, i, 0),
                        "yaxis.title.text": _component_title(found, i, 1),
                        "xaxis.autorange": True,
                        "yaxis.autorange": True,
                    },
                ],
            }
        )
    made.update_layout(
        height=500,
        margin_b=124,
        sliders=[
            {
                "active": 0,
                "steps": steps,
                "currentvalue": {"prefix": "layer ", "font": {"color": colours.ink, "size": 12}},
                "pad": {"t": 44},
                "bgcolor": colours.hairline,
                "activebgcolor": colours.muted,
                "bordercolor": colours.hairline,
                "tickcolor": colours.muted,
                "font": {"color": colours.muted, "size": 11},
            }
        ],
    )
    return made


def _component_title(found: Any, i: int, k: int) -> str:
    share = float(found.explained[i, k])
    told = f", {100 * share:.0f}\u2009% of the variance" if np.isfinite(share) else ""
    return f"component {k + 1}{told}"


def _component(colours: Palette, found: Any, i: int, k: int) -> dict[str, Any]:
    return axis(
        colours, title=_component_title(found, i, k), showgrid=True, gridcolor=colours.hairline
    )


def _whiskers(values: Any, low: Any, high: Any, colour: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": np.nan_to_num(np.maximum(high - values, 0.0)),
        "arrayminus": np.nan_to_num(np.maximum(values - low, 0.0)),
        "thickness": 1,
        "width": 2,
        "color": colour,
    }


def _by_layer(
    colours: Palette,
    layers: Sequence[int],
    traces: Sequence[Any],
    title: str,
    levels: Sequence[float],
    legend: int = 1,
) -> go.Figure:
    lines = [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": y,
            "y1": y,
            "line": {"color": colours.muted, "width": 1, "dash": "dot"},
            "layer": "below",
        }
        for y in levels
    ]
    return figure(
        colours,
        _HEIGHT + 18 * legend,
        traces,
        margin={"l": 56, "r": 16, "t": 24 + 18 * legend, "b": 44},
        hovermode="closest",
        shapes=lines,
        xaxis=axis(colours, title="layer", **ticks(layers)),
        yaxis=axis(colours, title=title, showgrid=True, gridcolor=colours.hairline),
    )
