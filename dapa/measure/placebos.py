"""Sham transplants of a found set: changes as large and in the same place, without the meaning.

If refusal came from disturbing those layers at all, a sham would bring it too. Four kinds: the
difference handed to other neurons of each site, another layer's difference, the difference with its
sign flipped, and the weights of a benign donor, a model tuned like the teacher but without the
refusals, where the pair names one (as random and benign controls in safety-neuron work,
arXiv 2406.14144).

As large means in effect: each sham moves the outputs of its sites as far as the real transplant
does, on the same inputs (`matching`), and the table shows how well. Handing the difference's rows
to other neurons is an orthogonal map of a site's output, so it keeps singular values and the norm
of the change at every token by construction. Permuting single entries, which stood here once, keeps
neither: a difference that lies where activations are large is spread over where they are not. A
donor is taken as it is, and said to be.

Sham weights belong to neither model. They are made apart, site by site, and run through a
`Substituted` view: a ContextVar names them while this thread decodes, so no shared module changes
and no other session sees them (see `dapa.model.substitution`).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dapa.core.records import EMPTY, OUTSIDE, Mask, Prompt, SettingError, Site
from dapa.core.registry import Registry
from dapa.measure.comparisons import Bench, Comparison, Progress, compared
from dapa.measure.donor import Donor, named_donor
from dapa.measure.matching import PROMPTS, Match, change_norms, match_of, scales
from dapa.measure.utility import utility_of
from dapa.model.decode.log_odds import Ids
from dapa.model.pair import Pair
from dapa.model.substitution import Substituted, changed
from dapa.model.template import encode, render
from dapa.prompts.format import Turn
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
    scaled: bool = True
    """May it be scaled to the real transplant's effect? A model's own weights may not."""
    note: str = ""
    """What of the real difference it does not keep, whatever its scale."""


shams: Registry[Sham] = Registry("placebo")
"""Name -> kind of sham."""


def _equal_norm(own: Tensor, material: Tensor) -> Tensor:
    size = float(material.norm())
    return material * (float(own.norm()) / size) if size else material


def _permuted(own: Tensor, material: Tensor, generator: torch.Generator) -> Tensor:
    """Output rows in another order: the same singular values, the same norm at every token.

    Stacked weights (..., rows, columns) of several experts are permuted alike. One row alone has no
    other order: there its columns are permuted, which keeps the singular value only.
    """
    axis = 0 if own.ndim == 1 else -2
    if own.shape[axis] == 1:
        axis = -1
    count = own.shape[axis]
    order = torch.randperm(count, generator=generator)
    if count > 1 and torch.equal(order, torch.arange(count)):
        order = order.roll(1)
    return own.index_select(axis, order.to(own.device))


def _dims_permuted(own: Tensor, generator: torch.Generator) -> Tensor:
    """Of embeddings, whose output is a row: its dimensions in another order."""
    return own.index_select(-1, torch.randperm(own.shape[-1], generator=generator).to(own.device))


shams.add("permuted", "difference handed to other neurons")(Sham(_permuted, "own", draws=True))
shams.add("other-layer", "another layer's difference, as far in effect")(
    Sham(
        lambda own, material, generator: _equal_norm(own, material),
        "other",
        note="its spectrum is the other layer's",
    )
)
shams.add("flipped", "difference's sign flipped")(
    Sham(lambda own, material, generator: -own, "own")
)
shams.add("donor", "benign donor's weights")(
    Sham(
        lambda own, material, generator: material,
        "donor",
        scaled=False,
        note="a model's own weights, neither scaled nor of the same spectrum",
    )
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
    source = Donor(job.pair, donor or named_donor(job.pair))
    asked = [prompt.text for prompt in harmless or job.prompts][:PROMPTS]
    ids = [_encoded(job, text) for text in asked]
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
                view, match = _matched(job.pair, mask, sham, seed, source, ids)
                row = replace(row, match=match, note=_said(sham, match))
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


def sham_view(
    pair: Pair, mask: Mask, name: str = "permuted", seed: int = 0, ids: Ids = ()
) -> Substituted:
    """The student with one sham in a mask's place, made of the pair's own weights.

    Args:
        pair: Whose student.
        mask: What the sham stands in for; a strength below 1 weakens the sham alike.
        name: Of `shams`; one of a donor needs `placebos`.
        seed: Of the draw.
        ids: Rendered prompts on which its effect is matched; without, only what it keeps by
            construction.

    Raises:
        SettingError: No such sham, or one that needs a donor.
    """
    if shams[name].material == "donor":
        raise SettingError(f"the sham {name!r} needs a donor; choose another")
    return _matched(pair, mask, name, seed, Donor(pair, None), ids)[0]


def _matched(
    pair: Pair, mask: Mask, name: str, seed: int, donor: Donor, ids: Ids
) -> tuple[Substituted, Match | None]:
    """The pair with sham modules in the mask's sites, scaled to the real effect; and the match."""
    made, scale = _modules(pair, mask, name, seed, donor, {}), dict[Site, float]()
    match = None
    if ids:
        real = changed(pair, mask, lambda site, parameter, own, where: own)
        norms, theirs = change_norms(pair, ids, [real, made])
        scale = scales(norms, theirs) if shams[name].scaled else {}
        if any(factor != 1.0 for factor in scale.values()):
            made = _modules(pair, mask, name, seed, donor, scale)
            (theirs,) = change_norms(pair, ids, [made])
        match = match_of(norms, theirs, scale)
    mark = donor.mark if shams[name].material == "donor" else ""
    told = ",".join(f"{site}*{factor:.6g}" for site, factor in scale.items() if factor != 1.0)
    return Substituted(pair, "student", made, f"{name}/2:{seed}:{mask.key}:{mark}:{told}"), match


