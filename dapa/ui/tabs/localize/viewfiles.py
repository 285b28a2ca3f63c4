"""What a picture shows, as a file: one HTML page with live figures, a table, the record itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dapa.core.errors import SettingError
from dapa.figures.html_page import html_page
from dapa.ui import download
from dapa.ui.dashboard import guarded
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


@dataclass(frozen=True)
class Files:
    """A row of buttons that hand a record over; hidden until there is one."""

    row: gr.Row
    buttons: tuple[gr.Button, ...]
    carrier: gr.HTML


def build(elem_id: str) -> Files:
    """Layout: HTML, CSV and JSON."""
    with gr.Row(elem_classes="buttons", visible=False, elem_id=elem_id) as row:
        buttons = tuple(
            gr.Button(f"Download {word}", elem_classes="plain", elem_id=f"{elem_id}-{word.lower()}")
            for word in ("HTML", "CSV", "JSON")
        )
    return Files(row, buttons, download.carrier(f"{elem_id}-file"))


def wire(
    files: Files, told: Callable[[Any], Told], shown: gr.State, when: gr.State, api_name: str
) -> None:
    """Hand over what is shown, and show the row while there is something; see `offer`.

    Args:
        files: From `build`.
        told: As in `offer`.
        shown: What a browser looks at.
        when: What changes with it.
        api_name: Of the handlers.
    """

    @guarded
    def seen(shown: Any) -> Any:
        try:
            told(shown)
        except SettingError:
            return gr.update(visible=False)
        return gr.update(visible=True)

    when.change(seen, shown, files.row, api_name=f"{api_name}_files", show_progress="hidden")
    offer(files.buttons, told, shown, files.carrier, api_name)


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
