"""A pair: the row-masked student and its teacher, loaded once, never mutated afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dapa.model.checkpoint import Checkpoint, Progress, open_checkpoint
from dapa.model.compatibility import Report, check, kinds_that_differ
from dapa.model.loading import load_weights
from dapa.model.machine import choose_device, choose_dtype, refuse_if_too_large
from dapa.model.reentry import install_entry
from dapa.model.sites import Family, family_of, resolve, sites_of, submodule, units_for
from dapa.model.transplant import Plan, Tap, TransplantModule, install_tap, plan_masks
from dapa.records import Mask, SettingError, Site, Unit

SMALL = 2**28
"""Checkpoints below this many bytes run on one thread: their matrices are too small to share, and
two OpenMP threads beside a busy neighbour wait for each other (tried: ten times slower)."""


@dataclass(frozen=True)
class PairSpec:
    """What to load: two models, a precision and a device."""

    student: str
    teacher: str
    name: str = ""
    """A preset's name, or empty."""
    dtype: str = "auto"
    device: str = "auto"
    planted: dict[str, Any] = field(default_factory=dict, compare=False)
    """Ground truth that a bundled pair brings, for labels on the screen."""

    @property
    def title(self) -> str:
        """For people: the two models' short names."""
        return f"{short_name(self.student)} ← {short_name(self.teacher)}"


def short_name(name: str) -> str:
    """The last part of a folder or hub id."""
    return Path(name.partition("@")[0]).name or name


@dataclass(frozen=True)
class Share:
    """How much of the student a mask replaces."""

    parameters: int
    bytes: int
    fraction: float


class Pair:
    """The student with every site wrapped, the teacher beside it, and their tokenizers."""

    def __init__(
        self,
        student: Any,
        teacher: Any,
        tokenizer: Any,
        teacher_tokenizer: Any,
        family: Family,
        spec: PairSpec,
        digest: str,
        report: Report | None = None,
    ) -> None:
        """Share equal tensors, wrap the student's sites, install taps. Takes ownership of both."""
        self.student, self.teacher = student, teacher
        self.tokenizer, self.teacher_tokenizer = tokenizer, teacher_tokenizer
        self.family, self.spec, self.digest, self.report = family, spec, digest, report
        _share_equal_tensors(student, teacher)
        self.n_layers = len(submodule(student, family.layers))
        self.sites: dict[Site, TransplantModule] = {}
        """Every wrapped site, those that are equal in both models too."""
        for layer in range(self.n_layers):
            self._wrap(layer)
        differs: dict[str, tuple[int, ...]] = {
            kind: tuple(i for i in range(self.n_layers) if not _same(self.sites[Site(i, kind)]))
            for kind, _ in family.sites
        }
        self.differs = kinds_that_differ(family, differs)
        """Kind of unit -> the layers in which it differs; the others are never searched."""
        self._live = {
            site: module
            for site, module in self.sites.items()
            if site.layer in differs[site.module]
        }
        self.parameters = sum(p.numel() for p in student.parameters())

    def _wrap(self, layer: int) -> None:
        ours = submodule(self.student, self.family.layers)[layer]
        theirs = submodule(self.teacher, self.family.layers)[layer]
        for role, block in (("student", ours), ("teacher", theirs)):
            install_entry(block, layer)
            install_tap(block, Tap(role, layer, "residual"))
            for kind, path in (("attention", self.family.attention), ("mlp", self.family.mlp)):
                install_tap(submodule(block, path), Tap(role, layer, kind))
        for kind, path in self.family.sites:
            site = Site(layer, kind)
            parent, _, leaf = path.rpartition(".")
            theirs_here = submodule(theirs, path)
            install_tap(theirs_here, Tap("teacher", layer, kind))
            wrapped = TransplantModule(site, submodule(ours, path), theirs_here)
            setattr(submodule(ours, parent), leaf, wrapped)
            self.sites[site] = wrapped

    @property
    def device(self) -> torch.device:
        """Where the inputs go."""
        return self.student.get_input_embeddings().weight.device  # type: ignore[no-any-return]

    @property
    def context_length(self) -> int:
        """The most tokens that prompt and reply may have together."""
        configs = (self.student.config, self.teacher.config)  # one prompt is read by both
        return min(int(getattr(c, "max_position_embeddings", 0) or 2**30) for c in configs)

    def layer(self, role: str, index: int) -> nn.Module:
        """One decoder layer of `student` or `teacher`."""
        model = self.student if role == "student" else self.teacher
        return submodule(model, self.family.layers)[index]  # type: ignore[no-any-return]

    def plan(self, masks: Sequence[Mask], at_work: Sequence[int] | None = None) -> Plan | None:
        """The plan of a batch whose rows carry these masks; checks that every unit exists.

        `at_work`: how many of the rows, from the first on, each layer sees; all of them if None.
        """
        for mask in set(masks):
            self._units_exist(mask)
        return plan_masks(masks, self._live, self.device, at_work)

    def validate(self, mask: Mask) -> None:
        """SettingError for a layer, kind or block that is not there, or one site moved twice."""
        self._units_exist(mask)
        resolve(mask)

    def _units_exist(self, mask: Mask) -> None:
        for unit in mask.units:
            if not 0 <= unit.layer < self.n_layers:
                raise SettingError(
                    f"layer {unit.layer} does not exist; this pair has layers 0 to "
                    f"{self.n_layers - 1}"
                )
            if unit.kind not in self.family.kinds:
                raise SettingError(
                    f"{self.family.title} has no sites of kind {unit.kind!r}; choose one of "
                    f"{', '.join(self.family.kinds)}"
                )
            for site in sites_of(unit) if unit.block else ():
                start, stop = unit.block or (0, 0)
                if not 0 <= start < stop <= self.sites[site].neurons:
                    raise SettingError(
                        f"{unit} is outside the site's {self.sites[site].neurons} neurons"
                    )

    def units(self, kind: str) -> tuple[Unit, ...]:
        """The units of one kind that a search may move: those that differ."""
        if kind not in self.differs:
            raise SettingError(
                f"{kind!r} is not a kind of site of {self.family.title}; choose one of "
                f"{', '.join(self.family.kinds)}"
            )
        if not self.differs[kind]:
            others = [other for other, layers in self.differs.items() if layers]
            raise SettingError(
                f"student and teacher have equal {kind} weights in every layer; what differs is "
                f"{', '.join(others) or 'no MLP site'}"
            )
        return units_for(kind, self.differs[kind])

    def share(self, mask: Mask) -> Share:
        """How many parameters and bytes the mask replaces, and of how many."""
        seen: dict[Site, int] = {}
        size = 0
        for unit in mask.units:
            for site in sites_of(unit):
                module = self.sites[site].student
                whole = sum(p.numel() for p in module.parameters())
                part = whole
                if unit.block is not None:
                    part = whole * (unit.block[1] - unit.block[0]) // self.sites[site].neurons
                seen[site] = min(whole, seen.get(site, 0) + part)
                size = next(module.parameters()).element_size()
        moved = sum(seen.values())
        return Share(moved, moved * size, moved / self.parameters)


