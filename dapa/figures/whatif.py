"""The what-if strip: refusal probability if just one layer were flipped, a cell a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from dapa.figures.grid import grid
from dapa.figures.theme import number, palette, safe


def what_if_strip(found: Any, layers: int, dark: bool = False) -> go.Figure:
    """One row of cells on the strip's columns, from 0 to 1 whatever the values.

    Args:
        found: As `localize.effects.WhatIfs`.
        layers: How many layers the pair has; those that were not flipped stay empty.
        dark: Colours for a dark page.
    """
    z = np.full((1, layers), np.nan)
    hovers = [["" for _ in range(layers)]]
    for cell in found.cells:
        if not 0 <= cell.unit.layer < layers:
            continue
        z[0, cell.unit.layer] = cell.refusal
        verb = "transplanted" if cell.added else "taken back"
        sign = "+" if cell.effect > 0 else ""
        hovers[0][cell.unit.layer] = (
            f"<b>{safe(str(cell.unit))} {verb}</b><br>refusal {number(100 * cell.refusal)}\u2009%, "
            f"now {number(100 * found.refusal)}\u2009%<br>log-odds {sign}{number(cell.effect)}"
        )
    label = "probability that the reply opens with a refusal"
    return grid(z, ["if flipped"], range(layers), hovers, label, palette(dark), top=1.0)
