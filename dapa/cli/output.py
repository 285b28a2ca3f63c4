"""What a command says: JSON or sentences and tables for its result, progress on the other stream.

Model text and file names may hold anything, so control characters never reach the terminal and
nothing is read as markup.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unicodedata import category

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from dapa.core.measurement import Interval
from dapa.core.records import Rate, SettingError
from dapa.writing.numbers import rate_text

Report = Callable[[str, float | None], None]
"""(what is being done, share done in [0, 1] or None)."""
_WIDE = 140
"""Columns where the output is no terminal: a pipe has no edge to wrap at."""

_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def plain(text: str) -> str:
    """`text` with control, surrogate and direction-changing characters made visible."""
    return "".join(
        c.encode("unicode_escape").decode("ascii")
        if c not in "\n\t" and (category(c) in ("Cc", "Cs") or c in _DIRECTIONS)
        else c
        for c in text
    )


def one_line(text: str) -> str:
    """A message as one line."""
    return " ".join(plain(text).split())


def cell(value: Any) -> Text:
    """Anything as a table's cell: rates with their interval, None as a dash."""
    if value is None:
        return Text("-", "dim")
    if isinstance(value, Rate):
        return Text(rate_text(value), no_wrap=True)
    if isinstance(value, Interval):
        return Text(value.text)
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    return Text(plain(str(value)))


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[Any]],
    title: str = "",
    strong: Collection[int] = (),
) -> Table:
    """A plain table; the rows `strong` stand out."""
    made = Table(title=title or None, title_justify="left", title_style="bold")
    for header in headers:
        made.add_column(header)
    for i, row in enumerate(rows):
        made.add_row(*map(cell, row), style="bold" if i in strong else None)
    return made


def console(stderr: bool = False) -> Console:
    """A console that neither marks up nor wraps what it is given."""
    width = None if (sys.stderr if stderr else sys.stdout).isatty() else _WIDE
    return Console(stderr=stderr, markup=False, highlight=False, width=width)


class Output:
    """Where a command's result goes; made before the work, so that a bad file name costs none."""

    def __init__(self, target: str | None) -> None:
        """`target` is a file for JSON, `-` for JSON on stdout, None for people on stdout."""
        self.target = target
        if target is not None and target != "-":
            path = Path(target)
            if path.is_dir() or not path.absolute().parent.is_dir():
                raise SettingError(f"cannot write {target}: give a file in a folder that exists")
            if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
                raise SettingError(f"cannot write {target}: no permission; give another file")

    def result(self, body: Mapping[str, Any], *shown: RenderableType) -> None:
        """Hand over the result: `body` as JSON, or `shown` for people (on stderr beside a file)."""
        if self.target == "-":
            sys.stdout.write(_json(body))
            sys.stdout.flush()
            return
        if self.target is not None:
            try:
                Path(self.target).write_text(_json(body), encoding="utf-8")
            except OSError as error:
                raise SettingError(f"cannot write {self.target}: {error.strerror}") from error
        screen = console(stderr=self.target is not None)
        for part in shown:
            screen.print(Text(plain(part)) if isinstance(part, str) else part, soft_wrap=False)


def _json(body: Mapping[str, Any]) -> str:
    return json.dumps(body, indent=2, allow_nan=False) + "\n"


@contextmanager
def progress() -> Iterator[Report]:
    """A bar on stderr where that is a terminal; else silence, so that an error is the only line."""
    if not sys.stderr.isatty():
        yield lambda what, share: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(20))
    with Progress(
        *columns, TimeElapsedColumn(), console=console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task("", total=None)

        def report(what: str, share: float | None) -> None:
            total = None if share is None else 1.0
            bar.update(task, description=one_line(what), completed=share or 0.0, total=total)

        yield report
