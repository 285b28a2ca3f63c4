"""The tensors that a mask changes in a student's files: copied from the teacher's, or blended.

At full strength a tensor is the teacher's own, in the teacher's own precision. It is narrowed to
the student's where nothing is lost by it; else (an adapter on a half-precision base) it keeps its
precision, so that the written model answers as the mask did in every dtype. A fraction is rounded
to the student's precision: a blend of weights and a blend of outputs round differently anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from dapa.core.records import ENDS, Mask, SettingError, Site
from dapa.model.adapted import Adapted, open_checkpoint
from dapa.model.checkpoint import Checkpoint
from dapa.model.digests import digest_of
from dapa.model.families import Stored
from dapa.model.pair import Pair
from dapa.model.strengths import LowRank, Strength
from dapa.model.transplant import TransplantModule
from dapa.share.tensorfiles import DTYPES, Part, made


@dataclass(frozen=True)
class Changed:
    """What a mask makes of a student's files."""

    pair: Pair
    mask: Mask
    student: Checkpoint
    teacher: Checkpoint
    digests: tuple[str, str]
    """Of the student's and the teacher's weights."""
    tensors: Mapping[str, Callable[[], Tensor]]
    """Tensor of the student's files -> how it is made, in the order of the files."""
    untied: bool = False
    """Does the mask part a head from embeddings that the student ties?"""
    sites: tuple[tuple[Site, Strength], ...] = ()
    _seen: dict[str, Part] = field(default_factory=dict, compare=False, repr=False)

    def part(self, name: str) -> Part:
        """One tensor as it is to be written; made twice where its precision has to be known."""
        if name not in self._seen:
            value = self.tensors[name]()
            self._seen[name] = made(name, value.dtype, value.shape, self.tensors[name])
        return self._seen[name]

    @property
    def parts(self) -> dict[str, Part]:
        """Every changed tensor."""
        return {name: self.part(name) for name in self.tensors}


def changed_by(pair: Pair, mask: Mask) -> Changed:
    """The tensors that a mask changes.

    Args:
        pair: As it is loaded; its files must be those that it was loaded from.
        mask: At least one unit.

    Raises:
        DapaError: An empty mask, units that are not there, files that changed, or a pair that lies
            in no files.
    """
    pair.validate(mask)
    if not mask.entries:
        raise SettingError("nothing is transplanted; name layers, such as --layers 3,5")
    student, teacher = open_checkpoint(pair.spec.student), open_checkpoint(pair.spec.teacher)
    files = student
    while isinstance(files, Adapted):
        files = files.base
    if type(files) is not Checkpoint:  # codes or a GGUF: their tensors stand in no file to replace
        raise SettingError(
            f"{pair.spec.student}'s files hold its weights as codes, which cannot be replaced one "
            "by one; save it as plain safetensors first, or export a report"
        )
    digests = digest_of(student), digest_of(teacher)
    if pair.parts["weights"].split(":")[:2] != list(digests):
        raise SettingError(
            f"the files of {pair.spec.title} changed since the pair was loaded; load it again"
        )
    places: dict[str, list[_Place]] = {}
    untied = False
    ends: list[Site] = []
    strengths = tuple((s, m) for s, m in pair.resolve(mask).items() if s in pair.sites)
    for site, strength in strengths:
        parts = dict(pair.sites[site].student.named_parameters())
        if site.module in (ENDS[0], ENDS[2]) and student.tied and not pair.tied:
            untied = True
            ends.append(site)
            continue
        found = student.tensors_of(pair.family, site)
        lost = sorted(parts.keys() - found.keys())
        if lost or not parts:
            raise SettingError(
                f"{site}'s {', '.join(lost) or 'weights'} cannot be found in the student's files; "
                "leave this unit out"
            )
        for name in parts:
            place = _Place(site, name, found[name], strength)
            for tensor in _names(student, pair, site, found[name].name):
                if not place.stored.stack:
                    places.setdefault(tensor, []).append(place)
            for tensor, cut in _cuts(student, place.stored):
                places.setdefault(tensor, []).append(replace(place, cut=cut))
    order = {name: i for i, name in enumerate(student.shards)}
    tensors = {
        name: _maker(pair, student, teacher, name, places[name])
        for name in sorted(places, key=order.__getitem__)
    }
    if untied:
        tensors |= _parted(pair, student, teacher, dict(strengths), ends)
    return Changed(pair, mask, student, teacher, digests, tensors, untied, strengths)


@dataclass(frozen=True)
class _Place:
    """One parameter of a site and where the file has it."""

    site: Site
    part: str
    stored: Stored
    strength: Strength
    cut: tuple[int, int, slice] | None = None
    """Of stacked experts that the file has one by one: which expert's, the tensor's place in its
    row of names, and its rows."""


def _cuts(student: Checkpoint, stored: Stored) -> Iterator[tuple[str, tuple[int, int, slice]]]:
    """The tensors of stacked experts, each with what it holds."""
    for expert, names in enumerate(stored.stack):
        at = 0
        for place, name in enumerate(names):
            rows = student.shapes[name][0]
            yield name, (expert, place, slice(at, at + rows))
            at += rows


