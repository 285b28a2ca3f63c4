"""What a batch has to run, decided once on the host: from the masks of its rows to a move a site.

No step of decoding asks the device which rows are whose: all of that stands in the plan, which
`transplant` obeys. Plans are remembered, since a row that comes or goes asks for the batch's anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from dapa.core.masks import HEADS
from dapa.core.records import Mask, Site, Unit
from dapa.model.carried import Checked, units_exist
from dapa.model.families import sites_of
from dapa.model.heads import HeadShape
from dapa.model.strengths import LowRank, Strength, resolve
from dapa.model.transplant import WHOLE, Move, Part, Plan, TransplantModule

_PLANS = 256
"""Plans that are remembered; then all are forgotten."""
_NEVER = object()


def _as_move(strengths: Sequence[Strength], width: int, device: torch.device) -> Move | None:
    """The plan of one site for rows with these strengths; None if every row is the student's."""
    groups: dict[Strength, list[int]] = {}
    for row, strength in enumerate(strengths):
        groups.setdefault(strength, []).append(row)
    if set(groups) == {0.0}:
        return None
    if set(groups) == {1.0}:
        return WHOLE

    def rows(strength: Strength) -> Tensor:
        return torch.tensor(groups.get(strength, []), dtype=torch.long, device=device)

    def value(strength: Strength) -> Part:
        if not isinstance(strength, tuple):
            return strength
        per_neuron = torch.zeros(width)
        for start, stop, part in strength:
            per_neuron[start:stop] = part
        return per_neuron.to(device)

    blends = tuple((rows(s), value(s)) for s in groups if s not in (0.0, 1.0))
    turns = [i for i in range(1, len(strengths)) if strengths[i] != strengths[i - 1]]
    split = turns[0] if len(turns) == 1 and not blends else 0
    teacher_first = strengths[0] == 1.0
    return Move(rows(0.0), rows(1.0), blends, len(strengths), split, teacher_first)


def _alone(mask: Mask, sites: Mapping[Site, TransplantModule]) -> dict[Site, Move] | None:
    """The moves of a single row of whole sites, which need no tensor; None for any other mask."""
    moves: dict[Site, Move] = {}
    for unit, strength in mask.entries:
        if strength != 1.0 or unit.cut or unit.kind in HEADS:
            return None
        for site in sites_of(unit):
            if site in sites:
                moves[site] = WHOLE
    return moves


def asked_of(
    mask: Mask, sites: Mapping[Site, TransplantModule], heads: HeadShape | None = None
) -> dict[Site, Strength]:
    """What a mask asks of these sites. A rank that is a matrix's own is the whole matrix."""
    found: dict[Site, Strength] = {}
    for site, strength in resolve(mask, heads).items():
        if site in sites:
            full = isinstance(strength, LowRank) and strength.rank >= sites[site].full_rank
            found[site] = strength.share if full else strength  # type: ignore[union-attr]
    return found


def plan_masks(
    masks: Sequence[Mask],
    sites: Mapping[Site, TransplantModule],
    device: torch.device,
    at_work: Sequence[int] | None = None,
    heads: HeadShape | None = None,
) -> Plan | None:
    """Decide per site what a batch with these masks, one a row, has to run.

    Sites that the pair does not differ in are absent from `sites` and are left alone. Sites that
    treat the rows alike share one Move, so a plan costs a few small tensors, not some per layer.

    Args:
        masks: One a row.
        sites: Those that may be moved.
        device: Where the rows' indices go.
        at_work: How many rows, from the first on, each layer sees; all of them if None.
        heads: How the pair's heads lie, for masks of heads.

    Returns:
        None where every row is the plain student.
    """
    if len(masks) == 1 and at_work is None:
        alone = _alone(masks[0], sites)
        if alone is not None:
            return Plan(tuple(masks), alone) if alone else None
    places: dict[Mask, int] = {}
    which = [places.setdefault(mask, len(places)) for mask in masks]  # hash each mask once
    resolved = [asked_of(mask, sites, heads) for mask in places]
    touched = {site for parts in resolved for site in parts}
    made: dict[tuple[tuple[Strength, ...], int, int], Move | None] = {}
    moves = {}
    for site in sorted(touched):
        here = tuple(parts.get(site, 0.0) for parts in resolved)
        for strength in here:
            if isinstance(strength, LowRank):
                sites[site].low_rank(strength.rank)  # now, not while it decodes
        rows = len(which) if at_work is None or site.layer < 0 else at_work[site.layer]
        key = (here, sites[site].neurons, rows)
        if rows and key not in made:
            made[key] = _as_move([here[i] for i in which[:rows]], key[1], device)
        move = made.get(key)
        if move is not None:
            moves[site] = move
    return Plan(tuple(masks), moves) if moves else None


class Planned(Checked, Protocol):
    """What planning asks of a pair."""

    live: dict[Site, TransplantModule]

    @property
    def device(self) -> torch.device:
        """Where the inputs go."""


class Plans:
    """The plans of one pair, each made once. Nothing that a plan depends on changes after load.

    It holds no pair, so that whoever lets go of one has let go of all of it.
    """

    def __init__(self) -> None:
        """Nothing is planned yet."""
        self._made: dict[Any, Any] = {}
        self._wholes: dict[Unit, dict[Site, Move]] = {}
        """What a whole unit moves, for those that were asked for."""

    def clear(self) -> None:
        """Make every plan anew."""
        self._made.clear()

    def of(
        self, pair: Planned, masks: Sequence[Mask], at_work: Sequence[int] | None = None
    ) -> Plan | None:
        """The plan of a batch of this pair whose rows carry these masks.

        `at_work`: how many of the rows, from the first on, each layer sees; all of them if None.

        Raises:
            SettingError: A unit that does not exist.
        """
        if at_work is None and len(masks) == 1:
            alone = self._of_one(masks[0])
            if alone is not _NEVER:
                return alone  # type: ignore[no-any-return]
        rows = tuple(masks)
        key = (rows, None if at_work is None else tuple(at_work))
        known = self._made.get(key, _NEVER)
        if known is not _NEVER:
            return known
        for mask in set(rows):
            units_exist(pair, mask)
            for unit in mask.units:
                if not unit.cut and unit.kind not in HEADS and unit not in self._wholes:
                    live = [site for site in sites_of(unit) if site in pair.live]
                    self._wholes[unit] = dict.fromkeys(live, WHOLE)
        made = plan_masks(rows, pair.live, pair.device, at_work, pair.heads)
        self._keep(key, made)
        return made

    def _of_one(self, mask: Mask) -> Any:
        """The plan of one row of whole units, which a toggle waits for; `_NEVER` for others."""
        known = self._made.get(mask, _NEVER)
        if known is not _NEVER:
            return known
        moves: dict[Site, Move] = {}
        for unit, strength in mask.entries:
            wholes = self._wholes.get(unit)
            if wholes is None or strength != 1.0:
                return _NEVER
            moves.update(wholes)  # the sites' hashes come along
        made = Plan((mask,), moves) if moves else None
        self._keep(mask, made)
        return made

    def _keep(self, key: Any, made: Plan | None) -> None:
        if len(self._made) >= _PLANS:
            self._made.clear()
        self._made[key] = made
