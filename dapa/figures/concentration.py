"""Size against refusals: how many units it takes, along each order, with bands."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from dapa.core.html import html
from dapa.figures.theme import TEXT, Palette, axis, figure, palette, proportion, safe, shares

_DASHES = ("dash", "dot", "dashdot", "longdash")
_SYMBOLS = ("square-open", "diamond-open", "triangle-up-open", "x-thin-open")


def size_chart(found: Any, dark: bool = False) -> go.Figure:
    """Units moved against DSR: the main order with its 95 % band, others thin, search hollow.

    Diamonds stand where a share of the gain is reached, with the interval of the number of units.

    Args:
        found: As `measure.concentration.Concentration`.
        dark: Colours for a dark page.
    """
    colours = palette(dark)
    traces: list[Any] = []
    if found.curves:
        main = found.main
        traces += _band(main, colours, "told")
        traces.append(_chord(found, colours))
        others = [curve for curve in found.curves if curve is not main]
        traces += [_other(curve, at, colours) for at, curve in enumerate(others)]
        if found.held_out:
            traces += _band(main, colours, "search")
            traces.append(_line(main, "search", colours, f"{main.title}, search"))
        traces.append(_line(main, "told", colours, f"{main.title}, {found.where}"))
        traces.append(_marks(found, colours))
    return _laid(colours, found, traces, "DSR", {"range": [-0.04, 1.06], **shares(0, 0.5, 1)})


def odds_chart(found: Any, dark: bool = False) -> go.Figure:
    """Units moved against refusal log-odds, mean over prompts; held-out filled, search hollow.

    Args:
        found: As `measure.concentration.Concentration`.
        dark: Colours for a dark page.
    """
    colours = palette(dark)
    traces = []
    main = found.main if found.curves else None
    others = [curve for curve in found.curves if curve is not main]
    for curve in found.curves:
        split = "held_out" if found.held_out else "search"
        at = others.index(curve) if curve in others else -1
        traces.append(_odds(curve, split, at, colours, f"{curve.title}, {found.where}"))
        if curve is main and found.held_out:
            traces.append(_odds(curve, "search", at, colours, f"{curve.title}, search", True))
    return _laid(colours, found, traces, "refusal log-odds", {})


def _laid(
    colours: Palette, found: Any, traces: list[Any], title: str, more: dict[str, Any]
) -> go.Figure:
    n = max(1, len(found.units))
    grid = {"showgrid": True, "gridcolor": colours.hairline, "fixedrange": True}
    return figure(
        colours,
        360,
        traces,
        margin={"l": 48, "r": 16, "t": 28, "b": 44},
        hovermode="closest",
        xaxis=axis(colours, title="units moved", range=[-0.03 * n, 1.03 * n], **_ticks(n), **grid),
        yaxis=axis(colours, title=title, **more, **grid),
    )


def _ticks(n: int) -> dict[str, Any]:
    """A handful of whole numbers, with both ends."""
    step = max(1, round(n / 6))
    inner = [tick for tick in range(0, n, step) if n - tick > step / 2]
    return {"tickvals": [*inner, n]}


def _rates(curve: Any, which: str) -> list[Any]:
    return [getattr(point, which) for point in curve.points]


def _band(curve: Any, colours: Palette, which: str) -> list[Any]:
    """The 95 % Wilson interval of each size, filled between its ends."""
    x, rates = [point.size for point in curve.points], _rates(curve, which)
    fill = _faint(colours.blue if which == "told" else colours.grey, 0.22)
    return [
        go.Scatter(
            x=[*x, *reversed(x)],
            y=[*(rate.high for rate in rates), *(rate.low for rate in reversed(rates))],
            fill="toself",
            fillcolor=fill,
            line={"width": 0},
            mode="lines",
            hoverinfo="skip",
            showlegend=False,
            name="",
        )
    ]


def _faint(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def _line(curve: Any, which: str, colours: Palette, name: str) -> Any:
    told = which == "told"
    colour = colours.blue if told else colours.grey
    return go.Scatter(
        x=[point.size for point in curve.points],
        y=[rate.value for rate in _rates(curve, which)],
        mode="lines+markers",
        name=safe(name),
        line={"color": colour, "width": 2.5 if told else 1.5, "dash": "solid" if told else "dash"},
        marker={"size": 7, "color": colour, "symbol": "circle" if told else "circle-open"},
        text=[
            html("<b>{}, {} units</b><br>DSR {}", name, point.size, proportion(rate))
            for point, rate in zip(curve.points, _rates(curve, which), strict=True)
        ],
        hovertemplate=TEXT,
    )


def _other(curve: Any, at: int, colours: Palette) -> Any:
    return go.Scatter(
        x=[point.size for point in curve.points],
        y=[rate.value for rate in _rates(curve, "told")],
        mode="lines+markers",
        name=safe(curve.title),
        line={"color": colours.muted, "width": 1, "dash": _DASHES[at % len(_DASHES)]},
        marker={"size": 6, "color": colours.muted, "symbol": _SYMBOLS[at % len(_SYMBOLS)]},
        text=[
            html("<b>{}, {} units</b><br>DSR {}", curve.title, point.size, proportion(point.told))
            for point in curve.points
        ],
        hovertemplate=TEXT,
    )


def _chord(found: Any, colours: Palette) -> Any:
    """The straight line from none to all, which the point of best return stands highest above."""
    ends = found.main.points
    return go.Scatter(
        x=[0, ends[-1].size],
        y=[ends[0].told.value, ends[-1].told.value],
        mode="lines",
        line={"color": colours.hairline, "width": 1.5},
        hoverinfo="skip",
        showlegend=False,
        name="",
    )


def _marks(found: Any, colours: Palette) -> Any:
    """Where shares of the gain are reached, at the refusals that they mean."""
    points, told = found.main.points, found.main.told
    start, end = points[0].told.value, points[-1].told.value
    shares = list(told.needed.items())
    return go.Scatter(
        x=[one.value for _, one in shares],
        y=[start + share * (end - start) for share, _ in shares],
        error_x={
            "symmetric": False,
            "array": [one.high - one.value for _, one in shares],
            "arrayminus": [one.value - one.low for _, one in shares],
            "thickness": 1.5,
            "width": 4,
            "color": colours.ink,
        },
        mode="markers",
        name=f"{', '.join(f'{100 * share:g}' for share, _ in shares)} % of the gain",
        marker={
            "size": 9,
            "color": colours.card,
            "symbol": "diamond",
            "line": {"width": 1.5, "color": colours.ink},
        },
        text=[
            html(
                "<b>{:g} % of the gain</b><br>{} units [{}, {}]",
                100 * share, one.value, one.low, one.high,
            )
            for share, one in shares
        ],
        hovertemplate=TEXT,
    )  # fmt: skip


def _odds(
    curve: Any, split: str, at: int, colours: Palette, name: str, hollow: bool = False
) -> Any:
    main = at < 0
    values = [p.odds if split == "search" else p.odds_held_out for p in curve.points]
    colour = colours.grey if hollow else colours.blue if main else colours.muted
    symbol = "circle-open" if hollow else "circle" if main else _SYMBOLS[at % len(_SYMBOLS)]
    dash = "dash" if hollow else "solid" if main else _DASHES[at % len(_DASHES)]
    return go.Scatter(
        x=[point.size for point in curve.points],
        y=values,
        mode="lines+markers",
        name=safe(name),
        line={"color": colour, "width": 2.5 if main and not hollow else 1, "dash": dash},
        marker={"size": 7 if main else 6, "color": colour, "symbol": symbol},
        text=[
            html(
                "<b>{}, {} units</b><br>log-odds {}",
                name, point.size, "not read" if value is None else format(value, "+.2f"),
            )
            for point, value in zip(curve.points, values, strict=True)
        ],
        hovertemplate=TEXT,
    )  # fmt: skip
