"""A measurement is one record: what it asks, and how it is computed, drawn, written, exported.

Screen, command line and report iterate the same table of these, so a new measurement is one file in
`dapa.workbench.measurements` and, if it has a picture of its own, one figure. What a measurement
says to people is written once, as a finding, tables and notes; a terminal and a page each show that
in their way. This module knows no model, no screen and no plot.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from dapa.core.masks import EMPTY, Mask
from dapa.core.rates import Rate
from dapa.core.registry import Registry
from dapa.core.settings import Settings

Progress = Callable[[str, float | None], None]
"""(what is being done, share done in [0, 1] or None)."""
Subject = Literal["pair", "files", "prompt", "search"]
"""What is measured: a loaded pair, two checkpoints' files, one prompt, or a finished search."""


class Record(Protocol):
    """What comes out of a measurement: frozen, without a model in it."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""

    def table(self) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
        """Headers and rows of the CSV: every number that was measured."""

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval, as a cell of a table."""

    value: float
    low: float | None = None
    high: float | None = None
    form: str = "+.2f"
    """How each number is written."""


@dataclass(frozen=True)
class Dots:
    """Rates on a scale from 0 to 1, as a cell: drawn on a page, left out in a terminal."""

    marks: tuple[tuple[Rate, str, str], ...]
    """(rate, look: blue, orange, grey or open; label) a dot."""


Cell = str | int | float | Rate | Interval | Dots | None


@dataclass(frozen=True)
class Table:
    """A table for people; None is drawn as a dash."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    about: str = ""
    strong: frozenset[int] = frozenset()
    """Rows that stand out."""


@dataclass(frozen=True)
class Shown:
    """What a record says to people, in plain text."""

    finding: str
    """One sentence or two, hedged where an interval includes zero."""
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """What a measurement is called with."""

    bench: Any
    """The workbench."""
    settings: Any
    """Of the measurement's own class."""
    progress: Progress
    stop: threading.Event
    """Set, and what was measured so far is returned."""
    mask: Mask = EMPTY
    """What is transplanted, where the measurement shows the patched model."""
    job: Any = None
    """The finished search, where one is measured."""

    def counted(self, what: str) -> Callable[[int, int], None]:
        """A progress of (done, all) as one of a share."""

        def heard(done: int, total: int) -> None:
            self.progress(f"{what}: {done:,} of {total:,}", done / total if total else 0.0)

        return heard


def _nothing(job: Any) -> str:
    return ""


@dataclass(frozen=True)
class Measurement:
    """One measurement. Texts are plain: whoever shows them escapes them."""

    title: str
    """On its button, two or three words."""
    heading: str
    """What is seen."""
    asks: str
    """What it does, as a sentence in the imperative: the command's help."""
    how: str
    """How it is measured and how to read it."""
    of: Subject
    settings: type[Settings]
    measure: Callable[[Call], Any]
    """Gives a `Record`; imports heavy rooms late, since every command's help needs this table."""
    describe: Callable[[Any], Shown]
    """The record in words and tables."""
    figures: Callable[[Any, bool], Sequence[tuple[str, Any]]] | None = None
    """(record, dark page?) -> (caption, plotly figure), from top to bottom."""
    by_layer: bool = False
    """Are the figures' columns layers, so that a press on one toggles it?"""
    masked: bool = False
    """Does it show the patched model, so that it depends on the mask?"""
    behind: Callable[[Any, int, str], list[tuple[str, float]]] | None = None
    """(record, layer, row of the picture) -> the prompts behind that cell with their values."""
    refuses: Callable[[Any], str] = _nothing
    """Why it cannot be measured on this search, and what to do; empty where it can."""
    command: str = ""
    """The command's name where it is not the measurement's; "-" for none."""
    screen: bool = True
    """Is it among the buttons?"""


measurements: Registry[Measurement] = Registry("measurement")
"""Name -> measurement, in their order; `dapa.workbench.measurements` fills it."""
