"""A view of the pair as a file: one HTML page with live figures, a table, the record itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from dapa.figures.page import html_page
from dapa.tables import csv_text
from dapa.ui import download
from dapa.ui.views import views

Named = Callable[[Any], tuple[str, Any]]
"""What a browser looks at -> the view's name and its record; SettingError where there is none."""


def offer(buttons: Sequence[gr.Button], named: Named, shown: gr.State, carrier: gr.HTML) -> None:
    """Each button hands its file over: HTML, CSV and JSON, in this order."""

    def as_html(shown: Any) -> tuple[str, str]:
        name, record = named(shown)
        view = views[name]
        pictures = [(words.capitalize(), figure) for words, figure in view.figures(record, False)]
        page = html_page(view.heading, record.provenance, pictures, view.about)
        return f"dapa-{name}.html", page

    def as_csv(shown: Any) -> tuple[str, str]:
        name, record = named(shown)
        return f"dapa-{name}.csv", csv_text(*record.table(), record.provenance)

    def as_json(shown: Any) -> tuple[str, str]:
        name, record = named(shown)
        body = {**record.as_dict(), "provenance": record.provenance}
        return f"dapa-{name}.json", json.dumps(body, indent=2, allow_nan=False) + "\n"

    makers = {"html": as_html, "csv": as_csv, "json": as_json}
    for button, (word, make) in zip(buttons, makers.items(), strict=True):
        download.offer(button, make, [shown], carrier, f"view_{word}")
