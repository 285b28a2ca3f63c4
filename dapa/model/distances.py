"""Where two checkpoints' weights differ, site by site, streamed from disk: no model is built."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import zip_longest

import torch
from torch import Tensor

from dapa.core.records import Site
from dapa.model.checkpoint import Checkpoint
from dapa.model.families import Family, Stored
from dapa.model.files import Progress
from dapa.model.vocabulary_rows import shared_rows


def places_of(family: Family, layers: int, kinds: Collection[str], tied: bool) -> list[Site]:
    """The sites of these kinds; a head that both models tie is none of its own."""
    return [
        site
        for site in family.places(layers)
        if site.module in kinds and not (tied and site.module == "head")
    ]


def distances(
    family: Family,
    places: Sequence[Site],
    student: Checkpoint,
    teacher: Checkpoint,
    progress: Progress | None,
) -> dict[str, tuple[float, ...]]:
    """Relative Frobenius distance |teacher - student| / |student| per kind and layer.

    Weights and biases count together; of embeddings and head only the rows of shared tokens.
    """
    values: dict[str, list[float]] = {site.module: [] for site in places}
    rows = (student.settings.vocab_size, teacher.settings.vocab_size)
    shared = shared_rows(student.tokenizer, teacher.tokenizer, rows)
    for done, site in enumerate(places):
        if progress:
            progress("comparing the two models", done / len(places))
        mine, other = student.tensors_of(family, site), teacher.tensors_of(family, site)
        apart = size = 0.0
        for here, there in _pieces(student, mine, teacher, other):
            a = None if here is None else here.float()
            b = None if there is None else there.float()
            a = torch.zeros_like(b) if a is None and b is not None else a
            b = torch.zeros_like(a) if b is None and a is not None else b
            assert a is not None and b is not None, f"{site} has a part in one of the two"
            if shared is not None and site.module in ("embeddings", "head"):
                index = shared.nonzero().flatten()
                a, b = a[index], b[index]
            apart += 0.0 if torch.equal(a, b) else float((a - b).square().sum())
            size += float(a.square().sum())
        values[site.module].append((apart / max(size, 1e-24)) ** 0.5)
    return {kind: tuple(row) for kind, row in values.items()}


def _pieces(
    student: Checkpoint,
    mine: Mapping[str, Stored],
    teacher: Checkpoint,
    other: Mapping[str, Stored],
) -> Iterator[tuple[Tensor | None, Tensor | None]]:
    """A site's parameters in both models, expert by expert; None where one of them has it not."""
    for part in mine.keys() | other.keys():
        ours = student.pieces(mine[part]) if part in mine else ()
        theirs = teacher.pieces(other[part]) if part in other else ()
        yield from zip_longest(ours, theirs)


def kinds_that_differ(family: Family, differs: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Kind of unit (groups too) -> layers in which any of its sites differs.

    Only kinds whose every site is among the keys of `differs` are there.
    """
    return {
        kind: sorted({layer for part in family.parts(kind) for layer in differs[part]})
        for kind in family.kinds
        if all(part in differs for part in family.parts(kind))
    }
