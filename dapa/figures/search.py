"""A search while it runs: which units each test held, and the DSR it reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dapa.figures.theme import Palette, axis, figure, palette, safe, ticks
from dapa.records import Trial, Unit

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
        max(count, 6) * pixels + 36 + 40,
        [
            heat,
            _borders(trials, units, place, colours),
            *_marks(trials, units, len(units) - 0.5 + gutter / 2, min(8, max(4, pixels - 4)), dark),
        ],
        margin={"l": 48, "r": 8, "t": 36, "b": 40},
        hovermode="closest",
        xaxis={
            **axis(colours, title="layer" if _plain(units) else "unit", **ticks(_names(units))),
            "range": [-0.5, len(units) - 0.5 + gutter],
        },
        yaxis=axis(colours, title="test", range=[bottom, first - 0.5], nticks=12, tickformat="d"),
    )


def dsr_curve(
    trials: Sequence[Trial], target: float | None = None, dark: bool = False
) -> go.Figure:
    """DSR of each test: a point where all prompts were judged, else a whisker for its bounds.

    Args:
        trials: The search's log.
        target: What a mask must reach, as a DSR; a dashed line.
        dark: Colours for a dark page.
    """
    colours = palette(dark)
    traces: list[Any] = []
    for name, wanted, colour, symbol, _ in _kinds(colours):
        members = [t for t in trials if t.outcome.satisfied is wanted and t.outcome.asked]
        known = [t for t in members if t.outcome.dsr is not None]
        bounded = [t for t in members if t.outcome.dsr is None]
        traces.append(
            go.Scatter(
                x=[t.index + 1 for t in known],
                y=[t.outcome.dsr for t in known],
                mode="markers",
                name=name,
                marker={"size": 8, "color": colour, "symbol": symbol},
                text=[describe(t) for t in known],
                hovertemplate="%{text}<extra></extra>",
                showlegend=bool(known),
            )
        )
        low, high = ([t.outcome.bounds[end] for t in bounded] for end in (0, 1))
        traces.append(
            go.Scatter(
                x=[t.index + 1 for t in bounded],
                y=[(a + b) / 2 for a, b in zip(low, high, strict=True)],
                error_y={
                    "array": [(b - a) / 2 for a, b in zip(low, high, strict=True)],
                    "thickness": 1.5,
                    "width": 3,
                    "color": colour,
                },
                mode="markers",
                name=f"{name}, bounds",
                marker={"size": 9, "color": "rgba(0,0,0,0)", "symbol": "circle"},
                text=[describe(t) for t in bounded],
                hovertemplate="%{text}<extra></extra>",
                showlegend=False,
            )
        )
    last = max((t.index + 1 for t in trials), default=1)
    shapes, notes = _levels(trials, target, colours)
    return figure(
        colours,
        240,
        traces,
        margin={"l": 40, "r": 96, "t": 28, "b": 40},
        hovermode="closest",
        xaxis=axis(colours, title="test", range=[0.3, last + 0.7], tickformat="d", nticks=8),
        yaxis=axis(
            colours,
            range=[-0.04, 1.06],
            tickvals=[0, 0.5, 1],
            showgrid=True,
            gridcolor=colours.hairline,
            fixedrange=True,
        ),
        shapes=shapes,
        annotations=notes,
    )


def describe(trial: Trial) -> str:
    """A test in words, for the hover."""
    outcome = trial.outcome
    low, high = outcome.bounds
    score = f"DSR {low:.2f}" if outcome.full else f"DSR between {low:.2f} and {high:.2f}"
    layers = ", ".join(map(str, outcome.mask.layers[:12])) or "none"
    more = " …" if len(outcome.mask.layers) > 12 else ""
    word = {True: "satisfies", False: "fails", None: "open"}[outcome.satisfied]
    parts = [
        f"<b>test {trial.index + 1} · {word}</b>",
        f"{score}, {outcome.judged} of {outcome.asked} prompts judged",
        f"{len(outcome.mask)} transplanted, layers {layers}{more}",
        safe(trial.phase)
        + (f" · {trial.granularity} chunks" if trial.granularity else "")
        + (" · from memory" if trial.memo else f" · {trial.seconds:.1f} s"),
    ]
    return "<br>".join(parts)


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


def _kinds(colours: Palette) -> list[tuple[str, bool | None, str, str, str]]:
    """(words, satisfied, colour, symbol, hollow symbol)."""
    return [
        ("reaches the target", True, colours.blue, "circle", "circle-open"),
        ("does not", False, colours.orange, "x", "x-open"),
        ("open", None, colours.grey, "square", "square-open"),
    ]


def _marks(
    trials: Sequence[Trial], units: Sequence[Unit], x: float, size: int, dark: bool
) -> list[Any]:
    """A mark at each row's end, which carries the hover and, by its shape, the legend."""
    colours = palette(dark)
    traces = []
    for name, wanted, colour, symbol, hollow in _kinds(colours):
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


