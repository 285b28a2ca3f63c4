"""What a view is: a measurement of the loaded pair, and how it is drawn and told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dapa.core.records import EMPTY, Mask, Prompt
from dapa.core.registry import Registry
from dapa.ui.tasks import Progress
from dapa.workbench import Workbench


@dataclass(frozen=True)
class Ask:
    """What a browser asks of a view; equal asks share one measurement."""

    epoch: int
    kind: str = "gate"
    """The kind of unit that the strip's first row presses."""
    limit: int = 32
    """Prompts at most."""
    seed: int = 0
    choice: str = ""
    """One of the view's choices; empty where it has none."""
    mask: Mask = EMPTY
    """The strip's, for views that show the patched model; empty elsewhere."""

    @property
    def subject(self) -> str:
        """Whose measurement it is, among the server's tasks."""
        words = (self.epoch, self.kind, self.limit, self.seed, self.choice, self.mask.key)
        return "pair " + " ".join(map(str, words))


Measure = Callable[[Workbench, Ask, Progress, threading.Event], Any]
"""Runs in the server; the record has `provenance`, `table()` and `as_dict()`."""


@dataclass(frozen=True)
class View:
    """One button: our own words, given as HTML."""

    title: str
    """On the button."""
    heading: str
    """What is seen."""
    about: str
    """How to read it."""
    measure: Measure
    draw: Callable[[Any], str]
    """The record as HTML: a sentence, then a table with intervals and n."""
    figures: Callable[[Any, bool], Sequence[tuple[str, Any]]]
    """(caption, plotly figure) on a light or dark page; one is shown at a time."""
    choices: dict[str, str] = field(default_factory=dict)
    """Ways to measure it: name -> title, the first by default."""
    by_layer: bool = True
    """Are the figure's columns layers, so that a click on one presses it?"""
    masked: bool = False
    """Does it show the patched model, so that it depends on the strip?"""
    behind: Callable[[Any, int, str], list[tuple[str, float]]] | None = None
    """(record, layer, row of the picture) -> the prompts behind that cell with their values."""


views: Registry[View] = Registry("view")
"""Name -> view, in the order of the buttons."""


def counted(told: Progress, what: str) -> Callable[[int, int], None]:
    """A progress of (done, all) as one of a share."""

    def heard(done: int, total: int) -> None:
        told(f"{what}: {done:,} of {total:,}", done / total if total else 0.0)

    return heard


def harmful(bench: Workbench, ask: Ask) -> list[Prompt]:
    """The pair's own harmful prompts, at most so many, drawn by category and seed."""
    return list(bench.prompts(None, "harmful").sample(ask.limit, ask.seed).prompts)


def both(bench: Workbench, ask: Ask) -> tuple[list[str], list[str]]:
    """Harmful prompts and harmless ones, twin by twin where the set names twins."""
    bad = harmful(bench, ask)
    if all(prompt.twin for prompt in bad):
        return [p.text for p in bad], [p.twin for p in bad]
    good = bench.prompts(None, "harmless").sample(ask.limit, ask.seed).prompts
    return [p.text for p in bad], [p.text for p in good]


def effect(value: Any) -> str:
    """A mean effect with its interval, in refusal log-odds."""
    if value is None or value.value != value.value:
        return '<span class="interval">not measured</span>'
    span = f" [{value.low:+.2f}, {value.high:+.2f}]" if value.low == value.low else ""
    return f'<b>{value.value:+.2f}</b><span class="interval">{span}</span>'
