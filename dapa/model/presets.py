"""Pairs with a name: the bundled toys, the real pair, ones for a laptop, and the published ones.

The published teachers and students are read from the authors' public scripts; which 17 students the
paper's table counts is not established, so none is singled out.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dapa.core.assets import folder
from dapa.core.records import PairError
from dapa.model.spec import PairSpec

DEFAULT = "toy-gate"


@dataclass(frozen=True)
class Preset:
    """A named pair."""

    name: str
    student: str
    teacher: str
    title: str
    group: str
    """`bundled`, `real`, `laptop` or `published`."""
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """What is known of a bundled pair by construction: its planted layers and distractors."""

    def spec(self, dtype: str = "auto", device: str = "auto", memory: str = "auto") -> PairSpec:
        """What to load."""
        return PairSpec(
            self.student, self.teacher, self.name, dtype, device, memory, dict(self.facts)
        )


log = logging.getLogger("dapa")
_REAL = (
    ("smollm2", "spread", "a real pair: SmolLM2 135M, refusal spread over all layers"),
    ("smollm2-concentrated", "concentrated", "a real pair: refusal in the MLPs of five layers"),
)
_BASE = "smollm2"
_RENAMED = {"smollm2-135m": "smollm2-135m-base-instruct"}
"""Names that stand in links and stored runs -> what the pair is called now."""
_LAPTOP = (
    (
        "smollm2-135m-base-instruct",
        "HuggingFaceTB/SmolLM2-135M",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    ("qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B-Instruct"),
    ("llama-3.2-1b", "meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-1B-Instruct"),
)

_PUBLISHED: Mapping[str, tuple[str, ...]] = {
    "meta-llama/Llama-2-7b-chat-hf": (
        "meta-llama/Llama-2-7b-hf",
        "hfl/chinese-alpaca-2-7b",
        "lmsys/vicuna-7b-v1.5",
        "allenai/tulu-2-7b",
        "allenai/tulu-2-dpo-7b",
    ),
    "meta-llama/Llama-2-13b-chat-hf": (
        "meta-llama/Llama-2-13b-hf",
        "hfl/chinese-alpaca-2-13b",
        "NousResearch/Redmond-Puffin-13B",
        "WizardLMTeam/WizardLM-13B-V1.2",
        "lmsys/vicuna-13b-v1.5",
        "allenai/tulu-2-13b",
        "allenai/tulu-2-dpo-13b",
    ),
    "mistralai/Mistral-7B-Instruct-v0.2": (
        "mistralai/Mistral-7B-v0.1",
        "teknium/OpenHermes-2-Mistral-7B",
        "cognitivecomputations/dolphin-2.2.1-mistral-7b",
        "HuggingFaceH4/zephyr-7b-alpha",
        "cognitivecomputations/dolphin-2.6-mistral-7b-dpo",
    ),
    "google/gemma-7b-it": ("google/gemma-7b", "HuggingFaceH4/zephyr-7b-gemma-v0.1"),
    "google/gemma-2b-it": ("google/gemma-2b",),
}

RELEASED_RANGES: Mapping[str, tuple[int, int, int]] = {
    "llama": (12, 18, 32),
    "vicuna": (11, 19, 32),
    "mistral": (9, 19, 32),
    "gemma-2b": (3, 7, 18),
    "gemma-7b": (7, 14, 28),
    "qwen2": (9, 15, 24),
}
"""The released scripts' fixed layer ranges: (first, end exclusive, layers of that model)."""


def presets() -> dict[str, Preset]:
    """Every named pair; bundled ones first, as far as their folders are there."""
    every = [*_bundled(), *_real()]
    for name, student, teacher in _LAPTOP:
        every.append(Preset(name, student, teacher, f"{student} ← {teacher}", "laptop"))
    for teacher, students in _PUBLISHED.items():
        for student in students:
            name = student.partition("/")[2].lower()
            every.append(Preset(name, student, teacher, f"{student} ← {teacher}", "published"))
    return {preset.name: preset for preset in every}


def preset(name: str) -> Preset:
    """The preset called `name`; PairError lists the bundled ones."""
    known = presets()
    now = current_name(name)
    if now != name:
        log.warning("the pair %s is called %s by now; use that name", name, now)
        name = now
    if name not in known:
        if name in {real for real, _, _ in _REAL}:
            raise PairError(f"{name} needs its adapter in assets/real; restore it from the source")
        bundled = [p.name for p in known.values() if p.group == "bundled"]
        raise PairError(
            f"no pair is called {name!r}; bundled are {', '.join(bundled) or 'none'}; or give "
            "--student and --teacher"
        )
    return known[name]


def current_name(name: str) -> str:
    """What a pair of this name is called now."""
    return _RENAMED.get(name, name)


def _real() -> list[Preset]:
    """The pairs of the fetched base and our own adapters, as far as those are there."""
    found = []
    for name, adapter, title in _REAL:
        place = folder() / "real" / adapter
        if (place / "adapter_config.json").is_file():
            found.append(Preset(name, _BASE, f"{_BASE}+{place}", title, "real"))
    return found


def _bundled() -> list[Preset]:
    place = folder() / "toy"
    listing = place / "pairs.json"
    if not listing.is_file():
        return []
    found = []
    for name, facts in json.loads(listing.read_text(encoding="utf-8")).items():
        student, teacher = place / facts["student"], place / facts["teacher"]
        if student.is_dir() and teacher.is_dir():
            title = str(facts.get("title", name))
            found.append(Preset(name, str(student), str(teacher), title, "bundled", facts))
    return found


def released_layers(model_type: str, student: str, layers: int) -> tuple[tuple[int, ...], bool]:
    """The released scripts' layers for this student, and whether they had to be scaled by depth.

    A family without a published range takes Llama-2's 12 to 18 of 32, scaled.
    """
    name = student.lower()
    key = "llama"
    if "vicuna" in name:
        key = "vicuna"
    elif model_type in {"mistral", "qwen2"}:
        key = model_type
    elif model_type == "gemma":
        key = "gemma-2b" if layers == 18 else "gemma-7b"
    first, end, depth = RELEASED_RANGES[key]
    if depth == layers:
        return tuple(range(first, end)), False
    return tuple(range(round(first * layers / depth), round(end * layers / depth))), True
