"""The DSR that each test of a search reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from dapa.core.records import Trial
from dapa.figures.theme import Palette, axis, corner, figure, palette
from dapa.figures.trials import describe, kinds

_ENDS = {True: "triangle-up", False: "triangle-down", None: "line-ew"}


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
    for name, wanted, colour, symbol, _ in kinds(colours):
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
        traces.append(_whiskers(name, bounded, colour))
    last = max((t.index + 1 for t in trials), default=1)
    shapes, notes = _levels(trials, target, colours)
    return figure(
        colours,
        240,
        traces,
        margin={"l": 40, "r": 96, "t": 28, "b": 28},
        hovermode="closest",
        xaxis=axis(colours, range=[0.3, last + 0.7], tickformat="d", nticks=8),
        yaxis=axis(
            colours,
            range=[-0.04, 1.06],
            tickvals=[0, 0.5, 1],
            showgrid=True,
            gridcolor=colours.hairline,
            fixedrange=True,
        ),
        shapes=shapes,
        annotations=[corner(colours, "test"), *notes],
    )


def _whiskers(name: str, trials: Sequence[Trial], colour: str) -> go.Scatter:
    """Bounds of curtailed tests; a triangle sits on the end that decided, pointing inwards."""
    ends = [t.outcome.bounds for t in trials]
    reached = [bool(t.outcome.satisfied) for t in trials]  # then the lower bound decided
    spans = [high - low for low, high in ends]
    return go.Scatter(
        x=[t.index + 1 for t in trials],
        y=[low if up else high for up, (low, high) in zip(reached, ends, strict=True)],
        error_y={
            "symmetric": False,
            "array": [span if up else 0.0 for up, span in zip(reached, spans, strict=True)],
            "arrayminus": [0.0 if up else span for up, span in zip(reached, spans, strict=True)],
            "thickness": 1.5,
            "width": 2,
            "color": colour,
        },
        mode="markers",
        name=f"{name}, bounds",
        marker={
            "size": 7,
            "color": colour,
            "symbol": [_ENDS[t.outcome.satisfied] for t in trials],
        },
        text=[describe(t) for t in trials],
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )


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
