"""A search while it runs: which units each test held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dapa.core.records import Trial, Unit
from dapa.figures.theme import Palette, axis, corner, figure, palette, ticks
from dapa.figures.trials import chunk_lines, column_names, describe, kinds, plain

_EMPTY, _SATISFIES, _FAILS, _OPEN = 0, 1, 2, 3
_MEMO = 3  # added to satisfies and fails where the answer came from memory
_TALL, _LOW = 14, 2  # pixels a test: few tests, many tests
_MOST = 900  # pixels that the tests may take before rows reach their lowest


def search_heatmap(trials: Sequence[Trial], units: Sequence[Unit], dark: bool = False) -> go.Figure:
    """A row per test from the top, a column per unit; filled = transplanted.

    Blue rows satisfy the target, orange ones fail, grey ones are open. The mark at a row's end
    says the same by its shape, hollow and paler where the answer came from memory. Fine lines show
    where the algorithm cuts its chunks.
    """
    colours = palette(dark)
    units, count = tuple(units), len(trials)
    place = {unit: i for i, unit in enumerate(units)}
    z = np.zeros((count, len(units)), dtype=np.int8)  # (tests, units)
    for row, trial in enumerate(trials):
        code = _code(trial)
        for unit in trial.outcome.mask.units:
            if unit in place:
                z[row, place[unit]] = code
    pixels = max(_LOW, min(_TALL, _MOST // max(count, 1)))
    gutter = max(1.2, 0.045 * len(units))
    heat = go.Heatmap(
        z=z,
        x=list(range(len(units))),
        y=[trial.index + 1 for trial in trials],
        zmin=-0.5,
        zmax=5.5,
        colorscale=_codes(colours),
        showscale=False,
        xgap=1,
        ygap=1 if pixels >= 5 else 0,
        hoverinfo="skip",
    )
    first = trials[0].index + 1 if trials else 1
    bottom = max(first + count, first + 1) - 0.5
    return figure(
        colours,
        max(count, 6) * pixels + 36 + 28,
        [
            heat,
            _borders(trials, units, colours),
            *_marks(trials, units, len(units) - 0.5 + gutter / 2, min(8, max(4, pixels - 4)), dark),
        ],
        margin={"l": 48, "r": 8, "t": 36, "b": 28},
        hovermode="closest",
        xaxis={
            **axis(colours, **ticks(column_names(units))),
            "range": [-0.5, len(units) - 0.5 + gutter],
        },
        yaxis=axis(colours, title="test", range=[bottom, first - 0.5], nticks=12, tickformat="d"),
        annotations=[corner(colours, "layer" if plain(units) else "unit")],
    )


def _code(trial: Trial) -> int:
    satisfied = trial.outcome.satisfied
    if satisfied is None:
        return _OPEN
    return (_SATISFIES if satisfied else _FAILS) + (_MEMO if trial.memo else 0)


def _codes(colours: Palette) -> list[list[Any]]:
    """One flat colour per code, in steps of a sixth."""
    flat = [
        colours.empty,
        colours.blue,
        colours.orange,
        colours.grey,
        colours.blue_soft,
        colours.orange_soft,
    ]
    edges = [[edge, colour] for i, colour in enumerate(flat) for edge in (i / 6, (i + 1) / 6)]
    return edges


def _marks(
    trials: Sequence[Trial], units: Sequence[Unit], x: float, size: int, dark: bool
) -> list[Any]:
    """A mark at each row's end, which carries the hover and, by its shape, the legend."""
    colours = palette(dark)
    traces = []
    for name, wanted, colour, symbol, hollow in kinds(colours):
        for memo in (False, True):
            rows = [t for t in trials if t.outcome.satisfied is wanted and t.memo is memo]
            traces.append(
                go.Scatter(
                    x=[x] * len(rows),
                    y=[t.index + 1 for t in rows],
                    mode="markers",
                    name=name + (", from memory" if memo else ""),
                    marker={"size": size, "color": colour, "symbol": hollow if memo else symbol},
                    text=[describe(t) for t in rows],
                    hovertemplate="%{text}<extra></extra>",
                    showlegend=bool(rows),
                    cliponaxis=False,
                )
            )
    return traces


def _borders(trials: Sequence[Trial], units: tuple[Unit, ...], colours: Palette) -> go.Scatter:
    """Lines between the chunks of what is left, through all rows in which they stay put."""
    first = trials[0].index + 1 if trials else 1
    xs: list[float | None] = []
    ys: list[float | None] = []
    for column, start, stop in chunk_lines(trials, units):
        xs += [column - 0.5, column - 0.5, None]
        ys += [first + start - 0.5, first + stop + 0.5, None]
    return go.Scatter(
        x=xs,
        y=ys,
        mode="lines",
        line={"color": colours.ink, "width": 1},
        opacity=0.55,
        hoverinfo="skip",
        showlegend=False,
    )
