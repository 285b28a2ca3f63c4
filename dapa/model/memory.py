"""What a pair takes in memory, told from headers before any weight is read; and how to hold it.

Full memory holds both models, equal tensors once. Lean memory holds the student and, of the
teacher, only the sites of the kinds that masks are to move. Low-rank memory holds a teacher that is
the student and an adapter as just that. Offloaded, the layers stay in the machine's memory and go
to the device one by one. This module does not load anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Literal

import torch

from dapa.core.records import PairError, SettingError
from dapa.model.adapted import beside, parted
from dapa.model.architectures import FAMILIES
from dapa.model.checkpoint import Checkpoint
from dapa.model.distances import places_of
from dapa.model.families import ALL, GROUPS, kinds_of
from dapa.model.machine import free_memory, rows_in_flight, work_bytes
from dapa.model.stored import quantised, sizes

Mode = Literal["full", "low-rank", "lean", "offload"]
MODES = ("auto", "full", "low-rank", "lean", "offload")
OFFLOADING = ("cuda", "xpu")
"""Devices with a memory of their own: on others there is nowhere to offload to."""
PROCESS = 2**29
"""Bytes that a worker takes besides the pair: libraries, states that it keeps."""
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
    host: int
    """Free in the machine's memory, where offloaded layers stay; as `free` on a CPU."""
    ends: int
    """What an offloaded pair keeps on the device: all of both models that is in no layer."""
    layer: int
    """The largest layer, of student and teacher together."""
    work: int
    """States of a batch of replies with as many rows as a search has in flight."""
    keep: tuple[str, ...]
    """The kinds of site that lean memory keeps."""
    mode: Mode
    """What was asked for or, for `auto`, what fits."""
    whole: bool
    """Is the whole teacher held?"""
    beside: int | None = None
    """The teacher as an adapter beside the student; None of one that is no such thing."""
    processes: int = 1
    """How many of this machine hold the pair on that device; what is free is each one's part."""
    laid_out: int = 0
    """What a loaded pair's matrices take once more, in the CPU's own order (`packed`)."""

    @property
    def where(self) -> str:
        """The device, and whose part of it is told."""
        each = f" for each of {self.processes} processes" if self.processes > 1 else ""
        return f"{self.device}{each}"

    @property
    def held(self) -> int:
        """Bytes of weights in this mode, wherever they are."""
        if self.mode == "low-rank":
            return self.student + (self.beside or 0)
        return self.student + (self.teacher if self.whole else self.lean)

    @property
    def weights(self) -> int:
        """Bytes of weights on the device in this mode."""
        return min(self.held, self.ends + self.layer) if self.mode == "offload" else self.held

    @property
    def sentence(self) -> str:
        """One line for people."""
        apart = "" if self.beside is None else f", {gib(self.beside)} as an adapter beside it"
        return (
            f"Memory: the student takes {gib(self.student)}; the teacher {gib(self.teacher)} whole"
            f"{apart}, or {gib(self.lean)} with only its {', '.join(self.keep)} held; replies "
            f"{gib(self.work)}. {gib(self.free)} are free on {self.where}, so the mode is "
            f"{self.mode}{self._how}."
        )

    @property
    def brief(self) -> str:
        """The same while it is being loaded."""
        free = f"{gib(self.weights)} of the {gib(self.free)} free on {self.where}"
        host = f", {gib(self.held)} of the machine's" if self.mode == "offload" else ""
        return f"{self.mode} memory: {free}{host}"

    @property
    def _how(self) -> str:
        """The mode's own figures."""
        if self.mode == "offload":
            of = "both models" if self.whole else "the student and the teacher's sites"
            return (
                f", {gib(self.weights)} of {of} on {self.device} at a time and {gib(self.held)} "
                f"in the machine's memory, of which {gib(self.host)} are free"
            )
        anew = f", {gib(self.laid_out)} more in the CPU's own order" if self.laid_out else ""
        return f", {gib(self.held)}{anew} and replies"

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "keep": list(self.keep), "weights": self.weights}

    @property
    def _offloads(self) -> bool:
        return self.device.partition(":")[0] in OFFLOADING

    def raise_if_too_large(self) -> None:
        """PairError with the bytes needed, the bytes free and what would take less."""
        if self.mode == "offload" and self.held > self.host:
            fewer = "offload:gate, " if self.whole and self.student + self.lean <= self.host else ""
            fewer += "fewer workers, " if self.processes > 1 else ""
            raise PairError(
                f"the pair needs {gib(self.held)} of the machine's memory and "
                f"{gib(max(0, self.host))} are free; use {fewer}bfloat16 or smaller models"
            )
        if self.weights <= self.free:
            return
        smaller = []
        if self.mode == "full" and self.student + (self.beside or self.free) <= self.free:
            smaller.append("low-rank memory")
        if self.mode in ("full", "low-rank") and self.student + self.lean <= self.free:
            smaller.append("lean memory")
        if self.mode != "offload" and self._offloads and self.student + self.lean <= self.host:
            smaller.append("offload memory")
        smaller += ["fewer workers"] if self.processes > 1 else []
        smaller += ["bfloat16", "a larger device or smaller models"]
        raise PairError(
            f"the pair needs {gib(self.weights)} of memory and {gib(max(0, self.free))} are free "
            f"on {self.where}; use {', '.join(smaller)}"
        )


