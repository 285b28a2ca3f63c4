"""Which masks a pair can carry: every unit of one is there, and can move as it is asked to.

What does not fit is named with what does. This module decodes nothing and moves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from dapa.core.masks import HEADS
from dapa.core.records import ENDS, OUTSIDE, Mask, SettingError, Site, Unit
from dapa.model.families import BLOCKS, GROUPS, MATRICES, Family, sites_of
from dapa.model.heads import HeadShape
from dapa.model.transplant import TransplantModule


class Checked(Protocol):
    """What is asked of a pair."""

    n_layers: int
    family: Family
    differs: Mapping[str, Collection[int]]
    mixture: tuple[str, ...]
    heads: HeadShape | None
    kept: tuple[str, ...]
    tied: bool
    whole: bool
    sites: dict[Site, TransplantModule]

    def sites_of(self, unit: Unit) -> tuple[Site, ...]:
        """The sites that a unit moves."""


def units_exist(pair: Checked, mask: Mask) -> None:
    """SettingError for a unit that this pair has not, or cannot move as the mask asks."""
    for unit, strength in mask.entries:
        if unit.kind not in ENDS and not 0 <= unit.layer < pair.n_layers:
            raise SettingError(
                f"layer {unit.layer} does not exist; {unit.kind} stands in this pair's layers "
                f"0 to {pair.n_layers - 1}, as in 0.{unit.kind}"
            )
        if unit.kind not in pair.differs:
            raise SettingError(no_such_kind(pair, unit.kind))
        if unit.kind in ENDS and unit.layer != OUTSIDE:
            raise SettingError(f"{unit} belongs to no layer; write {unit.kind}")
        whole = pair.mixture and any(s.module in pair.mixture for s in sites_of(unit))
        if whole and strength not in (0.0, 1.0):
            raise SettingError(
                f"{unit} is asked for at strength {strength:g}; a mixture of experts moves "
                "whole, so give it strength 0 or 1"
            )
        if whole and unit.cut:
            raise SettingError(f"{unit} cannot be cut; a mixture of experts moves whole")
        if unit.rank is not None:
            _rank_fits(pair, unit)
        if unit.block is not None:
            _block_fits(pair, unit)


def _block_fits(pair: Checked, unit: Unit) -> None:
    """SettingError where a unit's neurons or heads are not there."""
    start, stop = unit.block or (0, 0)
    if unit.kind in HEADS:
        assert pair.heads is not None, "kinds of heads are offered where they are known"
        count, one = pair.heads.count(unit.kind), HEADS[unit.kind]
        if not 0 <= start < stop <= count:
            raise SettingError(
                f"{unit} does not exist; this pair's layers have {unit.layer}.{one}[0] to "
                f"{unit.layer}.{one}[{count - 1}]"
            )
        return
    if unit.kind not in BLOCKS:
        raise SettingError(
            f"{unit} cannot be cut; only {', '.join(BLOCKS)} have blocks of neurons, and "
            "attention has heads, as in 3.head[7] and 3.kv[1]"
        )
    for site in pair.sites_of(unit):
        if not 0 <= start < stop <= pair.sites[site].neurons:
            raise SettingError(f"{unit} is outside the site's {pair.sites[site].neurons} neurons")


def _rank_fits(pair: Checked, unit: Unit) -> None:
    """SettingError where a unit cannot be moved at its rank."""
    if unit.block is not None or unit.kind in HEADS:
        raise SettingError(f"{unit} is cut twice; move some of its heads or neurons, or a rank")
    matrices = [site for site in pair.sites_of(unit) if site.module in MATRICES]
    if not matrices:
        raise SettingError(f"{unit.kind} has no rank; only {', '.join(MATRICES)} have one")
    most = max(pair.sites[site].full_rank for site in matrices)
    if not 1 <= unit.rank <= most:  # type: ignore[operator]
        raise SettingError(f"{unit} has no such rank; choose 1 to {most}")


def no_such_kind(pair: Checked, kind: str) -> str:
    """Why there are no units of this kind here."""
    if kind == "head" and pair.tied:
        return "the head is tied to the embeddings in both models; take embeddings for both"
    if not pair.whole and kind in pair.family.kinds:
        return (
            f"lean memory holds only {', '.join(pair.kept)} of the teacher; load the pair with "
            f"memory lean:{kind}, or full, to move {kind}"
        )
    if kind in GROUPS["mlp"] and pair.mixture:
        return (
            f"{pair.family.title} is a mixture of experts, each with a gate of its own; take "
            f"{', '.join(pair.mixture)}, or mlp for all of them"
        )
    if kind in HEADS and kind in pair.family.kinds:
        return (
            f"{pair.family.title}'s matrices do not divide into the heads that its config "
            "tells; move attention, or its q, k, v and o"
        )
    if kind == "gate" and pair.family.first != "gate":
        return (
            f"{pair.family.title}'s MLP has no gate; take up (its up projection) or mlp (the "
            "whole MLP)"
        )
    return (
        f"{pair.family.title} has no sites of kind {kind!r}; choose one of "
        f"{', '.join(pair.differs)}"
    )
