"""Sham transplants of a found set: changes as large and in the same place, without the meaning.

If refusal came from disturbing those layers at all, a sham would bring it too. Four kinds: the
difference's own entries permuted within each site (equal norm), another layer's difference scaled
to equal norm, the difference with its sign flipped, and the weights of a benign donor, a model
tuned like the teacher but without the refusals, where the pair names one (as random and benign
controls in safety-neuron work, arXiv 2406.14144).

Sham weights belong to neither model. They are made apart, site by site, and run through a
`Substituted` view: a ContextVar names them while this thread decodes, so no shared module changes
and no other session sees them (see `dapa.model.substitution`).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from dapa.core.assets import folder
from dapa.core.records import EMPTY, OUTSIDE, Mask, PairError, Prompt, SettingError, Site
from dapa.core.registry import Registry
from dapa.measure.comparisons import Bench, Comparison, Progress, compared
from dapa.measure.utility import utility_of
from dapa.model.checkpoint import Checkpoint, open_checkpoint
from dapa.model.pair import Pair, short_name
from dapa.model.substitution import Substituted, changed
from dapa.search.engine.control import Halted
from dapa.search.job import SearchJob

Make = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""(the real difference, the material, a seeded generator) -> the sham difference, same shape."""


@dataclass(frozen=True)
class Sham:
    """One kind of sham."""

    make: Make
    material: Literal["own", "other", "donor"]
    """What it is made of: the site's own difference, another layer's, or the donor's."""
    draws: bool = False
    """Does it differ from seed to seed?"""


shams: Registry[Sham] = Registry("placebo")
"""Name -> kind of sham."""


def _equal_norm(own: Tensor, material: Tensor) -> Tensor:
    size = float(material.norm())
    return material * (float(own.norm()) / size) if size else material


def _permuted(own: Tensor, material: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(own.numel(), generator=generator).to(own.device)
    return own.flatten()[order].view_as(own)


shams.add("permuted", "difference's entries permuted")(Sham(_permuted, "own", draws=True))
shams.add("other-layer", "another layer's difference, equal norm")(
    Sham(lambda own, material, generator: _equal_norm(own, material), "other")
)
shams.add("flipped", "difference's sign flipped")(
    Sham(lambda own, material, generator: -own, "own")
)
shams.add("donor", "benign donor's weights")(
    Sham(lambda own, material, generator: material, "donor")
)


@dataclass(frozen=True)
class Placebos:
    """The shams beside student and found set."""

    rows: tuple[Comparison, ...]
    complete: bool
    """False where it was stopped before the end."""

    @property
    def effects(self) -> tuple[Comparison, ...]:
        """Shams that surely raise refusals: the gain's interval lies above zero."""
        shams = (row for row in self.rows if row.role == "placebo")
        return tuple(row for row in shams if row.gain is not None and row.gain.low > 0)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "rows": [row.as_dict() for row in self.rows],
            "effects": [row.name for row in self.effects],
            "complete": self.complete,
        }


