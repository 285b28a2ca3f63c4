"""A measurement is one record: what it asks, and how it is computed, drawn, written, exported.

Screen, command line and report iterate the same table of these, so a new measurement is one file in
`dapa.workbench.measurements` and, if it has a picture of its own, one figure. What a measurement
says to people is written once, as a finding, tables and notes; a terminal and a page each show that
in their way. This module knows no model, no screen and no plot.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from dapa.core.masks import EMPTY, Mask, Unit
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

    @property
    def ends(self) -> str:
        """The interval, as in `[+0.80, +1.60]`; empty where there is none."""
        if self.low is None or self.high is None:
            return ""
        return f"[{self._written(self.low)}, {self._written(self.high)}]"

    @property
    def text(self) -> str:
        """Number and interval."""
        return f"{self.number} {self.ends}".rstrip()

    @property
    def number(self) -> str:
        """The number alone."""
        return self._written(self.value)

    def _written(self, value: float) -> str:
        """With a minus sign, which is no hyphen; what rounds to nothing has no sign."""
        told = format(value, self.form)
        if any(digit in told for digit in "123456789"):
            return told.replace("-", "\u2212")
        return told.lstrip("+-")


@dataclass(frozen=True)
class Dots:
    """Rates on a scale from 0 to 1, as a cell: drawn on a page, left out in a terminal."""

    marks: tuple[tuple[Rate, str, str], ...]
    """(rate, look: blue, orange, grey or open; label) a dot."""
    target: float | None = None
    """A line that the rates are held against."""


Cell = str | bool | int | float | Rate | Interval | Dots | Unit | None
"""A unit is named as its place suits: `3.gate` in a terminal, `layer 3` on a page."""


@dataclass(frozen=True)
class Table:
    """A table for people; None is drawn as a dash, a yes as a badge."""

    head: Sequence[str]
    """A second line of a name, behind a line break, is its unit."""
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    about: str = ""
    strong: frozenset[int] = frozenset()
    """Rows that stand out."""
    drawn: bool = False
    """Does a picture show the same? Then a page, which has the picture, leaves the table out."""
    sortable: bool = False
    """May a page's reader sort it by a column?"""
    kind: str = ""
    """A page's style may know tables of this kind."""

    @property
    def counts(self) -> tuple[int | None, ...]:
        """For each column the n that all its rates share, which then is said once; else None."""
        found: list[int | None] = []
        for column in range(len(self.head)):
            rates = [row[column] for row in self.rows if isinstance(row[column], Rate)]
            shared = {rate.n for rate in rates if isinstance(rate, Rate)}
            found.append(shared.pop() if len(rates) > 1 and len(shared) == 1 else None)
        return tuple(found)


@dataclass(frozen=True)
class Shown:
    """What a record says to people, in plain text."""

    finding: str
    """One sentence or two, hedged where an interval includes zero."""
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    """How it was measured and how to read it."""
    remarks: tuple[str, ...] = ()
    """What to know about single rows; folded on a page."""
    warnings: tuple[str, ...] = ()
    """What could not be measured, and why: on the standard error, beside whatever is written."""


def _silent(what: str, share: float | None) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Call:
    """What a measurement is called with."""

    bench: Any
    """The workbench."""
    settings: Any
    """Of the measurement's own class."""
    progress: Progress = _silent
    stop: threading.Event = field(default_factory=threading.Event)
    """Set, and what was measured so far is returned."""
    kind: str = "gate"
    """The kind of site, or kinds with commas, where units of a kind are measured."""
    mask: Mask = EMPTY
    """What is transplanted, where the measurement shows the patched model."""
    spec: Any = None
    """The pair whose files are measured; None takes the loaded one's."""
    page: bool = False
    """Is a page of pictures written? Then what only a picture needs is measured too."""
    job: Any = None
    """The finished search, where one is measured; None where a mask was given instead."""
    search: Any = None
    """The search's settings, which beside a given mask say what is asked, and how."""
    run: str = ""
    """The stored search that chose the given mask, if one is named."""

    def counted(self, what: str) -> Callable[[int, int], None]:
        """A progress of (done, all) as one of a share."""

        def heard(done: int, total: int) -> None:
            self.progress(f"{what}: {done:,} of {total:,}", done / total if total else 0.0)

        return heard

    def part(self, what: str, first: float, last: float) -> Progress:
        """A progress of its own for one part of the work, from `first` to `last` of the whole."""

        def heard(doing: str, share: float | None) -> None:
            told = None if share is None else first + (last - first) * share
            self.progress(f"{what}: {doing}", told)

        return heard


@dataclass(frozen=True)
class Measured:
    """What was measured, and where it comes from: all that screen, file and terminal show."""

    record: Any
    """A `Record`."""
    origin: str
    """One line: pair, prompts, how many, seed."""


def _nothing(job: Any) -> str:
    return ""


def _provenance(call: Call, record: Any) -> str:
    return str(record.provenance)


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
    origin: Callable[[Call, Any], str] = _provenance
    """Where a record comes from, if there is more to say than its own provenance."""
    by_layer: bool = False
    """Are the figures' columns layers, so that a press on one toggles it?"""
    by_kind: bool = False
    """Does it measure units of a kind of site?"""
    masked: bool = False
    """Does it show the patched model, so that it depends on the mask? One of a search may then be
    given a mask instead of a search."""
    usual: Callable[[Any, str], Mask] | None = None
    """(workbench, kind) -> the mask of a command that names none; None takes the student itself."""
    behind: Callable[[Any, int, str], list[tuple[str, float]]] | None = None
    """(record, layer, row of the picture) -> the prompts behind that cell with their values."""
    refuses: Callable[[Any], str] = _nothing
    """Why it cannot be measured on this search, and what to do; empty where it can."""
    cost: Callable[[Any, Any], str] | None = None
    """(search, settings) -> what it would take: told first, and a page asks before it starts. Where
    a pair is measured, the call stands in the search's place."""
    command: str = ""
    """The command's name where it is not the measurement's; "-" for none."""
    screen: bool = True
    """Is it among the buttons?"""

    def run(self, call: Call) -> Measured:
        """Measure; DapaError says what cannot be, and what to do."""
        record = self.measure(call)
        return Measured(record, self.origin(call, record))


measurements: Registry[Measurement] = Registry("measurement")
"""Name -> measurement, in their order; `dapa.workbench.measurements` fills it."""
