"""A figure for a page that is light or dark as its reader likes: drawn for both, as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from dapa.figures.html_page import saved_as

Draw = Callable[[bool], go.Figure]
"""dark -> the figure."""


def both_themes(draw: Draw, name: str) -> dict[str, Any]:
    """Data, layout and options of a figure on a light and on a dark page.

    Args:
        draw: Draws it.
        name: What a saved picture is called.
    """
    config = {"displaylogo": False, "responsive": True, "toImageButtonOptions": saved_as(name)}
    made = {
        word: json.loads(draw(dark).to_json()) for word, dark in (("light", False), ("dark", True))
    }
    return {**made, "config": config, "height": made["light"]["layout"].get("height", 360)}


def plotly_script() -> str:
    """Plotly's own source, to stand inside of a page."""
    return get_plotlyjs()
