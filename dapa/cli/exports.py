"""A result that can also be a figure and a table: `--json`, `--html` and `--csv`, any of them."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from dapa.cli.output import Output
from dapa.core.records import SettingError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Html = Annotated[
    str | None,
    typer.Option(
        "--html", metavar="FILE", help="Write the figures as one HTML file that works offline."
    ),
]
Csv = Annotated[
    str | None,
    typer.Option(
        "--csv", metavar="FILE|-", help="Write the numbers as CSV; - is the standard output."
    ),
]
Drawings = Callable[[], "Sequence[tuple[str, Figure]]"]
"""(caption, figure) from top to bottom, drawn only where they are asked for."""


class Exports:
    """Where a command's result goes; made before the work, so that a bad file name costs none."""

    def __init__(self, json: str | None, html: str | None, csv: str | None) -> None:
        """Check every target."""
        if html == "-":
            raise SettingError("the HTML page goes to a file; give --html a name")
        if json == "-" and csv == "-":
            raise SettingError("JSON and CSV cannot both go to the standard output; name a file")
        named = [name for name in (json, html, csv) if name not in (None, "-")]
        for i, name in enumerate(named):
            if name in named[:i]:
                raise SettingError(f"{name} is named twice; give each format its own file")
        self._out = Output(json)
        self._html, self._csv = html, csv
        self._stop = threading.Event()
        for target in (html, csv):
            Output(target)

    @contextmanager
    def stoppable(self) -> Iterator[threading.Event]:
        """An event that the first Ctrl-C sets, to end with what there is; the second interrupts."""
        if threading.current_thread() is not threading.main_thread():
            yield self._stop
            return

        def ask(*_: Any) -> None:
            self._stop.set()
            signal.signal(signal.SIGINT, before)

        before = signal.signal(signal.SIGINT, ask)
        try:
            yield self._stop
        finally:
            signal.signal(signal.SIGINT, before)

    def result(
        self,
        body: Mapping[str, Any],
        title: str,
        provenance: str,
        sheet: tuple[Sequence[str], Sequence[Sequence[Any]]],
        drawings: Drawings,
        *shown: RenderableType,
        note: str = "",
    ) -> None:
        """Hand over the result; exit code 130 where Ctrl-C cut it short.

        Args:
            body: As JSON, to which the provenance is added.
            title: Of the HTML page.
            provenance: One line that says where the numbers come from, for both files.
            sheet: Headers and rows of the CSV.
            drawings: The figures of the page.
            shown: For people, where nothing else goes to the standard output.
            note: How to read the page.
        """
        body = {**body, "provenance": provenance}
        if self._html is not None:
            from dapa.figures.html_page import html_page

            _write(self._html, html_page(title, provenance, drawings(), note))
        if self._csv is not None:
            from dapa.writing.tables import csv_text

            text = csv_text(*sheet, provenance)
            if self._csv == "-":
                sys.stdout.write(text)
            else:
                _write(self._csv, text)
        if self._csv != "-":
            self._out.result(body, *shown)
        elif self._out.target is not None:
            self._out.result(body)
        if self._stop.is_set():
            raise typer.Exit(130)


def _write(target: str, text: str) -> None:
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingError(f"cannot write {target}: {error.strerror}") from error
