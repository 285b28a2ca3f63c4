"""Figures as the page is given them: with a ground of their own, an origin and a file name.

A picture saved by the camera button leaves the page, so it says itself what it is and where its
numbers come from.
"""

from __future__ import annotations

import json
from typing import Any

from gradio.components.plot import PlotData

from dapa.figures.html_page import saved_as
from dapa.figures.theme import palette, provenanced

_WIDE = 160
"""Characters a line of the small print: a page is wider than a picture that is taken away. Where it
has no room, below 960 pixels, it is not shown (see dapa.css)."""


def drawn(figure: Any, name: str, line: str, dark: bool) -> PlotData:
    """A figure for a plot component.

    Args:
        figure: One of `dapa.figures`, not shown before: it is changed.
        name: What it is called; a picture of it is saved as dapa-NAME.png.
        line: Where its numbers come from: pair, prompts, n, seed.
        dark: Is the page dark?
    """
    figure = provenanced(figure, line, dark, _WIDE)
    figure.update_layout(paper_bgcolor=palette(dark).card)
    body = json.loads(figure.to_json())
    body["config"] = {"displaylogo": False, "toImageButtonOptions": saved_as(name)}
    return PlotData(type="plotly", plot=json.dumps(body))
