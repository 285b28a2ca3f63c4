"""How two models become a pair: equal tensors shared, sites wrapped in place, taps installed.

Done once, while a pair is made; nothing here runs afterwards. This module does not know files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import nn

from dapa.core.records import OUTSIDE, Site
from dapa.model.families import Family, submodule
from dapa.model.lean import LeanTeacher
from dapa.model.linears import let_go
from dapa.model.reentry import install_entry
from dapa.model.transplant import Tap, TransplantModule, install_tap
from dapa.model.vocabulary_rows import shared_rows, twin, with_rows

_HEAD, _EMBEDDINGS = Site(OUTSIDE, "head"), Site(OUTSIDE, "embeddings")


class Unwrapped(Protocol):
    """What joining two models needs to know of the pair that they are to become."""

    student: Any
    teacher: Any
    tokenizer: Any
    teacher_tokenizer: Any
    family: Family
    kept: tuple[str, ...]
    wrapped: tuple[str, ...]
    sites: dict[Site, TransplantModule]
    tied: bool
    whole: bool
    n_layers: int

    def layer(self, role: str, index: int) -> nn.Module:
        """One model's decoder layer."""


def share_equal_tensors(student: nn.Module, teacher: nn.Module | LeanTeacher) -> None:
    """Let the teacher use the student's storage wherever the two hold the same values."""
    if isinstance(teacher, LeanTeacher):  # done where it was read
        return
    ours = dict(student.named_parameters(remove_duplicate=False))
    for name, theirs in teacher.named_parameters(remove_duplicate=False):
        mine = ours.get(name)
        if mine is not None and mine.device == theirs.device and _equal(mine, theirs):
            theirs.data = mine.data
    let_go(teacher, student)


def tied(model: Any) -> bool:
    """Is the head the embeddings' own matrix?"""
    if isinstance(model, LeanTeacher):
        return model.tied
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def pair_up(pair: Unwrapped) -> dict[Site, TransplantModule]:
    """Every site of which both models' modules are there; the models are not touched yet."""
    made = {}
    for site in pair.family.places(pair.n_layers):
        if (site == _HEAD and pair.tied) or site.module not in pair.kept:
            continue
        ours, theirs = submodule(pair.student, pair.family.path(site)), teachers(pair, site)
        made[site] = TransplantModule(site, ours, _same_rows(pair, site, ours, theirs))
    return made


def teachers(pair: Unwrapped, site: Site) -> nn.Module:
    """The teacher's own module of a site, lean or whole."""
    if isinstance(pair.teacher, LeanTeacher):
        return pair.teacher.modules[site]
    return submodule(pair.teacher, pair.family.path(site))  # type: ignore[no-any-return]


def _same_rows(pair: Unwrapped, site: Site, ours: nn.Module, theirs: nn.Module) -> nn.Module:
    """The teacher's module; where its rows are other tokens', one with the student's rows."""
    if site not in (_HEAD, _EMBEDDINGS):
        return theirs
    weight: Any = theirs.weight
    sizes = (ours.weight.shape[0], weight.shape[0])  # type: ignore[index, union-attr]
    shared = shared_rows(pair.tokenizer, pair.teacher_tokenizer, sizes)  # type: ignore[arg-type]
    if shared is None:
        return theirs
    return twin(ours, {"weight": with_rows(ours, weight, shared)})


def where_they_differ(sites: Mapping[Site, TransplantModule]) -> dict[str, list[int]]:
    """Kind of site -> the layers in which student and teacher differ."""
    differs: dict[str, list[int]] = {}
    for site, module in sites.items():
        layers = differs.setdefault(site.module, [])
        ours, theirs = (dict(m.named_parameters()) for m in (module.student, module.teacher))
        if ours.keys() != theirs.keys() or not all(_equal(ours[k], theirs[k]) for k in ours):
            layers.append(site.layer)
    return differs


def _equal(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return False
    return ours.data_ptr() == theirs.data_ptr() or torch.equal(ours, theirs)


def copy_head_inputs(*models: Any) -> None:
    """Let the heads of these models read states that lie together in memory.

    A slice such as every row's last position does not, and torch then multiplies row by row with a
    copy of the head for each: with 48 rows and 49,152 words, 6 times the time of the whole model in
    bfloat16. Copying the states costs nothing beside it.
    """
    for model in models:
        model.get_output_embeddings().register_forward_pre_hook(_together)


def _together(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(one.contiguous() if torch.is_tensor(one) else one for one in args)


def install(pair: Unwrapped) -> TransplantModule | None:
    """Put the sites into the student's tree, and taps where watchers may look.

    A kind outside of the MLP that is equal in both models stays unwrapped: it would cost time in
    every forward, and no mask ever moves it.

    Returns:
        The tied head, which is the embeddings' site in a second place; None without one.
    """
    family = pair.family
    for layer in range(pair.n_layers):
        for role in ("student", "teacher") if pair.whole else ("student",):
            block = pair.layer(role, layer)
            install_entry(block, layer, family.tuples)
            install_tap(block, Tap(role, layer, "residual"))
            for kind, path in (("attention", family.attention), ("mlp", family.mlp)):
                install_tap(submodule(block, path), Tap(role, layer, kind))
    for site, module in pair.sites.items():
        if site.module in pair.wrapped:
            _place(pair, site, module)
    if not (pair.tied and "embeddings" in pair.wrapped):
        return None
    both = pair.sites[_EMBEDDINGS]
    ours = submodule(pair.student, family.head)
    if pair.whole and both.teacher is teachers(pair, _EMBEDDINGS):
        theirs = submodule(pair.teacher, family.head)
    else:
        theirs = twin(ours, {"weight": both.teacher.weight})  # type: ignore[dict-item]
    head = TransplantModule(both.site, ours, theirs, "head")
    _place(pair, _HEAD, head)
    return head


def _place(pair: Unwrapped, site: Site, module: TransplantModule) -> None:
    path = pair.family.path(site)
    if pair.whole:
        install_tap(submodule(pair.teacher, path), Tap("teacher", site.layer, site.module))
    parent, _, leaf = path.rpartition(".")
    setattr(submodule(pair.student, parent), leaf, module)