def placebos(
    job: SearchJob,
    harmless: Sequence[Prompt] = (),
    mask: Mask | None = None,
    draws: int = 3,
    donor: str | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Placebos:
    """Transplant shams in a mask's place and judge them on the job's prompts, in full.

    Args:
        job: Whose pair, prompts and store serve.
        harmless: Prompts for over-refusal; the column stays empty without.
        mask: What the shams stand in for; the job's found set by default.
        draws: How many permutations are drawn.
        donor: Folder or hub id of a benign donor; by default the one that the pair names, if any.
        progress: Told before every row.
        stop: Set it, and the rows measured so far are returned.

    Raises:
        SettingError: Nothing to stand in for, or no draw.
        PairError: A donor that does not fit.
    """
    if mask is None:
        if job.report is None:
            raise SettingError("the search has no result yet; run it to its end, or give a mask")
        mask = job.report.mask
    if not mask.entries:
        raise SettingError("an empty mask has no placebo; choose at least one unit")
    if draws < 1:
        raise SettingError(f"{draws} draws of a permutation are none; choose 1 or more")
    job.pair.validate(mask)
    source = _Donor(job.pair, donor or _named_donor(job.pair))
    utility = utility_of(job, harmless, stop)
    plain = Bench(job, harmless, stop=stop, utility=utility)
    known = (
        Comparison("student", "student", "reference", EMPTY, 0.0),
        Comparison("found", "found set", "found", mask, job.pair.share(mask).fraction),
    )
    rows: list[Comparison] = []
    refused: list[list[bool] | None] = []
    todo = [(row, plain) for row in known]
    planned = list(_planned(job.pair, mask, draws, source.known))
    try:
        for done in range(len(todo) + len(planned)):
            if done < len(todo):
                row, bench = todo[done]
            else:
                row, sham, seed = planned[done - len(todo)]
                view = _view(job.pair, mask, sham, seed, source)
                bench = Bench(job, harmless, on=view, stop=stop, utility=utility)
            if progress:
                progress(row.title, done / (len(todo) + len(planned)))
            rows.append(bench.measured(row))
            refused.append(bench.refused(row.mask))
    except Halted:
        if len(rows) < 2:
            return Placebos(tuple(rows), False)
    return Placebos(compared(rows[: len(refused)], refused), len(rows) == len(known) + len(planned))


def _planned(
    pair: Pair, mask: Mask, draws: int, donor: bool
) -> Iterator[tuple[Comparison, str, int]]:
    """Every sham that can be made, as an empty row with its kind and seed."""
    share = pair.share(mask).fraction
    for name in shams:
        sham = shams[name]
        if sham.material == "donor" and not donor:
            continue
        if sham.material == "other" and any(
            _other(pair, mask, s) is None for s in pair.resolve(mask)
        ):
            continue
        for seed in range(draws if sham.draws else 1):
            label = f"{name}-{seed + 1}" if sham.draws and draws > 1 else name
            title = shams.titles[name] + (f", draw {seed + 1}" if sham.draws and draws > 1 else "")
            yield Comparison(label, title, "placebo", mask, share), name, seed


def sham_view(pair: Pair, mask: Mask, name: str = "permuted", seed: int = 0) -> Substituted:
    """The student with one sham in a mask's place, made of the pair's own weights.

    Args:
        pair: Whose student.
        mask: What the sham stands in for; a strength below 1 weakens the sham alike.
        name: Of `shams`; one of a donor needs `placebos`.
        seed: Of the draw.

    Raises:
        SettingError: No such sham, or one that needs a donor.
    """
    if shams[name].material == "donor":
        raise SettingError(f"the sham {name!r} needs a donor; choose another")
    return _view(pair, mask, name, seed, _Donor(pair, None))


def _view(pair: Pair, mask: Mask, name: str, seed: int, donor: _Donor) -> Substituted:
    """The pair with sham modules in the mask's sites."""
    sham = shams[name]
    generator = torch.Generator().manual_seed(seed)

    def change(site: Site, parameter: str, own: Tensor, where: tuple[slice, ...]) -> Tensor:
        material = own
        if sham.material == "other":
            layer = _other(pair, mask, site)
            assert layer is not None, "shams without another layer are not planned"
            material = _difference(pair, Site(layer, site.module), parameter)[where]
        elif sham.material == "donor":
            material = donor.difference(site, parameter)[where]
        return sham.make(own, material.to(own.device), generator)

    mark = donor.mark if sham.material == "donor" else ""
    tag = f"{name}:{seed}:{mask.key}:{mark}"
    return Substituted(pair, "student", changed(pair, mask, change), tag)


def _difference(pair: Pair, site: Site, parameter: str) -> Tensor:
    wrapped = pair.sites[site]
    ours = dict(wrapped.student.named_parameters())[parameter]
    theirs = dict(wrapped.teacher.named_parameters())[parameter]
    return theirs.float() - ours.float()


def _other(pair: Pair, mask: Mask, site: Site) -> int | None:
    """The layer whose difference stands in: one outside the mask, else the mask's next one."""
    if site.layer == OUTSIDE:
        return None
    differ = pair.differs[site.module]
    shape = pair.sites[site].weight.shape
    alike = [n for n in differ if pair.sites[Site(n, site.module)].weight.shape == shape]
    layers = [n for n in mask.layers if n in alike]
    outside = [n for n in alike if n not in layers]
    place = layers.index(site.layer) if site.layer in layers else 0
    if outside:
        return outside[place % len(outside)]
    if len(layers) > 1:
        return layers[(place + 1) % len(layers)]
    return None


def _named_donor(pair: Pair) -> str | None:
    """The donor that a bundled pair's facts name, if its folder is there."""
    name = pair.spec.planted.get("benign")
    if not isinstance(name, str):
        return None
    place = folder() / "toy" / name
    return str(place) if place.is_dir() else None


class _Donor:
    """A third model of the pair's architecture, of which only the sites' tensors are read."""

    def __init__(self, pair: Pair, name: str | None) -> None:
        self._pair = pair
        self._checkpoint: Checkpoint | None = open_checkpoint(name) if name else None
        self.mark = ""
        if self._checkpoint is not None:
            stamps = [(self._checkpoint.folder / file) for file in self._checkpoint.shards.values()]
            self.mark = _mark(sorted(set(stamps)))

    @property
    def known(self) -> bool:
        """Is there a donor?"""
        return self._checkpoint is not None

    def difference(self, site: Site, parameter: str) -> Tensor:
        """Donor minus student; PairError where the donor has no such tensor."""
        assert self._checkpoint is not None, "asked only where there is a donor"
        family = self._pair.family
        name = family.weight_name(site).removesuffix("weight") + parameter
        ours = dict(self._pair.sites[site].student.named_parameters())[parameter]
        if name not in self._checkpoint.shards or self._checkpoint.shapes[name] != ours.shape:
            raise PairError(
                f"the donor {short_name(self._checkpoint.name)} has no {name} of shape "
                f"{tuple(ours.shape)}; give a donor of the pair's architecture"
            )
        return self._checkpoint.tensor(name).to(ours.device).float() - ours.float()


def _mark(files: Sequence[Path]) -> str:
    """A donor's fingerprint by its files' names, sizes and times: enough for a memory's key."""
    stamps = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.blake2b(repr(stamps).encode(), digest_size=8).hexdigest()


__all__ = ["Placebos", "Sham", "placebos", "sham_view", "shams"]
