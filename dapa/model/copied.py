"""A mask's weights, really copied: what the masked student computes, as parameters of its own.

Export writes these, and what stands in for a mask elsewhere is made of the same differences.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dapa.model.strengths import LowRank, Strength
from dapa.model.transplant import TransplantModule

Moved = tuple[str, tuple[slice, ...], float, Tensor]
"""(parameter, which part of it, strength, teacher - student there in float32)."""


def moved_parts(module: TransplantModule, strength: Strength) -> Iterator[Moved]:
    """What a strength moves of a site, part by part; at a rank, the matrix's strongest directions.

    Both models must have the same parameters there, as pairs do.
    """
    theirs = dict(module.teacher.named_parameters())
    for name, ours in module.student.named_parameters():
        if isinstance(strength, LowRank) and name == "weight":
            found = module.low_rank(strength.rank).product()
            yield name, (slice(None),), strength.share, found
            continue
        for where, share in _places(module, strength, name):
            yield name, where, share, theirs[name][where].float() - ours[where].float()


def mix(
    module: TransplantModule, strength: Strength, name: str, ours: Tensor, theirs: Tensor
) -> None:
    """Move a strength into `ours`, the site's parameter `name` or a view of it, in place.

    What moves whole is `theirs`, bit for bit; fractions and ranks are reckoned in float32 at least.

    Args:
        module: The site, which tells a rank's directions.
        strength: Of `Pair.resolve`.
        name: `weight`, `bias`, or what else the site has.
        ours: The student's, as (outputs, inputs) where it is a matrix.
        theirs: The teacher's, of the same shape.
    """
    wide = torch.promote_types(ours.dtype, torch.float32)
    with torch.no_grad():
        if isinstance(strength, LowRank) and name == "weight":
            near = module.low_rank(strength.rank).product().to(ours.device, wide)
            ours.copy_(ours.to(wide) + strength.share * near)
            return
        for where, share in _places(module, strength, name):
            mine, new = ours[where], theirs[where].to(ours.device)
            if share != 1.0:
                new = mine.to(wide) + share * (new.to(wide) - mine.to(wide))
            mine.copy_(new)


def copied(module: TransplantModule, strength: Strength) -> dict[str, Tensor]:
    """The student's parameters of one site with a mask's strength moved into them, as new tensors.

    What moves whole is the teacher's own, bit for bit; only fractions and ranks are reckoned.
    """
    theirs = dict(module.teacher.named_parameters())
    made = {name: p.detach().clone() for name, p in module.student.named_parameters()}
    for name, mine in made.items():
        mix(module, strength, name, mine, theirs[name].detach())
    return made


def _places(
    module: TransplantModule, strength: Strength, name: str
) -> list[tuple[tuple[slice, ...], float]]:
    """The parts of a parameter that a strength reaches, each with its share."""
    if isinstance(strength, LowRank):
        return [((slice(None),), strength.share)]
    if not isinstance(strength, tuple):
        return [((slice(None),), strength)]
    return [
        (where, share)
        for start, stop, share in strength
        for where in module.places(name, start, stop)
    ]
