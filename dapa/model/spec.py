"""What to load, by name: no torch, no files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PairSpec:
    """What to load: two models, a precision and a device."""

    student: str
    teacher: str
    name: str = ""
    """A preset's name, or empty."""
    dtype: str = "auto"
    device: str = "auto"
    memory: str = "auto"
    """`full`, `lean` (of the teacher only gates), `lean:gate,attention`, or `auto`: what fits."""
    planted: dict[str, Any] = field(default_factory=dict, compare=False)
    """Ground truth that a bundled pair brings, for labels on the screen."""

    @property
    def title(self) -> str:
        """For people: the two models' short names."""
        return f"{short_name(self.student)} ← {short_name(self.teacher)}"


def short_name(name: str) -> str:
    """The last part of a folder or hub id."""
    return Path(name.partition("@")[0]).name or name
