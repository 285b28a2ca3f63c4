"""Curves of DSR: against the strength of a transplant, and against the length of a reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go

from dapa.core.html import html
from dapa.figures.theme import TEXT, Palette, axis, figure, palette, proportion, safe, shares
from dapa.writing.numbers import percent


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
    traces = [
        _curve(look, found.curve(name), lambda p: p.strength, lambda p: f"strength {p.strength:g}")
        for name, look in looks.items()
    ]
    ticks = {"range": [-0.04, 1.04], "tickvals": [0, 0.25, 0.5, 0.75, 1]}
    return _against_dsr(colours, traces, gridded(colours, "strength", **ticks))


def length_chart(found: Any, dark: bool = False) -> go.Figure:
    """Tokens of a reply (doubling) against DSR with 95 % whiskers, a line per model.

    Args:
        found: As `measure.length.Lengths`.
        dark: Colours for a dark page.
    """
    colours = palette(dark)
    looks = {
        "student": ("student", colours.grey, "circle", "dot"),
        "patched": ("patched", colours.blue, "diamond", "solid"),
        "teacher": ("teacher", colours.blue, "square-open", "dash"),
    }
    traces = [
        _curve(
            looks[model],
            found.curve(model),
            lambda p: p.tokens,
            lambda p: f"{p.tokens} tokens",
            lambda p: html("<br>{} of verdicts as at the end", percent(p.same.value)),
        )
        for model in found.models
    ]
    lengths = sorted({p.tokens for p in found.points})
    ticks = {"type": "log", "tickvals": lengths, "ticktext": [f"{tick:,}" for tick in lengths]}
    return _against_dsr(colours, traces, gridded(colours, "tokens of a reply", **ticks))


def gridded(colours: Palette, title: str, **more: Any) -> dict[str, Any]:
    """An axis with hairlines that nobody can drag."""
    look = {"showgrid": True, "gridcolor": colours.hairline, "fixedrange": True}
    return axis(colours, title=title, **look, **more)


def framed(colours: Palette, traces: Sequence[Any], across: Any, up: Any, **more: Any) -> go.Figure:
    """A low chart with room for its axes' titles."""
    margin = {"l": 48, "r": 16, "t": 28, "b": 44}
    return figure(
        colours, 300, traces, margin=margin, hovermode="closest", xaxis=across, yaxis=up, **more
    )


def _against_dsr(colours: Palette, traces: Sequence[Any], across: Any) -> go.Figure:
    up = gridded(colours, "DSR", range=[-0.04, 1.06], **shares(0, 0.5, 1))
    return framed(colours, traces, across, up)


def _curve(
    look: tuple[str, str, str, str],
    points: Sequence[Any],
    place: Callable[[Any], float],
    where: Callable[[Any], str],
    more: Callable[[Any], str] = lambda point: "",
) -> go.Scatter:
    """Points with a `dsr` as a line with whiskers; `look` is title, colour, symbol and dash."""
    title, colour, symbol, dash = look
    return go.Scatter(
        x=[place(p) for p in points],
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
        name=safe(title),
        line={"color": colour, "width": 1.5, "dash": dash},
        marker={"size": 8, "color": colour, "symbol": symbol},
        text=[
            html("<b>{}, {}</b><br>DSR {}{}", title, where(p), proportion(p.dsr), more(p))
            for p in points
        ],
        hovertemplate=TEXT,
        showlegend=bool(points),
    )
