"""The look that every figure shares: colours with one meaning each, quiet axes, safe text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from dapa.core.html import Html, html
from dapa.writing.numbers import percent, rate_text

FONT = "var(--font, system-ui), system-ui, sans-serif"
"""The page's own font; outside the page (an exported picture) the system's."""
LEFT = 104
"""Pixels left of a layer axis, for the names of sites: every layer picture begins here."""
BAR = 56
"""Pixels above a heatmap, for its scale."""
TEXT = html("%{{text}}<extra></extra>")
"""A hover that shows a mark's own text and no name beside it."""


@dataclass(frozen=True)
class Palette:
    """Colours by what they mean; safe for the colour-blind (Okabe and Ito)."""

    ink: str
    muted: str
    hairline: str
    card: str
    empty: str
    """A cell that is not transplanted."""
    blue: str
    """From the teacher, transplanted, refuses, satisfies."""
    blue_soft: str
    orange: str
    """Complies, fails the target."""
    orange_soft: str
    grey: str
    """The student, untouched; undecided."""
    zero: str
    """Nothing at all, on a signed scale: as light, or as dark, as the page."""


LIGHT = Palette(
    ink="#1B2430",
    muted="#5B6673",
    hairline="#E1E5EA",
    card="#FFFFFF",
    empty="#EDF0F3",
    blue="#0072B2",
    blue_soft="#7FB8D8",
    orange="#D55E00",
    orange_soft="#EAAE7F",
    grey="#7A8592",
    zero="#FFFFFF",
)
DARK = Palette(
    ink="#E8ECF1",
    muted="#9AA5B1",
    hairline="#2D3540",
    card="#1A2028",
    empty="#262D36",
    blue="#56B4E9",
    blue_soft="#356E90",
    orange="#E69F00",
    orange_soft="#8F6713",
    grey="#8C97A4",
    zero="#1A2028",
)
QUANTITY = "Cividis"
"""For quantities from zero up."""


def palette(dark: bool) -> Palette:
    """The colours of a light or a dark page."""
    return DARK if dark else LIGHT


def signed(colours: Palette, losses: bool = False) -> list[list[Any]]:
    """For signed quantities: orange below zero (complies), blue above (refuses).

    Args:
        colours: Of the page; zero is as light or as dark as it.
        losses: Are refusals lost what is counted? Then more of it is orange.
    """
    ends = (colours.blue, colours.orange) if losses else (colours.orange, colours.blue)
    return [[0.0, ends[0]], [0.5, colours.zero], [1.0, ends[1]]]


def safe(text: str) -> Html:
    """Any text as plotly may show it: plotly reads some tags, a prompt may hold all of them.

    What is `Html` stays; of its entities plotly knows those of `markupsafe`, but not `&quot;`.
    """
    if isinstance(text, Html):
        return text
    return html("{}", "".join(c if c.isprintable() else " " for c in str(text)))


def short(text: str, width: int) -> Html:
    """Cut to `width` characters, escaped."""
    return safe(text if len(text) <= width else text[: width - 1].rstrip() + "…")


def lines_of(parts: Iterable[str]) -> Html:
    """One line each."""
    return html("<br>").join(map(safe, parts))


def wrapped(text: str, width: int = 44, lines: int = 8) -> Html:
    """Broken into lines for a hover, escaped."""
    parts = textwrap.wrap(text, width) or [""]
    return lines_of(parts[:lines]) + ("…" if len(parts) > lines else "")


def proportion(rate: Any) -> str:
    """A rate in a hover: `98 % [87, 100], n = 40`."""
    return f"{rate_text(rate, with_n=False)}, n = {rate.n}"


def between(value: float, low: float, high: float) -> str:
    """A number with its interval: `0.31 [0.2, 0.4]`."""
    return f"{number(value)} [{number(low)}, {number(high)}]"


def number(value: float) -> str:
    """Three digits, no exponent until it is needed."""
    text = f"{value + 0.0:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return text.replace("-", "\u2212")


def axis(colours: Palette, **more: Any) -> dict[str, Any]:
    """A quiet axis: no grid, no line, muted labels."""
    plain = {
        "showgrid": False,
        "zeroline": False,
        "showline": False,
        "ticks": "",
        "tickfont": {"color": colours.muted, "size": 11},
        "title": {"font": {"color": colours.muted, "size": 11}, "standoff": 6},
    }
    title = more.pop("title", "")
    plain["title"] = {**plain["title"], "text": safe(title)}  # type: ignore[dict-item]
    return {**plain, **more}


