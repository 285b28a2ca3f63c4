"""What to load, by name: no torch, no file is opened."""

from __future__ import annotations

import json
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
    """`full`, `low-rank` (a teacher's adapter beside the student), `lean` (of the teacher only
    gates), `lean:gate,attention`, `offload` (layers stay in the machine's memory), `offload:gate`,
    or `auto`: what fits."""
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
        None,
        "student",
        "Folder or hub id of the model that receives weights; BASE+ADAPTER for one with a LoRA.",
    )
    teacher: str | None = setting(
        None,
        "teacher",
        "Folder or hub id of the model that gives weights; BASE+ADAPTER for one with a LoRA.",
    )
    dtype: str = setting("auto", "precision", "auto, float32, bfloat16 or float16.")
    device: str = setting("auto", "device", "auto, cpu, cuda, cuda:N, cuda:all, mps or xpu.")
    memory: str = setting(
        "auto",
        "memory",
        "full: both models; lean: of the teacher only the sites asked for (lean:gate,up names "
        "them); low-rank: the student and an adapter beside it, where the teacher is that; "
        "offload: layers stay in the machine's memory and visit the device one by one; "
        "auto: what fits.",
    )
    trust_structure: bool = setting(
        False,
        "trust the structure",
        "Use the structure that check found for an architecture without a row of its own.",
    )


def split(name: str) -> tuple[str, str]:
    """`BASE+ADAPTER` as (base, adapter); the adapter is empty where one model is named.

    A folder may have a + in its own name: what exists is believed, else the last + parts the two.
    """
    if "+" not in name or is_folder(name):
        return name, ""
    cuts = [
        i for i, c in enumerate(name) if c == "+" and name[:i].strip() and name[i + 1 :].strip()
    ]
    for both in (True, False):
        for cut in reversed(cuts):
            base, adapter = name[:cut], name[cut + 1 :]
            if is_folder(adapter) and (not both or is_folder(base)):
                return base, adapter
    return (name[: cuts[-1]], name[cuts[-1] + 1 :]) if cuts else (name, "")


def is_folder(name: str) -> bool:
    """Is there such a folder? No for what cannot be one."""
    try:
        return Path(name).expanduser().is_dir()
    except (OSError, RuntimeError, ValueError):  # too long, or ~ of nobody
        return False


def short_name(name: str) -> str:
    """The last part of a folder or hub id; of a base and an adapter, both."""
    base, adapter = split(name)
    if adapter:
        return f"{short_name(base)}+{short_name(adapter)}"
    return Path(name.partition("@")[0]).name or name


FACTS = "planted.json"
"""Beside a planted student's weights: kind of site -> the layers that were planted."""


def facts_beside(folder: Path) -> dict[str, Any]:
    """The truth that a planted pair's own folder brings; empty for any other model."""
    try:
        found = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
