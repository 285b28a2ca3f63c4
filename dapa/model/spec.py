"""What to load, by name: no torch, no files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dapa.core.settings import Settings, setting


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


@dataclass(frozen=True, kw_only=True)
class PairOptions(Settings):
    """How a person names the pair to load; `Workbench.spec` makes a `PairSpec` of it."""

    pair: str | None = setting(None, "pair", "A named pair, such as toy-gate (the default).")
    student: str | None = setting(
        None, "student", "Folder or hub id of the model that receives weights."
    )
    teacher: str | None = setting(
        None, "teacher", "Folder or hub id of the model that gives weights."
    )
    dtype: str = setting("auto", "precision", "auto, float32, bfloat16 or float16.")
    device: str = setting("auto", "device", "auto, cpu, cuda or cuda:N.")
    memory: str = setting(
        "auto",
        "memory",
        "full: both models; lean: of the teacher only the sites asked for (lean:gate,up names "
        "them); auto: full where it fits.",
    )


def short_name(name: str) -> str:
    """The last part of a folder or hub id."""
    return Path(name.partition("@")[0]).name or name
