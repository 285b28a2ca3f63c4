"""The what-if strip: refusal probability if just one layer were flipped, a cell a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from dapa.core.html import html
from dapa.core.masks import Unit
from dapa.figures.grid import grid
from dapa.figures.theme import number, palette


def what_if_strip(found: Any, layers: int, dark: bool = False) -> go.Figure:
    """One row of cells on the strip's columns, or a row a head; from 0 to 1 whatever the values.

    Args:
        found: As `localize.effects.WhatIfs`.
        layers: How many layers the pair has; those that were not flipped stay empty.
        dark: Colours for a dark page.
    """
    inside = [cell for cell in found.cells if 0 <= cell.unit.layer < layers]
    names = list(dict.fromkeys(_name(cell.unit) for cell in inside)) or [""]
    z = np.full((len(names), layers), np.nan)
    hovers = [["" for _ in range(layers)] for _ in names]
    for cell in inside:
        row = names.index(_name(cell.unit))
        z[row, cell.unit.layer] = cell.refusal
        verb = "transplanted" if cell.added else "taken back"
        sign = "+" if cell.effect > 0 else ""
        hovers[row][cell.unit.layer] = html(
            "<b>{} {}</b><br>refusal {}\u2009%, now {}\u2009%<br>log-odds {}{}",
            cell.unit, verb, number(100 * cell.refusal), number(100 * found.refusal), sign,
            number(cell.effect),
        )  # fmt: skip
    label = "probability that the reply opens with a refusal"
    shown = names if len(names) > 1 else ["if flipped"]
    return grid(z, shown, range(layers), hovers, label, palette(dark), top=1.0)


def _name(unit: Unit) -> str:
    """What tells a layer's units apart, as in `head[7]`."""
    return str(unit).partition(".")[2]
