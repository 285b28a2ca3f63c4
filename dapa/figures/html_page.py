"""Figures as one HTML file that needs nothing else: plotly.js inside, no outside request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio

from dapa.core.html import Html, foreign, html, joined, when
from dapa.figures.theme import provenanced

_CONFIG = {"displaylogo": False, "responsive": True}
_POLICY = html(
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)
POLICY = str(_POLICY)
"""What the browser lets the page do: run what it holds, and ask nobody."""
_STYLE = html("""
:root {{ color-scheme: light; --font: system-ui, sans-serif }}
body {{ font: 15px/1.5 var(--font); color: #1B2430; background: #FFFFFF; margin: 0 auto;
  max-width: 1100px; padding: 24px 16px 48px }}
h1 {{ font-size: 22px; font-weight: 600; margin: 0 0 4px }}
p {{ margin: 0 0 12px; color: #5B6673; overflow-wrap: anywhere }}
figure {{ margin: 24px 0 0 }}
figcaption {{ font-weight: 600; margin: 0 0 4px }}
""")


def html_page(
    title: str, provenance: str, figures: Sequence[tuple[str, go.Figure]], note: str = ""
) -> Html:
    """One whole HTML document.

    Args:
        title: What the page shows.
        provenance: Where its numbers come from: pair, prompts, metric, n, seed.
        figures: (caption, figure) from top to bottom.
        note: How to read it, in a sentence or two.
    """
    parts = []
    for i, (caption, figure) in enumerate(figures):
        body = pio.to_html(
            provenanced(go.Figure(figure), provenance),
            config={**_CONFIG, "toImageButtonOptions": saved_as(f"{title} {caption}")},
            include_plotlyjs=i == 0,
            full_html=False,
            div_id=f"figure-{i}",
        )
        drawn = foreign(body)
        parts.append(html("<figure><figcaption>{}</figcaption>{}</figure>", caption, drawn))
    return html(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width">'
        "<title>{title}</title><style>{style}</style></head><body>"
        '<h1>{title}</h1>{told}<p id="provenance">{provenance}</p>'
        "{figures}</body></html>\n",
        policy=_POLICY, title=title, style=_STYLE, told=when(note, "<p>{}</p>", note),
        provenance=provenance, figures=joined(parts),
    )  # fmt: skip


def saved_as(name: str) -> dict[str, Any]:
    """The camera button's options: twice the screen's points, and a plain file name."""
    plain = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")
    return {"format": "png", "filename": f"dapa-{plain}"[:80], "scale": 2}
