"""A search's tests as a picture, live and stored; what it draws is made by `share.played`."""

from __future__ import annotations

import gradio as gr

from dapa.core.assets import asset
from dapa.ui.dashboard import script
from dapa.workbench import cells, encode


def picture(elem_id: str) -> gr.HTML:
    """The component; its value is what `encode` returns, or empty."""
    return gr.HTML(
        "",
        html_template=asset("html/replay.html").read_text(encoding="utf-8"),
        js_on_load=script("replay.js"),
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes="belongs",
    )


__all__ = ["cells", "encode", "picture"]
