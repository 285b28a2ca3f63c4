"""What a closer look is: a measurement beside a finished search, and how it is drawn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dapa.core.registry import Registry
from dapa.search.job import SearchJob
from dapa.ui.tasks import Progress
from dapa.workbench import Workbench


def _always(job: SearchJob) -> str:
    return ""


@dataclass(frozen=True)
class Look:
    """One button: our own words, given as HTML."""

    title: str
    """On the button."""
    heading: str
    """What is seen."""
    about: str
    """How to read it."""
    measure: Callable[[Workbench, SearchJob, Progress, threading.Event], Any]
    """Runs in the server; returns a record, or what there is of it when stopped."""
    draw: Callable[[Any, SearchJob], str]
    """The record as HTML: a sentence, then a table with intervals and n."""
    figure: Callable[[Any, SearchJob, bool], Any] | None = None
    """The record as a plotly figure on a light or dark page; None draws none."""
    refuses: Callable[[SearchJob], str] = _always
    """Why it cannot be measured on this search, and what to do; empty where it can."""


looks: Registry[Look] = Registry("closer look")
"""Name -> look, in the order of the buttons."""


def counted(told: Progress) -> Callable[[int, int], None]:
    """A progress of (done, all) prompts or replies as one of a share."""

    def heard(done: int, total: int) -> None:
        told(f"{done:,} of {total:,}", done / total if total else 0.0)

    return heard
