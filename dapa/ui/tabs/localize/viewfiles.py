"""What a picture shows, as a file: one HTML page with live figures, a table, the record itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dapa.figures.html_page import html_page
from dapa.ui import download
from dapa.writing.tables import csv_text


@dataclass(frozen=True)
class Told:
    """One record, as its files want it."""

    name: str
    """Of the files, behind `dapa-`."""
    heading: str
    provenance: str
    pictures: Callable[[], Sequence[tuple[str, Any]]]
    """(caption, figure) of each."""
    table: Callable[[], tuple[Sequence[str], Sequence[Sequence[Any]]]]
    body: Callable[[], Mapping[str, Any]]
    about: str = ""


def offer(
    buttons: Sequence[gr.Button], told: Callable[[Any], Told], shown: gr.State, carrier: gr.HTML,
    api_name: str,
) -> None:  # fmt: skip
    """Each button hands its file over: HTML, CSV and JSON, in this order.

    Args:
        buttons: The three.
        told: What a browser looks at -> its record; SettingError where there is none.
        shown: What it looks at.
        carrier: Of `download.carrier`.
        api_name: Of the handlers, before `_html`, `_csv` and `_json`.
    """

    def as_html(shown: Any) -> tuple[str, str]:
        one = told(shown)
        pictures = [(caption.capitalize(), figure) for caption, figure in one.pictures()]
        return f"dapa-{one.name}.html", html_page(one.heading, one.provenance, pictures, one.about)

    def as_csv(shown: Any) -> tuple[str, str]:
        one = told(shown)
        return f"dapa-{one.name}.csv", csv_text(*one.table(), one.provenance)

    def as_json(shown: Any) -> tuple[str, str]:
        one = told(shown)
        body = {**one.body(), "provenance": one.provenance}
        return f"dapa-{one.name}.json", json.dumps(body, indent=2, allow_nan=False) + "\n"

    makers = {"html": as_html, "csv": as_csv, "json": as_json}
    for button, (word, make) in zip(buttons, makers.items(), strict=True):
        download.offer(button, make, [shown], carrier, f"{api_name}_{word}")