def _borders(
    trials: Sequence[Trial], units: tuple[Unit, ...], place: dict[Unit, int], colours: Palette
) -> go.Scatter:
    """Lines between the chunks of what is left, through all rows in which they stay put."""
    kept = units
    open_lines: dict[float, int] = {}  # x -> the first row it passes
    lines: list[tuple[float, int, int]] = []
    row = 0
    for trial in trials:
        row = trial.index + 1
        here: set[float] = set()
        if trial.granularity and 1 < trial.granularity < len(kept):
            starts = _starts(len(kept), trial.granularity)[1:]
            here = {place[kept[i]] - 0.5 for i in starts}
        for x in set(open_lines) - here:
            lines.append((x, open_lines.pop(x), row - 1))
        for x in here - set(open_lines):
            open_lines[x] = row
        if trial.granularity and trial.outcome.satisfied:
            kept = tuple(unit for unit in trial.outcome.mask.units if unit in place)
    lines += [(x, start, row) for x, start in open_lines.items()]
    xs: list[float | None] = []
    ys: list[float | None] = []
    for x, start, stop in sorted(lines):
        xs += [x, x, None]
        ys += [start - 0.5, stop + 0.5, None]
    return go.Scatter(
        x=xs,
        y=ys,
        mode="lines",
        line={"color": colours.ink, "width": 1},
        opacity=0.55,
        hoverinfo="skip",
        showlegend=False,
    )


def _starts(count: int, parts: int) -> list[int]:
    """Where `parts` runs begin whose lengths differ by at most one; as `search.ddmin` cuts."""
    size, rest = divmod(count, parts)
    return [i * size + min(i, rest) for i in range(parts)]


def _levels(
    trials: Sequence[Trial], target: float | None, colours: Palette
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Lines for student, full mask and target, with labels that keep apart."""
    opening = [t.outcome for t in trials if t.phase == "opening" and t.outcome.dsr is not None]
    levels: list[tuple[float, str, str, str]] = []
    student = next((o for o in opening if not len(o.mask)), None)
    full = max((o for o in opening if len(o.mask)), key=lambda o: len(o.mask), default=None)
    if student is not None and student.dsr is not None:
        levels.append((student.dsr, f"student {student.dsr:.2f}", colours.grey, "dot"))
    if full is not None and full.dsr is not None:
        levels.append((full.dsr, f"full {full.dsr:.2f}", colours.blue, "dot"))
    if target is not None:
        levels.append((target, f"target {target:.2f}", colours.ink, "dash"))
    shapes, notes, above = [], [], -1.0
    for y, text, colour, dash in sorted(levels):
        shapes.append(
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": y,
                "y1": y,
                "line": {"color": colour, "width": 1, "dash": dash},
                "layer": "below",
            }
        )
        above = max(y, above + 0.09)
        notes.append(
            {
                "xref": "paper",
                "x": 1,
                "xanchor": "left",
                "xshift": 6,
                "y": above,
                "text": text,
                "showarrow": False,
                "font": {"color": colour, "size": 11},
            }
        )
    return shapes, notes


def _plain(units: Sequence[Unit]) -> bool:
    """Is there one whole unit per layer, so that a layer's number names it?"""
    return len({u.layer for u in units}) == len(units)


def _names(units: Sequence[Unit]) -> list[str]:
    return [str(u.layer) for u in units] if _plain(units) else [str(u) for u in units]