def _same(site: TransplantModule) -> bool:
    ours, theirs = dict(site.student.named_parameters()), dict(site.teacher.named_parameters())
    return ours.keys() == theirs.keys() and all(
        ours[k].data_ptr() == theirs[k].data_ptr() for k in ours
    )


def _share_equal_tensors(student: nn.Module, teacher: nn.Module) -> None:
    """Let the teacher use the student's storage wherever the two hold the same values."""
    ours = dict(student.named_parameters(remove_duplicate=False))
    for name, theirs in teacher.named_parameters(remove_duplicate=False):
        mine = ours.get(name)
        if (
            mine is not None
            and mine.shape == theirs.shape
            and mine.dtype == theirs.dtype
            and mine.device == theirs.device
            and torch.equal(mine, theirs)
        ):
            theirs.data = mine.data


def digest_of(checkpoint: Checkpoint) -> str:
    """A fingerprint of the weights: whole files up to 256 MiB, else 4 KiB out of every 8 MiB.

    The sample meets every tensor of 8 MiB or more; smaller edits of a large file may escape it.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(set(checkpoint.shards.values())):
        path = checkpoint.folder / file
        size = path.stat().st_size
        digest.update(f"{file}:{size}:".encode())
        with path.open("rb") as opened:
            if size <= 2**28:
                digest.update(opened.read())
                continue
            for start in range(0, size, 2**23):
                opened.seek(start)
                digest.update(opened.read(4096))
    return digest.hexdigest()


def _part(progress: Progress | None, start: float, end: float) -> Progress | None:
    """The same listener, for a stretch of the whole way."""
    if progress is None:
        return None
    return lambda what, share: progress(what, start + (end - start) * share)


def load_pair(spec: PairSpec, progress: Progress | None = None) -> Pair:
    """Load a pair: files, report, weights, wrapping.

    Args:
        spec: What to load.
        progress: Told what is being done and how far the whole is; may raise LoadCancelled.

    Raises:
        PairError: What keeps the pair from working, with the next step.
    """
    device = choose_device(spec.device)
    dtype = choose_dtype(spec.dtype, device)
    ours = open_checkpoint(spec.student, _part(progress, 0.0, 0.1))
    theirs = open_checkpoint(spec.teacher, _part(progress, 0.05, 0.1))
    report = check(ours, theirs, _part(progress, 0.1, 0.2))
    report.raise_if_blocked()
    refuse_if_too_large(ours, theirs, dtype, device)
    if device == "cpu" and ours.bytes < SMALL:
        torch.set_num_threads(1)
    student = load_weights(ours, dtype, device, _part(progress, 0.2, 0.6))
    teacher = load_weights(theirs, dtype, device, _part(progress, 0.6, 1.0))
    digest = f"{digest_of(ours)}:{digest_of(theirs)}:{str(dtype).removeprefix('torch.')}"
    return Pair(
        student,
        teacher,
        ours.tokenizer,
        theirs.tokenizer,
        family_of(ours.config["model_type"]),
        spec,
        digest,
        report,
    )
