"""A pair: the row-masked student and its teacher, loaded once, never mutated afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from dapa.core.masks import HEADS
from dapa.core.records import ENDS, Mask, SettingError, Site, Unit
from dapa.model.carried import no_such_kind, units_exist
from dapa.model.compatibility import Report
from dapa.model.context import context_of
from dapa.model.digests import joined
from dapa.model.distances import kinds_that_differ
from dapa.model.factored import Factored
from dapa.model.families import ALL, GROUPS, Family, kinds_of, sites_of, submodule
from dapa.model.heads import head_shape
from dapa.model.lean import LeanTeacher, NotInMemory
from dapa.model.linears import plain
from dapa.model.memory import MemoryEstimate
from dapa.model.offload import Stage, outside, settle
from dapa.model.packed import PackedLinear
from dapa.model.planning import Plans, asked_of
from dapa.model.room import Room
from dapa.model.spec import PairSpec
from dapa.model.strengths import LowRank, Strength, reach, resolve
from dapa.model.teacher_mask import teacher_mask
from dapa.model.threads import install_threads
from dapa.model.transplant import Plan, TransplantModule
from dapa.model.wrapping import (
    copy_head_inputs,
    install,
    pair_up,
    share_equal_tensors,
    tied,
    where_they_differ,
)


@dataclass(frozen=True)
class Share:
    """How much of the student a mask replaces."""

    parameters: int
    """Numbers that move; of a matrix at a rank, those of its two factors."""
    bytes: int
    fraction: float
    energy: float | None = None
    """Share of the squared difference that is kept where units move at a rank; None without."""


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
        digest: str | Mapping[str, str],
        report: Report | None = None,
    ) -> None:
        """Share equal tensors, wrap the student's sites, install taps. Takes ownership of both.

        `teacher` is a whole model, or a `LeanTeacher` of which only some sites are there. `digest`
        names all that decides a reply, at once or part by part.
        """
        self.student, self.teacher = student, teacher
        self.tokenizer, self.teacher_tokenizer = tokenizer, teacher_tokenizer
        self.family, self.spec, self.report = family, spec, report
        self._parts = None if isinstance(digest, str) else digest
        self.digest = digest if isinstance(digest, str) else joined(digest)
        for model in (student, teacher) if not isinstance(teacher, LeanTeacher) else (student,):
            plain(model, family)
        share_equal_tensors(student, teacher)
        self.n_layers = len(submodule(student, family.layers))
        self.whole = not isinstance(teacher, LeanTeacher)
        """Is the whole teacher in memory, so that it can run?"""
        self.kept: tuple[str, ...] = family.single if self.whole else teacher.kept
        """The kinds of site of which the teacher's modules are there."""
        self.tied = tied(student) and tied(teacher)
        """Are embeddings and head one matrix, in both models? Then they are one site."""
        self.sites: dict[Site, TransplantModule] = pair_up(self)
        """Every site of a kept kind, those that are equal in both models too."""
        self.heads = head_shape(student, family)
        """How its attention heads lie; None where that is not clear, so that none are offered."""
        apart = kinds_that_differ(family, where_they_differ(self.sites))
        self.differs = {k: v for k, v in apart.items() if self.heads or k not in HEADS}
        """Kind of unit -> the layers in which it differs; the others are never searched."""
        self.mixture = family.mixture
        """The parts of its mixture of experts, which move whole."""
        self.live = {s: m for s, m in self.sites.items() if s.layer in self.differs[s.module]}
        """The sites that differ: what masks move."""
        self._plans = Plans()
        """Plans that were made: a toggle often goes back."""
        self._apart: dict[tuple[int, str], tuple[Unit, ...]] = {}
        """The heads that differ, for the layers that were asked for."""
        self.wrapped = tuple(
            kind
            for kind in family.single
            if kind in self.differs and (kind in GROUPS["mlp"] or self.differs[kind])
        )
        """The kinds of site that stand in the student's tree, where watchers see them."""
        self.stages: tuple[Stage, ...] = ()
        """Where weights are offloaded, each layer's, of both models; empty where none are."""
        self.tied_head = install(self)
        """The embeddings' site in its second place, where the two are tied and differ."""
        self.parameters = sum(p.numel() for p in student.parameters())
        models = (student, teacher) if self.whole else (student,)
        copy_head_inputs(*models)
        self.memory: MemoryEstimate | None = None
        """What was reckoned before it was loaded; None of a pair that was made of models."""
        self.room = Room()
        """How many rows it has had memory for."""
        self.threads = install_threads(self.parameters, self.device, *models)
        """With how many threads it computes; None where it is not on the CPU."""

    def offload(self, stages: Sequence[Stage], device: str) -> None:
        """Hand each layer's weights to the stage that wraps it, and all others to the device."""
        self.stages = tuple(stages)
        roles = ("student", "teacher") if self.whole else ("student",)
        for index, stage in enumerate(self.stages):
            theirs = [m.teacher for site, m in self.sites.items() if site.layer == index]
            stage.fill([*(self.layer(role, index) for role in roles), *theirs])
        models = (self.student, self.teacher) if self.whole else (self.student,)
        settle((x for m in models for x in outside(m, submodule(m, self.family.layers))), device)

    def need_gradients(self) -> None:
        """SettingError where weights are offloaded: a gradient would find them gone."""
        if self.stages:
            raise SettingError(
                "gradients need all weights on the device, and this pair's are offloaded; load it "
                "with memory full or lean, or choose another prior or measurement"
            )

    @cached_property
    def teacher_mask(self) -> Mask | None:
        """The mask under which the student is the teacher; None where no mask makes it so."""
        return None if self.stages else teacher_mask(self)

    @property
    def parts(self) -> Mapping[str, str]:
        """What decides its replies, part by part; of models that lie in no files, the weights."""
        return self._parts or {"weights": self.digest}

    @property
    def tied_site(self) -> Site | None:
        """The site that stands in two places, if one does."""
        return self.tied_head.site if self.tied_head is not None else None

    @property
    def device(self) -> torch.device:
        """Where the inputs go."""
        return self.student.get_input_embeddings().weight.device  # type: ignore[no-any-return]

    @property
    def context_length(self) -> int:
        """The most tokens that prompt and reply may have together: both models read a prompt."""
        return min(context_of(model.config) for model in (self.student, self.teacher))

    def choices(self, mask: Mask) -> int:
        """Of how many units a mask of one kind is a choice; 0 for one of several kinds, or none."""
        kinds = {unit.kind for unit in mask.units}
        return len(list(self.differs.get(kinds.pop(), ()))) if len(kinds) == 1 else 0

    def layer(self, role: str, index: int) -> nn.Module:
        """One decoder layer of `student` or `teacher`."""
        model = self.student if role == "student" else self.teacher
        return submodule(model, self.family.layers)[index]  # type: ignore[no-any-return]

    def plan(self, masks: Sequence[Mask], at_work: Sequence[int] | None = None) -> Plan | None:
        """The plan of a batch whose rows carry these masks; checks that every unit exists.

        `at_work`: how many of the rows, from the first on, each layer sees; all of them if None.
        """
        return self._plans.of(self, masks, at_work)

    def known_as(self, digest: str) -> Pair:
        """This very pair under another name, for what an older version stored under it."""
        if digest == self.digest:
            return self
        other = copy(self)
        other.digest = digest
        return other

    def forget_plans(self) -> None:
        """Make every plan anew, as for the first time: to measure what that takes."""
        self._plans.clear()

    def validate(self, mask: Mask) -> None:
        """SettingError for a layer, kind or block that is not there, or one site moved twice."""
        units_exist(self, mask)
        resolve(mask, self.heads)

    def need_teacher(self, what: str) -> None:
        """NotInMemory, saying that `what` needs the whole teacher, where it is not there."""
        if not self.whole:
            raise NotInMemory(self.kept, what)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all distinct storages that hold weights of this pair, of both models.

        Layouts for the CPU are among them.
        """
        modules: list[nn.Module] = [self.student, *(site.teacher for site in self.sites.values())]
        if self.whole:
            modules.append(self.teacher)
        if self.tied_head is not None:
            modules.append(self.tied_head.teacher)
        held = {}
        for part in (each for module in modules for each in module.modules()):
            own = (*part.parameters(recurse=False), *part.buffers(recurse=False))
            for weight in part.held if isinstance(part, Factored) else own:
                storage = weight.untyped_storage()
                held[storage.data_ptr()] = storage.nbytes()
            if isinstance(part, PackedLinear):
                held.update(part.laid_out)
        return sum(held.values())

    def sites_of(self, unit: Unit) -> tuple[Site, ...]:
        """The sites that a unit moves in this pair."""
        return tuple(site for site in sites_of(unit) if site in self.sites)

    def resolve(self, mask: Mask) -> dict[Site, Strength]:
        """What a mask asks of each site of this pair."""
        return asked_of(mask, self.sites, self.heads)

    def reach(self, unit: Unit, site: Site) -> tuple[tuple[int, int], ...]:
        """Which neurons of a site a unit moves, [start, stop); of o and down they are inputs."""
        whole = ((0, self.sites[site].neurons),)
        return reach(unit, site.module, self.heads) or whole

    def units(self, kind: str) -> tuple[Unit, ...]:
        """The units of one kind that a search may move: those that differ.

        `all` gives every kind of site by itself, a list such as `gate,attention` the units of
        each, `heads` and `kv` a unit each head; ordered as the stream meets them.
        """
        kinds = [k for k in kinds_of(kind) if kind != ALL or k in self.differs]
        for one in kinds:
            if one not in self.differs:
                raise SettingError(no_such_kind(self, one))
        found = [
            unit
            for one in kinds
            for layer in self.differs[one]
            for unit in (self._heads_apart(layer, one) if one in HEADS else (Unit(layer, one),))
        ]
        if not found:
            others = [other for other, layers in self.differs.items() if layers]
            raise SettingError(
                f"student and teacher have equal {kind} weights everywhere; what differs is "
                f"{', '.join(others) or 'no site'}"
            )
        last = self.n_layers
        return tuple(sorted(found, key=lambda u: last if u.kind in ENDS[1:] else u.layer))

    def _heads_apart(self, layer: int, kind: str) -> tuple[Unit, ...]:
        """A unit for each head of a layer in which the two models differ."""
        known = self._apart.get((layer, kind))
        if known is None:
            assert self.heads is not None, "kinds of heads are offered where they are known"
            every = [Unit(layer, kind, (i, i + 1)) for i in range(self.heads.count(kind))]
            known = self._apart[layer, kind] = tuple(
                unit
                for unit in every
                if any(self.sites[s].differs(self.reach(unit, s)) for s in self.sites_of(unit))
            )
        return known

    def share(self, mask: Mask) -> Share:
        """How many parameters and bytes the mask replaces, and of how many."""
        moved = size = 0
        kept = whole = 0.0
        for site, strength in self.resolve(mask).items():
            module = self.sites[site]
            size = next(module.student.parameters()).element_size()
            every = sum(p.numel() for p in module.student.parameters())
            if isinstance(strength, LowRank):
                found = module.low_rank(strength.rank)
                kept, whole = kept + found.kept, whole + found.whole
                moved += found.left.numel() + found.right.numel() + every - module.weight.numel()
            elif isinstance(strength, tuple):
                width = sum(stop - start for start, stop, _ in strength)
                own = module.weight.numel() if module.mask_input else every  # a bias has no neuron
                moved += own * width // module.neurons
            else:
                moved += every
        energy = kept / whole if whole else None
        return Share(moved, moved * size, moved / self.parameters, energy)
