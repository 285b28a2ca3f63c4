"""Hand a text to the browser as a file: made on the server when it is asked for, never on its disk.

The text travels as an event's value and becomes a file in the page itself, so that no folder of the
server has to be opened to browsers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from dapa.core.html import Html, html
from dapa.ui.dashboard import guarded, piece

TYPES = {".json": "application/json", ".md": "text/markdown", ".csv": "text/csv"}
TYPES |= {".html": "text/html"}


def carrier(elem_id: str) -> gr.HTML:
    """An invisible piece that turns what is put into it into a file."""
    return piece("", "download.js", elem_id=elem_id, elem_classes="carrier")


def packed(name: str, text: str) -> Html:
    """A file for a carrier: its name and its text."""
    kind = TYPES.get(name[name.rfind(".") :], "text/plain")
    body = json.dumps({"name": name, "type": f"{kind};charset=utf-8", "text": text})
    return html('<i data-file="{}"></i>', body)


def offer(
    button: gr.Button,
    make: Callable[..., tuple[str, str]],
    inputs: Sequence[Any],
    into: gr.HTML,
    api_name: str,
    named: Mapping[str, Any] | None = None,
) -> Any:
    """Pressing `button` downloads what `make(*inputs, **named)` gives: (file name, text)."""

    @guarded
    def pack(*values: Any, **given: Any) -> Html:
        return packed(*make(*values, **given))

    return button.click(
        pack, list(inputs), into, inputs_kwargs=dict(named or {}), api_name=api_name,
        show_progress="hidden",
    )  # fmt: skip
