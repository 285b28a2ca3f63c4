"""What a pair takes in memory, told from headers before any weight is read; full or lean.

Full memory holds both models, equal tensors once. Lean memory holds the student and, of the
teacher, only the sites of the kinds that masks are to move. This module does not load anything.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Literal

import torch

from dapa.core.records import PairError, SettingError
from dapa.model.adapted import parted
from dapa.model.architectures import FAMILIES
from dapa.model.checkpoint import Checkpoint
from dapa.model.distances import places_of
from dapa.model.families import ALL, GROUPS, kinds_of
from dapa.model.machine import free_memory, rows_in_flight, work_bytes
from dapa.model.stored import quantised, sizes

Mode = Literal["full", "lean"]
MODES = ("auto", "full", "lean")
_TOKENS = 128
"""Of a row in flight: a short request and the beginning of a reply."""


@dataclass(frozen=True)
class MemoryEstimate:
    """What a pair would take on its device; all sizes in bytes."""

    device: str
    free: int
    student: int
    teacher: int
    """The whole teacher, at most: tensors that are equal in both models are held once. Of two
    models on one base, only what an adapter changes."""
    lean: int
    """The teacher's sites of the kinds in `keep`, at most."""
    work: int
    """States of a batch of replies with as many rows as a search has in flight."""
    keep: tuple[str, ...]
    """The kinds of site that lean memory keeps."""
    mode: Mode
    """What was asked for or, for `auto`, what fits."""

    @property
    def weights(self) -> int:
        """Bytes of weights in this mode."""
        return self.student + (self.teacher if self.mode == "full" else self.lean)

    @property
    def sentence(self) -> str:
        """One line for people."""
        return (
            f"Memory: student {_gib(self.student)}, teacher {_gib(self.teacher)} whole or "
            f"{_gib(self.lean)} for its {', '.join(self.keep)} alone, replies {_gib(self.work)}; "
            f"{_gib(self.free)} free on {self.device}: {self.mode}."
        )

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "keep": list(self.keep), "weights": self.weights}

    def raise_if_too_large(self) -> None:
        """PairError with the bytes needed, the bytes free and what would take less."""
        if self.weights <= self.free:
            return
        smaller = []
        if self.mode == "full" and self.student + self.lean <= self.free:
            smaller.append("lean memory")
        smaller += ["bfloat16", "a larger device or smaller models"]
        raise PairError(
            f"the pair needs {_gib(self.weights)} of memory and {_gib(max(0, self.free))} are free "
            f"on {self.device}; use {', '.join(smaller)}"
        )


def parse_memory(text: str) -> tuple[str, tuple[str, ...]]:
    """`auto`, `full`, `lean` or `lean:gate,attention` as (mode, kinds of site to keep).

    Raises:
        SettingError: Another mode, or a kind that does not exist.
    """
    mode, colon, kinds = text.strip().partition(":")
    if mode not in MODES:
        raise SettingError(
            f"memory {text!r} is not known; choose {', '.join(MODES)}, or lean with the kinds of "
            "site to keep, as in lean:gate,attention"
        )
    if colon and not kinds.strip():
        raise SettingError(f"memory {text!r} names no kind of site; write lean:gate, for instance")
    return mode, parts_of(kinds if colon else "gate")


def parts_of(kinds: str) -> tuple[str, ...]:
    """Kinds of unit as kinds of site, each once: `mlp` -> gate, up, down."""
    every = kinds_of(ALL if kinds.strip() == ALL else kinds)
    return tuple(dict.fromkeys(part for kind in every for part in GROUPS[kind]))


def estimate_memory(
    ours: Checkpoint, theirs: Checkpoint, memory: str, dtype: torch.dtype, device: str
) -> MemoryEstimate | None:
    """Reckon from headers, and choose where the choice is ours.

    Args:
        ours: The student's files.
        theirs: The teacher's.
        memory: As `parse_memory` reads it.
        dtype: In which weights and states are held.
        device: `cpu`, `cuda`, `cuda:N` or `mps`.

    Returns:
        None for models that no pair can be made of; the compatibility report says why.

    Raises:
        SettingError: A memory mode that does not exist, or kinds that this family lacks.
    """
    wanted, keep = parse_memory(memory)
    kinds = {checkpoint.model_type for checkpoint in (ours, theirs)}
    if len(kinds) > 1 or not kinds <= FAMILIES.keys():
        return None
    if any(quantised("", one) or sizes("", one) for one in (ours, theirs)):
        return None
    family, settings = ours.family, ours.settings
    width = torch.empty((), dtype=dtype).element_size()
    named = ":" in memory
    keep = tuple(kind for kind in keep if kind in family.single) if named else (family.first,)
    if not keep:
        raise SettingError(
            f"{family.title} has none of the sites in {memory!r}; choose from "
            f"{', '.join(family.kinds)}"
        )
    places = places_of(family, settings.num_hidden_layers, keep, ours.tied and theirs.tied)
    own = parted(ours, theirs)
    apart = {*theirs.shapes} if own is None else own
    kept = {stored for site in places for stored in theirs.tensors_of(family, site).values()}
    student = width * sum(prod(shape) for shape in ours.shapes.values())
    teacher = width * sum(prod(theirs.shapes[name]) for name in apart)
    lean = width * sum(prod(theirs.shape(stored)) for stored in kept if apart & {*stored.names})
    rows = rows_in_flight(device.partition(":")[0])
    work, free = work_bytes(settings, width, rows, _TOKENS), free_memory(device)
    mode: Mode = "lean" if wanted == "lean" else "full"
    if wanted == "auto" and student + teacher + work > free:
        mode = "lean"
    return MemoryEstimate(device, free, student, teacher, lean, work, keep, mode)


def _gib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"