def _names(student: Checkpoint, pair: Pair, site: Site, name: str) -> tuple[str, ...]:
    """The tensors to write: a tied matrix may stand in a file twice."""
    if site.module != ENDS[0] or not student.tied:
        return (name,)
    both = (f"{pair.family.embeddings}.weight", f"{pair.family.head}.weight")
    there = [pair.family.named(one, student.shapes) for one in both]
    return tuple(dict.fromkeys(one for one in there if one in student.shapes)) or (name,)


def _maker(
    pair: Pair, student: Checkpoint, teacher: Checkpoint, name: str, places: list[_Place]
) -> Callable[[], Tensor]:
    def make() -> Tensor:
        old = student.tensor(name)
        stored = DTYPES[student.dtypes[name]]
        wide = old.to(torch.promote_types(old.dtype, torch.float32)).clone()
        for place in places:
            theirs = _theirs(pair, teacher, place)
            ours = wide if place.cut else place.stored.take(wide)
            _mix(ours, theirs.to(wide.dtype), place, pair.sites[place.site])
        return narrowed(wide, stored, all(_exact(p.strength) for p in places))

    return make


def _exact(strength: Strength) -> bool:
    if isinstance(strength, tuple):
        return all(value == 1.0 for _, _, value in strength)
    return strength == 1.0  # a rank is rounded, as a fraction is


def narrowed(wide: Tensor, dtype: torch.dtype, exact: bool) -> Tensor:
    """In the student's precision; in single precision where that would lose what must be kept."""
    narrow = wide.to(dtype)
    if not exact or torch.equal(narrow.to(wide.dtype), wide):
        return narrow
    return wide


def _theirs(pair: Pair, teacher: Checkpoint, place: _Place) -> Tensor:
    """The teacher's parameter; from its file where that is what the pair holds, rounded."""
    held = dict(pair.sites[place.site].teacher.named_parameters())[place.part].detach().cpu()
    stored = teacher.tensors_of(pair.family, place.site).get(place.part)
    if place.cut is not None:  # a mixture's experts are many: only this one's is read
        expert, which, rows = place.cut
        held = held[expert][rows]
        if stored is None or not stored.stack:
            return held
        stored = Stored(stored.stack[expert][which])
    if stored is None:
        return held
    read = teacher.part(stored)
    same = read.shape == held.shape and torch.equal(read.to(held.dtype), held)
    return read if same else held


def _mix(ours: Tensor, theirs: Tensor, place: _Place, module: TransplantModule) -> None:
    """Write the transplant into a view of the student's tensor."""
    if isinstance(place.strength, LowRank):
        if place.part == "weight":  # the strongest directions of the difference, as they are shown
            found = module.low_rank(place.strength.rank)
            ours.add_(place.strength.share * (found.left @ found.right).cpu().to(ours.dtype))
        else:
            _blend(ours, theirs, place.strength.share)
        return
    if not isinstance(place.strength, tuple):
        _blend(ours, theirs, place.strength)
        return
    for start, stop, value in place.strength:
        for where in module.places(place.part, start, stop):
            _blend(ours[where], theirs[where], value)


def _blend(ours: Tensor, theirs: Tensor, strength: float) -> None:
    ours.copy_(theirs if strength == 1.0 else ours + strength * (theirs - ours))


def _parted(
    pair: Pair,
    student: Checkpoint,
    teacher: Checkpoint,
    strengths: Mapping[Site, Strength],
    moved: list[Site],
) -> dict[str, Callable[[], Tensor]]:
    """Embeddings and head each by itself, where the student had one matrix for both."""
    both = {
        "embeddings": f"{pair.family.embeddings}.weight",
        "head": f"{pair.family.head}.weight",
    }
    there = [pair.family.named(name, student.shapes) for name in both.values()]
    matrix = next(name for name in there if name in student.shapes)
    stored = Stored(matrix)
    made: dict[str, Callable[[], Tensor]] = {}
    for kind, name in zip(both, there, strict=True):
        site = next((one for one in moved if one.module == kind), None)
        if site is None:
            made[name] = lambda: student.tensor(matrix)
        else:
            places = [_Place(site, "weight", stored, strengths[site])]
            made[name] = _maker(pair, student, teacher, matrix, places)
    return made


def shard_of(student: Checkpoint, name: str) -> str:
    """The file that a tensor goes to: its own, or the last for one that the student lacks."""
    return student.shards.get(name) or sorted(set(student.shards.values()))[-1]


def folder_of_weights(student: Checkpoint) -> Path:
    """Where the files lie whose bytes are copied: the base's, under an adapter."""
    while isinstance(student, Adapted):
        student = student.base
    return student.folder


def whole_changes(changed: Changed) -> dict[str, Part]:
    """Every tensor that is not as it stands in the copied files: the mask's and an adapter's."""
    return {**changed.parts, **adapted_parts(changed.student, changed.tensors.keys())}


def adapted_parts(student: Checkpoint, without: Collection[str] = ()) -> dict[str, Part]:
    """What adapters on a student make of its base's tensors, but for those in `without`."""
    found: dict[str, Part] = {}
    under = student
    while isinstance(under, Adapted):
        for name in sorted(under.changed - found.keys() - set(without)):
            found[name] = _adapted(student, name)
        under = under.base
    return found


def _adapted(student: Checkpoint, name: str) -> Part:
    stored = DTYPES[student.dtypes[name]]

    def make() -> Tensor:
        return narrowed(student.tensor(name), stored, True)

    value = make()
    return made(name, value.dtype, value.shape, make)
