"""A finding: one thing to know of two checkpoints or of a template, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["blocks", "warns", "fine"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    level: Level
    what: str
    why: str
