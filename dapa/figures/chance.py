"""The null distribution: random sets' DSR, and where the found set lies in it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import plotly.graph_objects as go

from dapa.core.html import html
from dapa.figures.curves import framed, gridded
from dapa.figures.theme import TEXT, palette, proportion, shares
from dapa.writing.numbers import percent

BINS = 20
"""Bars over the whole scale; fewer where fewer prompts tell apart."""


def chance_chart(found: Any, dark: bool = False) -> go.Figure:
    """A histogram of random sets' DSR; lines mark the student, the found set and every unit.

    Args:
        found: As `measure.chance.Chance`.
        dark: Colours for a dark page.
    """
    colours = palette(dark)
    bins = max(1, min(BINS, found.found.n))
    width = 1 / bins
    # refusals are counted, so a bar's place is reckoned in whole numbers
    counts = Counter(min(bins - 1, _place(drawn.dsr, bins)) for drawn in found.sets)
    places = sorted(counts)
    top = max(counts.values(), default=1)
    traces: list[Any] = [
        go.Bar(
            x=[(place + 0.5) * width for place in places],
            y=[counts[place] for place in places],
            width=width * 0.92,
            name="random sets",
            marker={"color": colours.grey, "opacity": 0.55},
            text=[
                html(
                    "<b>{} random sets</b><br>DSR {} to {}",
                    counts[place], percent(place * width), percent((place + 1) * width),
                )
                for place in places
            ],
            textposition="none",
            hovertemplate=TEXT,
        )
    ]  # fmt: skip
    for title, rate, colour, dash, wide in (
        ("student", found.student, colours.grey, "dot", 2.5),
        ("every unit", found.full, colours.blue_soft, "dash", 6),  # behind the found set
        ("found set", found.found, colours.blue, "solid", 2.5),
    ):
        told = html("<b>{}</b><br>DSR {}", title, proportion(rate))
        traces.append(
            go.Scatter(
                x=[rate.value, rate.value],
                y=[0, 1.08 * top],
                mode="lines+markers",
                name=title,
                line={"color": colour, "width": wide, "dash": dash},
                marker={"size": [0, 8], "color": colour, "symbol": "triangle-down"},
                text=[told, told],
                hovertemplate=TEXT,
            )
        )
    across = gridded(colours, "DSR", range=[-0.02, 1.02], **shares(0, 0.25, 0.5, 0.75, 1))
    up = gridded(colours, "random sets", range=[0, 1.15 * top], tickformat="d", nticks=5)
    return framed(colours, traces, across, up, bargap=0)


def _place(rate: Any, bins: int) -> int:
    """Which bar a rate belongs to."""
    return round(rate.value * rate.n) * bins // max(1, rate.n)
