"""One model of a pair with other modules in some sites' places, seen by one context only.

A sham transplant needs weights that are neither the student's nor the teacher's, and necessity
needs the student's modules inside the teacher; masks can say neither. Nothing shared is touched:
the modules for the sites are made apart, a `Substituted` is a view of the pair that names them,
and while it is `applied` a watcher (a ContextVar, see `transplant.watching`) hands out their
outputs in the taps' place. A chat or a search in another thread has no such watcher, so it runs
the pair as it is; the same `Batch` and `PairRunner` serve the view.

Every row of a batch on a view runs the same substitutes: the view's `plan` is always the plain one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dapa.core.records import OUTSIDE, Mask, SettingError, Site
from dapa.model.copied import moved_parts
from dapa.model.families import submodule
from dapa.model.pair import Pair
from dapa.model.transplant import Plan, Tap, watching
from dapa.model.vocabulary_rows import twin

Change = Callable[[Site, str, Tensor, tuple[slice, ...]], Tensor]
"""(site, parameter, teacher - student on a part of it, which part) -> what to add to the student
there instead, of the same shape."""


class Substituted(Pair):
    """A view of a pair: one of its models, with substitutes. It shares everything, owns nothing."""

    def __init__(
        self,
        pair: Pair,
        role: Literal["student", "teacher"],
        modules: Mapping[Site, nn.Module],
        tag: str,
    ) -> None:
        """Name the substitutes; the pair stays as it is.

        Args:
            pair: Whose model runs.
            role: Which of its models; it stands in the view's `student`, where a batch looks, so
                that the view of a teacher has the roles swapped.
            modules: Site -> the module that stands in; only its `forward` is called.
            tag: Tells these weights from all others: verdicts are remembered under it.
        """
        self.__dict__.update(pair.__dict__)
        self.role, self.modules = role, dict(modules)
        self.digest = f"{pair.digest}+{role}:{tag}"
        if role == "teacher":
            pair.need_teacher("asking the teacher")
            self.student, self.tokenizer = pair.teacher, pair.teacher_tokenizer
            self.teacher, self.teacher_tokenizer = pair.student, pair.tokenizer

    def plan(self, masks: Sequence[Mask], at_work: Sequence[int] | None = None) -> Plan | None:
        """No row is masked: the view has one set of weights."""
        return None

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Run forwards with the substitutes in this context. Never hold it open across a yield."""
        with watching(self._look):
            yield

    def _look(
        self, tap: Tap, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> Any:
        substitute = self.modules.get(Site(tap.layer, tap.kind)) if tap.role == self.role else None
        # `forward`, not a call: a copied teacher module carries its tap, which would look again
        return None if substitute is None else substitute.forward(*args, **kwargs)


def changed(pair: Pair, mask: Mask, change: Change) -> dict[Site, nn.Module]:
    """Copies of the student's modules under `mask`, with another difference added to each.

    Where a unit is a block of neurons or is moved in part, only that part changes, by strength
    times what `change` gives; a unit of a rank hands `change` its own directions. Sites in which
    the models are equal are left out.
    """
    made = {}
    for site, strength in pair.resolve(mask).items():
        wrapped = pair.sites[site]
        if site.layer not in pair.differs[site.module]:
            continue
        copy = deepcopy(wrapped.student).to(pair.device)
        ours = dict(copy.named_parameters())
        with torch.no_grad():
            for name, where, share, own in moved_parts(wrapped, strength):
                mine = ours[name]
                moved = change(site, name, own.to(mine.device), where)
                mine[where] = (mine[where].float() + share * moved).to(mine.dtype)
        made[site] = copy
    return _with_tied_head(pair, made)


def given_back(pair: Pair, mask: Mask) -> dict[Site, nn.Module]:
    """What stands in the teacher's sites when it gets the student's weights under `mask`.

    Whole sites take the student's own module; a block, a fraction or a rank takes a blended copy.
    """
    pair.need_teacher("putting the student's weights into the teacher")
    made: dict[Site, nn.Module] = {}
    for site, strength in pair.resolve(mask).items():
        wrapped = pair.sites[site]
        if site.layer not in pair.differs[site.module]:
            continue
        if wrapped.teacher is not submodule(pair.teacher, pair.family.path(site)):
            raise SettingError(
                f"the two vocabularies differ, so the student's {site} does not fit the teacher; "
                "leave it out"
            )
        if strength == 1.0:
            made[site] = wrapped.student
            continue
        copy = deepcopy(wrapped.teacher).to(pair.device)
        theirs = dict(copy.named_parameters())
        with torch.no_grad():
            for name, where, share, own in moved_parts(wrapped, strength):
                old = theirs[name][where]
                theirs[name][where] = (old.float() - share * own.to(old.device)).to(old.dtype)
        made[site] = copy
    return _with_tied_head(pair, made)


def _with_tied_head(pair: Pair, made: dict[Site, nn.Module]) -> dict[Site, nn.Module]:
    """The same, with a head like the embeddings where the two are one matrix."""
    embeddings = made.get(Site(OUTSIDE, "embeddings"))
    if embeddings is not None and pair.tied_head is not None:
        weight: Tensor = embeddings.weight  # type: ignore[assignment]
        made[Site(OUTSIDE, "head")] = twin(pair.tied_head.student, {"weight": weight})
    return made