def _modules(
    pair: Pair, mask: Mask, name: str, seed: int, donor: Donor, scale: Mapping[Site, float]
) -> dict[Site, nn.Module]:
    sham = shams[name]

    def change(site: Site, parameter: str, own: Tensor, where: tuple[slice, ...]) -> Tensor:
        # one draw a site, so that a weight and its bias go to the same neurons
        generator = torch.Generator().manual_seed(_seed_of(seed, site, where))
        material = own
        if sham.material == "other":
            layer = _other(pair, mask, site)
            assert layer is not None, "shams without another layer are not planned"
            material = _difference(pair, Site(layer, site.module), parameter)[where]
        elif sham.material == "donor":
            material = donor.difference(site, parameter)[where]
        if sham.make is _permuted and site.module == "embeddings":
            return _dims_permuted(own, generator)
        return sham.make(own, material.to(own.device), generator) * scale.get(site, 1.0)

    return changed(pair, mask, change)


def _seed_of(seed: int, site: Site, where: tuple[slice, ...]) -> int:
    """A seed for each part of each site, equal for weight and bias."""
    part = (where[-1].start, where[-1].stop)
    mark = hashlib.blake2b(repr((seed, str(site), part)).encode(), digest_size=6)
    return int.from_bytes(mark.digest())


def _said(name: str, match: Match | None) -> str:
    """What a sham does not keep, and where its effect could not be matched."""
    notes = [shams[name].note] if shams[name].note else []
    if match is None:
        notes.append("no change of activations to match")
    elif not match.holds:
        notes.append(
            f"not matched in effect: it moves its sites {match.low:.2g} to {match.high:.2g} times "
            "as far as the found set does"
        )
    return "; ".join(notes)


def _encoded(job: SearchJob, text: str) -> tuple[int, ...]:
    how = job.settings.format()
    return tuple(encode(job.pair, render(job.pair, [Turn("user", text)], how), how))


def _difference(pair: Pair, site: Site, parameter: str) -> Tensor:
    wrapped = pair.sites[site]
    ours = dict(wrapped.student.named_parameters())[parameter]
    theirs = dict(wrapped.teacher.named_parameters())[parameter]
    return theirs.float() - ours.float()


def _shapes(pair: Pair, site: Site) -> list[torch.Size]:
    return [parameter.shape for parameter in pair.sites[site].student.parameters()]


def _other(pair: Pair, mask: Mask, site: Site) -> int | None:
    """The layer whose difference stands in: one outside the mask, else the mask's next one."""
    if site.layer == OUTSIDE:
        return None
    differ = pair.differs[site.module]
    shapes = _shapes(pair, site)
    alike = [n for n in differ if _shapes(pair, Site(n, site.module)) == shapes]
    layers = [n for n in mask.layers if n in alike]
    outside = [n for n in alike if n not in layers]
    place = layers.index(site.layer) if site.layer in layers else 0
    if outside:
        return outside[place % len(outside)]
    if len(layers) > 1:
        return layers[(place + 1) % len(layers)]
    return None


__all__ = ["Placebos", "Sham", "placebos", "sham_view", "shams"]
