"""A confidence search: size against refusals, on the prompts that chose and on those that did not.

What was shown is drawn filled, what only chose is grey and hollow, so that nobody takes the one for
the other. The margin below all units is a band, the sizes that surely lose are shaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from dapa.core.html import Html, html
from dapa.core.records import Rate
from dapa.figures.theme import TEXT, Palette, axis, figure, palette, proportion, safe, shares
from dapa.writing.numbers import count_text
from dapa.writing.unit_names import units_text

HEIGHT = 440
_ASIDE = 0.006
"""How far the two marks of one size stand from each other, as a share of all units."""


def certified_chart(found: Any, student: Rate | None = None, dark: bool = False) -> go.Figure:
    """Units moved against DSR along the frozen chain.

    Args:
        found: As `search.confidence.record.ConfidenceRecord`, finished or not.
        student: DSR of no unit at all.
        dark: Colours for a dark page.
    """
    colours = palette(dark)
    total, whole = max(found.total, 1), _whole(found)
    traces = [_chosen(found, colours, total), *_read(found, colours, total)]
    traces += _certified(found, colours, total)
    if whole is not None:
        traces += _target(found, whole, colours, total)
    if student is not None:
        traces.append(_ends([0], [student], colours.grey, "circle", "student"))
    traces = [trace for trace in traces if len(trace.x)]
    shapes, notes = _ground(found, whole, colours, total)
    top = min(1.03, max([0.4, *_tops(traces)]) + 0.12)
    step = max(1, round(total / 6))
    inner = [tick for tick in range(0, total, step) if total - tick > step / 2]
    grid = {"showgrid": True, "gridcolor": colours.hairline, "fixedrange": True}
    return figure(
        colours,
        HEIGHT,
        traces,
        margin={"l": 48, "r": 16, "t": 28, "b": 44},
        legend={
            "orientation": "h", "x": 0, "y": 1.01, "yanchor": "bottom", "itemclick": False,
            "font": {"color": colours.muted, "size": 11}, "itemdoubleclick": False,
            "bgcolor": "rgba(0,0,0,0)", "entrywidth": 80, "entrywidthmode": "pixels",
        },
        hovermode="closest",
        shapes=shapes,
        annotations=notes,
        xaxis=axis(
            colours, title="units moved", range=[-0.03 * total, 1.03 * total],
            tickvals=[*inner, total], **grid,
        ),
        yaxis=axis(
            colours, title="DSR", range=[-0.03, top], **shares(0, 0.25, 0.5, 0.75, 1), **grid
        ),
    )  # fmt: skip


def _whole(found: Any) -> Rate | None:
    """All units' DSR on the most prompts that certified anything; else as the choosing has it."""
    asked = [link.certified for link in _tried(found) if link.certified is not None]
    if asked:
        rate: Rate = max(asked, key=lambda one: one.n).whole_rate
        return rate
    return next((link.read for link in found.chain if link.size == found.total), None)


def _tried(found: Any) -> list[Any]:
    return [*found.chain, *(link for floor in found.floors for link in floor.tried)]


def _tops(traces: Sequence[Any]) -> list[float]:
    """How high each mark reaches with its interval."""
    return [
        y + up
        for trace in traces
        for y, up in zip(trace.y, trace.error_y.array or [0.0] * len(trace.y), strict=True)
    ]


def _target(found: Any, whole: Rate, colours: Palette, total: int) -> list[Any]:
    """All units, which every set is held against, and what the margin's band is called."""
    ends = _ends([total], [whole], colours.blue, "square-open", "all units")
    if not found.margin:
        return [ends]
    name = f"{100 * found.margin:.0f} points below"
    look = (name, _faint(colours.blue, 0.3), "square", 12)
    return [ends, _marks([None], [whole], [""], look)]


def _ground(
    found: Any, whole: Rate | None, colours: Palette, total: int
) -> tuple[list[Any], list[Any]]:
    """The margin's band and the floor's shade, which says itself what it is."""
    shapes: list[Any] = []
    if whole is not None:
        across: dict[str, Any] = {"xref": "paper", "x0": 0, "x1": 1, "layer": "below"}
        line = {"color": colours.blue, "width": 1, "dash": "dash"}
        shapes.append(
            {"type": "line", **across, "y0": whole.value, "y1": whole.value, "line": line}
        )
        if found.margin:
            band = {"type": "rect", **across, "y0": whole.value - found.margin, "y1": whole.value}
            shapes.append({**band, "fillcolor": _faint(colours.blue, 0.18), "line": {"width": 0}})
    if not found.floor or not found.margin:
        return shapes, []
    shade = {"fillcolor": _faint(colours.orange, 0.13), "line": {"width": 0}, "layer": "below"}
    right = found.floor + 0.5  # between the last size that surely loses and the next
    tall = {"type": "rect", "yref": "paper", "y0": 0, "y1": 1}
    shapes.append({**tall, **shade, "x0": -0.03 * total, "x1": right})
    units = "1 unit" if found.floor == 1 else f"up to {found.floor} units"
    words = html("{}:<br>shown to lose<br>over {:.0f} points", units, 100 * found.margin)
    # half way up on the left is where marks are rarest
    notes = {
        "text": words, "x": 0, "y": 0.5, "yref": "paper", "xref": "x", "xanchor": "left",
        "yanchor": "middle", "showarrow": False, "align": "left",
        "font": {"color": colours.muted, "size": 11},
    }  # fmt: skip
    return shapes, [notes]