def corner(colours: Palette, text: str) -> dict[str, Any]:
    """The name of the horizontal axis, in the corner before its first label."""
    return {
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": 0,
        "xanchor": "right",
        "yanchor": "top",
        "xshift": -4,
        "yshift": -3,
        "text": safe(text),
        "showarrow": False,
        "font": {"color": colours.muted, "size": 11},
    }


def figure(colours: Palette, height: int, traces: Sequence[Any], **layout: Any) -> go.Figure:
    """A figure of this house: transparent, in the page's font, its zoom kept on every update."""
    base: dict[str, Any] = {
        "height": height,
        "autosize": True,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "color": colours.ink, "size": 12},
        "margin": {"l": LEFT, "r": 16, "t": 8, "b": 28},
        "hoverlabel": {
            "bgcolor": colours.card,
            "bordercolor": colours.hairline,
            "font": {"family": FONT, "color": colours.ink, "size": 12},
            "align": "left",
        },
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1,
            "yanchor": "bottom",
            "font": {"color": colours.muted, "size": 11},
            "bgcolor": "rgba(0,0,0,0)",
            "itemsizing": "trace",
            "itemclick": False,
            "itemdoubleclick": False,
        },
        "modebar": {
            "remove": [
                "sendChartToCloud",  # would leave the machine
                "zoom",
                "pan",
                "select",
                "lasso",
                "zoomin",
                "zoomout",
                "autoscale",
            ],
            "bgcolor": "rgba(0,0,0,0)",
            "color": colours.muted,
            "activecolor": colours.ink,
        },
        "uirevision": "dapa",
        "transition": {"duration": 0},
    }
    return go.Figure(list(traces), {**base, **layout, "template": "none"})


def provenanced(made: go.Figure, line: str, dark: bool = False, width: int = 64) -> go.Figure:
    """The figure with where its numbers come from in small print under it, a few words a line."""
    colours = palette(dark)
    lines = textwrap.wrap(line, width)[:4]
    room = 12 * len(lines) + 10
    below = int(made.layout.margin.b or 0)
    made.update_layout(height=int(made.layout.height or 450) + room, margin_b=below + room)
    made.add_annotation(
        text=lines_of(lines),
        xref="paper", yref="paper", x=0, y=0, xanchor="left", yanchor="top",
        yshift=-below, xshift=-int(made.layout.margin.l or 0) + 4,
        showarrow=False, align="left", font={"size": 10, "color": colours.muted},
    )  # fmt: skip
    return made


def colorbar(colours: Palette, low: float, high: float) -> dict[str, Any]:
    """A slim scale above the picture's right end, so that it takes no width from the columns."""
    ends = [low, high] if low >= 0 else [low, 0.0, high]
    return {
        "orientation": "h",
        "thickness": 8,
        "len": 0.36,
        "x": 1,
        "xanchor": "right",
        "xpad": 0,
        "y": 1,
        "yanchor": "bottom",
        "ypad": 6,
        "outlinewidth": 0,
        "ticks": "",
        "tickmode": "array",
        "tickvals": [x * 0.999 for x in ends],  # at the very end rounding may lose the label
        "ticktext": [f"{x:.2g}".replace("-", "\u2212") for x in ends],
        "tickangle": 0,
        "tickfont": {"color": colours.muted, "size": 11},
    }


def above(colours: Palette, text: str) -> dict[str, Any]:
    """What the scale counts, above it; it ends where the scale ends, however narrow the page."""
    return {
        "xref": "paper",
        "yref": "paper",
        "x": 1,
        "y": 1,
        "xanchor": "right",
        "yanchor": "bottom",
        "yshift": 32,
        "text": safe(text),
        "showarrow": False,
        "font": {"color": colours.muted, "size": 11},
    }


def steps(count: int) -> int:
    """Every how many columns to name one, so that names stay apart."""
    for limit, step in ((16, 1), (24, 2), (40, 4), (100, 5)):
        if count <= limit:
            return step
    return 20 if count <= 240 else 50


def shares(*values: float) -> dict[str, Any]:
    """An axis' ticks at these shares, in per cent as everywhere."""
    return {"tickvals": values, "ticktext": [percent(value) for value in values]}


def ticks(names: Sequence[Any]) -> dict[str, Any]:
    """Names under positions 0, 1, ..., as many as there is room for."""
    places = list(range(0, len(names), steps(len(names))))
    return {
        "tickmode": "array",
        "tickvals": places,
        "ticktext": [safe(names[i]) for i in places],
        "tickangle": 0,
        "range": [-0.5, len(names) - 0.5],
    }
