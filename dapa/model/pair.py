"""A pair: the row-masked student and its teacher, loaded once, never mutated afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from dapa.core.masks import HEADS
from dapa.core.records import ENDS, Mask, PairError, SettingError, Site, Unit, ran_out
from dapa.model.adapted import beside, derived, open_checkpoint, parted
from dapa.model.carried import no_such_kind, units_exist
from dapa.model.checkpoint import Progress
from dapa.model.compatibility import Report, check
from dapa.model.digests import digest_of, joined, pair_parts
from dapa.model.distances import kinds_that_differ
from dapa.model.factored import Factored
from dapa.model.families import (
    ALL,
    GROUPS,
    Family,
    kinds_of,
    sites_of,
    submodule,
)
from dapa.model.heads import head_shape
from dapa.model.layout import placed
from dapa.model.lean import LeanTeacher, NotInMemory, read_lean
from dapa.model.linears import plain
from dapa.model.loading import load_weights
from dapa.model.machine import choose_device, choose_dtype
from dapa.model.memory import MemoryEstimate, estimate_memory
from dapa.model.offload import Stage, outside, settle, stages_for
from dapa.model.packed import PackedLinear, pack
from dapa.model.room import Room, release
from dapa.model.spec import PairSpec, facts_beside, short_name
from dapa.model.strengths import LowRank, Strength, reach, resolve
from dapa.model.teacher_mask import teacher_mask
from dapa.model.threads import install_threads
from dapa.model.transplant import WHOLE, Move, Plan, TransplantModule, asked_of, plan_masks
from dapa.model.wrapping import (
    copy_head_inputs,
    install,
    pair_up,
    share_equal_tensors,
    tied,
    where_they_differ,
)

_PLANS = 256
"""Plans that are remembered; then all are forgotten."""
_NEVER = object()


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
        self._plans: dict[Any, Any] = {}
        """Plans that were made: a batch is planned anew whenever a row comes or goes, and a toggle
        often goes back. Nothing that a plan depends on changes after load."""
        self._wholes: dict[Unit, dict[Site, Move]] = {}
        """What a whole unit moves, for those that were asked for."""
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
        if at_work is None and len(masks) == 1:
            alone = self._plan_alone(masks[0])
            if alone is not _NEVER:
                return alone  # type: ignore[no-any-return]
        rows = tuple(masks)
        key = (rows, None if at_work is None else tuple(at_work))
        known = self._plans.get(key, _NEVER)
        if known is not _NEVER:
            return known
        for mask in set(rows):
            units_exist(self, mask)
            for unit in mask.units:
                if not unit.cut and unit.kind not in HEADS and unit not in self._wholes:
                    live = [site for site in sites_of(unit) if site in self.live]
                    self._wholes[unit] = dict.fromkeys(live, WHOLE)
        made = plan_masks(rows, self.live, self.device, at_work, self.heads)
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        self._plans[key] = made
        return made

    def _plan_alone(self, mask: Mask) -> Any:
        """The plan of one row of whole units, which a toggle waits for; `_NEVER` for others."""
        known = self._plans.get(mask, _NEVER)
        if known is not _NEVER:
            return known
        moves: dict[Site, Move] = {}
        for unit, strength in mask.entries:
            wholes = self._wholes.get(unit)
            if wholes is None or strength != 1.0:
                return _NEVER
            moves.update(wholes)  # the sites' hashes come along
        made = Plan((mask,), moves) if moves else None
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        self._plans[mask] = made
        return made

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


def _part(progress: Progress | None, start: float, end: float) -> Progress | None:
    """The same listener, for a stretch of the whole way."""
    if progress is None:
        return None
    return lambda what, share: progress(what, start + (end - start) * share)


def load_pair(spec: PairSpec, progress: Progress | None = None, workers: int = 1) -> Pair:
    """Load a pair: files, report, weights, wrapping.

    Args:
        spec: What to load.
        progress: Told what is being done and how far the whole is; may raise LoadCancelled.
        workers: How many other processes of this machine are to hold it too, if two or more.

    Raises:
        PairError: What keeps the pair from working, with the next step.
    """
    try:
        return _loaded(spec, progress, workers)
    except Exception as error:  # torch's, Python's and the system's: anywhere on the way
        if not ran_out(error):
            raise
    release("cpu" if spec.device == "auto" else choose_device(spec.device))
    raise PairError(
        f"memory ran out while {spec.title} was loaded; use lean memory, a smaller dtype or "
        "another device, or free some first"
    )


def _loaded(spec: PairSpec, progress: Progress | None, workers: int) -> Pair:
    device = choose_device(spec.device)
    ours = open_checkpoint(spec.student, _part(progress, 0.0, 0.1))
    spec = spec if spec.planted else replace(spec, planted=facts_beside(ours.folder))
    theirs = open_checkpoint(spec.teacher, _part(progress, 0.05, 0.1))
    dtype = choose_dtype(spec.dtype, device, ours.parameters)
    memory = estimate_memory(ours, theirs, spec.memory, dtype, device, workers)
    kept = memory.keep if memory is not None and not memory.whole else None
    report = check(ours, theirs, _part(progress, 0.1, 0.2), kept)
    report.raise_if_blocked()
    assert memory is not None, "an architecture without a family is blocked"
    memory.raise_if_too_large()
    family = ours.family
    if progress:
        progress(memory.brief, 0.2)
    offloaded = memory.mode == "offload"
    where = "cpu" if offloaded else placed(ours, theirs, dtype, device)
    student = load_weights(ours, dtype, where, _part(progress, 0.2, 0.6))
    there = _part(progress, 0.6, 1.0)
    own = parted(ours, theirs)
    if kept is not None:
        plain(student, family)  # so that its modules are the sites' moulds
        teacher = read_lean(theirs, student, family, kept, ours.tied and theirs.tied, there)
    elif own is not None:
        aside = beside(ours, theirs, family) if memory.mode == "low-rank" else None
        teacher = derived(student, theirs, own, there, aside or ())  # all else is the student's own
    else:
        teacher = load_weights(theirs, dtype, where, there)
    models = [model for model in (student, teacher) if not isinstance(model, LeanTeacher)]
    stages = stages_for(models, family, device) if offloaded else []
    pair = Pair(
        student,
        teacher,
        ours.tokenizer,
        theirs.tokenizer,
        family,
        spec,
        pair_parts(ours, theirs, dtype, memory.mode == "low-rank"),
        report,
    )
    if stages:
        pair.offload(stages, device)
    elif memory.mode == "full":  # who asked for less memory is not given a faster, larger pair
        spare = memory.free - memory.held - memory.work
        memory = replace(memory, laid_out=pack(models, spare))
    pair.memory = memory
    return pair


__all__ = ["Pair", "PairSpec", "Share", "digest_of", "load_pair", "short_name"]