def _chosen(found: Any, colours: Palette, total: int) -> Any:
    """The line of the sets that choosing took, by what chose them."""
    return go.Scatter(
        x=[len(one.units) - _ASIDE * total for one in found.chosen],
        y=[one.rate for one in found.chosen],
        mode="lines",
        line={"color": colours.grey, "width": 1.5, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
        name="",
    )


def _read(found: Any, colours: Palette, total: int) -> list[Any]:
    """The chain on the prompts that chose it, with intervals: by verdicts, else as foretold."""
    seen = [(link, link.chosen.rate if link.chosen else link.read) for link in found.chain]
    held = [(link, rate) for link, rate in seen if rate is not None]
    asked = [one for one in held if one[0].certified or one[0].size == found.total]
    waiting = [one for one in held if one not in asked]
    made = []
    for name, members, symbol in (
        ("choose prompts", asked, "circle-open"),
        ("not asked", waiting, "x-thin-open"),
    ):
        made.append(
            _marks(
                [link.size - _ASIDE * total for link, _ in members],
                [rate for _, rate in members],
                [_said(link, rate, name) for link, rate in members],
                (name, colours.grey, symbol, 7),
            )
        )
    return made


def _certified(found: Any, colours: Palette, total: int) -> list[Any]:
    """The links on the prompts that chose nothing, by how their certifying ended."""
    mine = {str(unit) for unit in found.units}
    groups: dict[str, list[Any]] = {name: [] for name in _LOOKS}
    for link in found.chain:
        if link.certified is not None:
            units = {str(unit) for unit in link.units}
            groups["the set" if units == mine and link.state == "passed" else link.state].append(
                link
            )
    seen = {link.units for link in found.chain}
    for floor in found.floors:
        groups["shown to lose"] += [
            link for link in floor.tried
            if link.state == "failed" and link.certified and link.units not in seen
        ]  # fmt: skip
    made = []
    for state, links in groups.items():
        name, symbol, size, blue = _LOOKS[state]
        colour = colours.blue if blue else colours.orange
        made.append(
            _marks(
                [link.size + _ASIDE * total for link in links],
                [link.certified.rate for link in links],
                [_said(link, link.certified.rate, name) for link in links],
                (name, colour, symbol, size),
            )
        )
    return made


_LOOKS = {
    "passed": ("passed", "square", 8, True),
    "the set": ("the set", "diamond", 13, True),
    "failed": ("not shown", "triangle-up-open", 10, False),
    "gave up": ("given up", "triangle-up", 10, False),
    "shown to lose": ("shown to lose", "triangle-down", 9, False),
    "not asked": ("being asked", "square-open", 8, True),
}
"""State of a link -> name, symbol, size, and whether it is blue."""


def _marks(
    x: Sequence[float | None],
    rates: Sequence[Rate],
    told: Sequence[str],
    look: tuple[str, str, str, int],
) -> Any:
    name, colour, symbol, size = look
    return go.Scatter(
        x=list(x),
        y=[rate.value for rate in rates],
        error_y={
            "symmetric": False,
            "array": [max(0.0, rate.high - rate.value) for rate in rates],
            "arrayminus": [max(0.0, rate.value - rate.low) for rate in rates],
            "thickness": 1,
            "width": 2,
            "color": colour,
        },
        mode="markers",
        name=safe(name),
        marker={
            "size": size, "symbol": symbol, "color": colour,
            "line": {"width": 1.5, "color": colour},
        },
        text=list(told),
        hovertemplate=TEXT,
    )  # fmt: skip


def _ends(x: Sequence[float], rates: Sequence[Rate], colour: str, symbol: str, name: str) -> Any:
    told = [html("<b>{}</b><br>{}", name, _rate(rate)) for rate in rates]
    return _marks(x, rates, told, (name, colour, symbol, 9))


def _said(link: Any, rate: Rate, name: str) -> Html:
    """A mark's hover: the set, its rate, and what asking it showed."""
    units = units_text(link.units)
    units = units if len(units) <= 44 else f"{units[:44].rpartition(',')[0]} …"
    many = count_text(link.size, "unit")
    told = html("<b>{}, {}</b><br>{}<br>{}", many, name, units, _rate(rate))
    if link.certified is None or rate != link.certified.rate:
        return told
    change = link.certified.change
    ends = ", ".join(f"{100 * end:+.1f}" for end in (change.low, change.high))
    p = ""
    if link.looks:  # of what the mark says: that the set loses, or that it holds
        last = link.looks[-1]
        loses = name == _LOOKS["shown to lose"][0]
        p = f", p {last.p_loses if loses else last.p_holds:.3f}"
    more = f"{100 * change.value:+.1f} points against all units [{ends}]"
    return html("{}<br>{}{}", told, more.replace("-", "−"), p)


def _rate(rate: Rate) -> str:
    return f"DSR {proportion(rate)}"


def _faint(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
