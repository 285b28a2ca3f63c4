"""What a mask asks of each site: one value, values for some of its neurons, or a rank.

This module does not know weights: which heads stand where is told to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from dapa.core.masks import HEADS
from dapa.core.records import Mask, SettingError, Site, Unit
from dapa.model.families import MATRICES, sites_of
from dapa.model.heads import HeadShape, Ranges


@dataclass(frozen=True)
class LowRank:
    """The strongest directions of a matrix's difference; its bias goes along whole."""

    rank: int
    share: float
    """By how much of them: the unit's strength."""


Strength = float | tuple[tuple[int, int, float], ...] | LowRank
"""One value for the whole site, (start, stop, value) blocks of its neurons, or a rank. The neurons
of down and o are their inputs, of all others their outputs."""


def reach(unit: Unit, module: str, heads: HeadShape | None = None) -> Ranges | None:
    """Which neurons of one of its sites a unit moves; None for the whole site.

    Args:
        unit: Of which `module` is one of the sites.
        module: The kind of site.
        heads: How the pair's heads lie; needed for `heads` and `kv` only.
    """
    if unit.kind in HEADS:
        if unit.block is None and module != "qkv":
            return None
        assert heads is not None, "a pair whose heads are not known offers no units of them"
        return heads.ranges(unit.kind, module, unit.block)
    return None if unit.block is None else (unit.block,)


def resolve(mask: Mask, heads: HeadShape | None = None) -> dict[Site, Strength]:
    """What a mask asks of each site. SettingError if two units move the same neurons."""
    whole: dict[Site, float | LowRank] = {}
    blocks: dict[Site, list[tuple[int, int, float]]] = {}
    for unit, strength in mask.entries:
        for site in sites_of(unit):
            ranges = reach(unit, site.module, heads)
            if ranges is not None:
                blocks.setdefault(site, []).extend((*part, strength) for part in ranges)
                continue
            ranked = unit.rank is not None and site.module in MATRICES  # a norm has no rank
            value = LowRank(unit.rank or 0, strength) if ranked else strength
            if site in whole and whole[site] != value:
                raise SettingError(f"{site} is transplanted twice, at different strengths")
            whole[site] = value
    for site, parts in blocks.items():
        parts.sort()
        ends = [stop for _, stop, _ in parts]
        starts = [start for start, _, _ in parts[1:]]
        if site in whole or any(a > b for a, b in zip(ends, starts, strict=False)):
            raise SettingError(f"two units of the mask move the same neurons of {site}")
    return {**whole, **{site: tuple(parts) for site, parts in blocks.items()}}