def parse_memory(text: str) -> tuple[str, tuple[str, ...]]:
    """`auto`, `full`, `low-rank`, `lean`, `offload` or `lean:gate,attention` as (mode, kinds).

    Offloaded without kinds, the whole teacher is held; with kinds, those alone.

    Raises:
        SettingError: Another mode, or a kind that does not exist.
    """
    mode, colon, kinds = text.strip().partition(":")
    if mode not in MODES:
        raise SettingError(
            f"memory {text!r} is not known; choose {', '.join(MODES)}, or lean or offload with "
            "the kinds of site to keep, as in lean:gate,attention"
        )
    if colon and not kinds.strip():
        raise SettingError(f"memory {text!r} names no kind of site; write lean:gate, for instance")
    return mode, parts_of(kinds if colon else "gate")


def parts_of(kinds: str) -> tuple[str, ...]:
    """Kinds of unit as kinds of site, each once: `mlp` -> gate, up, down."""
    named = [ALL] if kinds.strip() == ALL else kinds.split(",")  # they may overlap here
    every = [kind for one in named for kind in kinds_of(one.strip())]
    return tuple(dict.fromkeys(part for kind in every for part in GROUPS[kind]))


def workers_beside(workers: int, device: str) -> int:
    """How many of so many workers stand on one device; this process needs no first one."""
    cards = torch.cuda.device_count() if device == "cuda" else 1
    return -(-workers // max(1, cards)) if workers > 1 else 0


def estimate_memory(
    ours: Checkpoint,
    theirs: Checkpoint,
    memory: str,
    dtype: torch.dtype,
    device: str,
    workers: int = 1,
) -> MemoryEstimate | None:
    """Reckon from headers, and choose where the choice is ours.

    Args:
        ours: The student's files.
        theirs: The teacher's.
        memory: As `parse_memory` reads it.
        dtype: In which weights and states are held.
        device: As `choose_device` gives it.
        workers: Other processes of this machine that are to hold the pair too, where there are
            two or more.

    Returns:
        None for models that no pair can be made of; the compatibility report says why.

    Raises:
        SettingError: A memory mode that does not exist, or kinds that this family lacks; offload
            where there is no second memory.
    """
    wanted, keep = parse_memory(memory)
    kinds = {checkpoint.model_type for checkpoint in (ours, theirs)}
    if len(kinds) > 1 or not kinds <= FAMILIES.keys():
        return None
    if any(quantised("", one) or sizes("", one) for one in (ours, theirs)):
        return None
    family, settings = ours.family, ours.settings
    width = torch.empty((), dtype=dtype).element_size()
    aside = beside(ours, theirs, family)
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
    work, others = work_bytes(settings, width, rows, _TOKENS), workers_beside(workers, device)
    free = _part(free_memory(device), others)
    host = free if device == "cpu" else _part(free_memory("cpu"), workers if others else 0)
    offloads = device.partition(":")[0] in OFFLOADING
    if wanted == "offload" and not offloads:
        raise SettingError(
            f"offload takes layers from the machine's memory to a device, and {device} has no "
            "memory of its own; use lean"
        )
    if wanted == "low-rank" and not aside:
        raise SettingError(
            "low-rank memory holds a teacher that is the student and a LoRA adapter "
            f"(BASE+ADAPTER), and {theirs.name} is not; use full or lean"
        )
    factors = None
    if aside:
        factors = 4 * sum(aside.values()) + width * sum(
            prod(theirs.shapes[name]) for name in apart if name not in aside
        )
    whole = wanted in ("auto", "full", "low-rank") or (wanted == "offload" and not named)
    mode: Mode = "full" if wanted == "auto" else wanted  # type: ignore[assignment]
    if wanted == "auto" and student + teacher + work > free:
        fits = factors is not None and student + factors + work <= free
        mode, whole = ("low-rank", True) if fits else ("lean", False)
        if not fits and offloads and student + lean + work > free and student + lean <= host:
            mode, whole = "offload", student + teacher <= host
    theirs_held = apart if whole else {n for stored in kept for n in stored.names if n in apart}
    sides = (ours.shapes, {name: theirs.shapes[name] for name in theirs_held})
    ends, layers = by_layer([(n, width * prod(s)) for side in sides for n, s in side.items()])
    layer = max(layers, default=0)
    return MemoryEstimate(
        device,
        free,
        student,
        teacher,
        lean,
        host,
        ends,
        layer,
        work,
        keep,
        mode,
        whole,
        factors,
        1 + others,
    )


def _part(free: int, others: int) -> int:
    """One process's part of what is free, where so many others hold the pair too."""
    return max(0, free - others * PROCESS) // (1 + others)


_LAYER = re.compile(r"(?:^|\.)(\d+)\.")
"""The first number in a tensor's name counts the layers, in every checkpoint there is."""


def by_layer(sizes: Iterable[tuple[str, int]]) -> tuple[int, list[int]]:
    """Of tensors by name and size: (bytes outside of layers, bytes of each layer)."""
    ends, layers = 0, dict[int, int]()
    for name, size in sizes:
        found = _LAYER.search(name)
        if found is None:
            ends += size
        else:
            layers[int(found[1])] = layers.get(int(found[1]), 0) + size
    return ends, [layers[index] for index in sorted(layers)]


def gib(size: int) -> str:
    """Bytes for people."""
    return f"{size / 2**20:.1f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"
