"""The finest units of a pair, for searches that go below a layer: matrices, heads, neurons.

The MLP's matrices are cut into blocks of neurons and attention into its heads, as far as both are
asked for; norms and what stands in no layer stay whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dapa.core.masks import HEADS
from dapa.core.records import SettingError, Site, Unit
from dapa.model.families import ALL, BLOCKS, GROUPS, MATRICES
from dapa.model.pair import Pair


def finest(
    pair: Pair,
    kinds: Sequence[str] | None = None,
    blocks: int = 8,
    cut: Sequence[str] | None = None,
) -> tuple[Unit, ...]:
    """The units of every site that differs, in the order of the stream.

    Args:
        pair: Whose sites.
        kinds: Kinds of site, or `heads` and `kv`, none twice, no other group; every kind of site
            that differs by default.
        blocks: Into how many blocks of neurons a site is cut; 1 leaves it whole.
        cut: Kinds of site that are cut: some of gate, up, down; by default all that are there.

    Raises:
        SettingError: A kind that is no single site, or a number of blocks below 1.
    """
    if blocks < 1:
        raise SettingError(f"{blocks} blocks of neurons is none; choose 1 or more")
    single = tuple(kind for kind in pair.differs if GROUPS[kind] == (kind,) or kind in HEADS)
    for kind in (*(kinds or ()), *(cut or ())):
        if kind not in single:
            raise SettingError(f"{kind!r} is not one kind of site; choose of {', '.join(single)}")
        if kind in (cut or ()) and kind not in BLOCKS:
            raise SettingError(f"{kind} has no blocks of neurons; cut {', '.join(BLOCKS)}")
    units: list[Unit] = []
    for whole in pair.units(",".join(kinds) if kinds else ALL):
        if whole.kind not in (BLOCKS if cut is None else cut):
            units.append(whole)
            continue
        width = pair.sites[Site(whole.layer, whole.kind)].neurons
        count = min(blocks, width)
        ends = [width * i // count for i in range(count + 1)]
        parts = zip(ends, ends[1:], strict=False)
        units += [replace(whole, block=part) for part in parts] if count > 1 else [whole]
    return tuple(units)


def with_heads(pair: Pair, parts: Sequence[str]) -> list[str]:
    """Kinds of site with heads in place of query and output, and of key and value.

    Only where all that the heads would move is asked for; else it stays as it is.
    """
    own = {
        kind: {part for part in pair.family.parts(kind) if pair.differs.get(part)}
        for kind in HEADS
        if pair.differs.get(kind)
    }
    taken = [kind for kind in own if own[kind] <= set(parts)]
    if "qkv" in parts and len(taken) < len(own):  # the rest of its rows would be nobody's
        return list(parts)
    gone = {part for kind in taken for part in own[kind]}
    return [*(part for part in parts if part not in gone), *taken]


def at_rank(pair: Pair, units: Sequence[Unit], rank: int) -> tuple[Unit, ...]:
    """These whole units at a rank, as far as they have matrices of a larger one.

    Raises:
        SettingError: No such rank, or no unit that has any.
    """
    if rank < 1:
        raise SettingError(f"rank {rank} moves nothing; choose 1 or more")
    made = []
    for unit in units:
        matrices = [s for s in pair.sites_of(unit) if s.module in MATRICES]
        most = max((pair.sites[site].full_rank for site in matrices), default=0)
        made.append(replace(unit, rank=rank) if rank < most and unit.kind not in HEADS else unit)
    if not any(unit.rank for unit in made):
        raise SettingError(
            f"no {', '.join(dict.fromkeys(unit.kind for unit in units))} has a rank above {rank}; "
            f"choose a smaller rank, or among {', '.join(MATRICES)}"
        )
    return tuple(made)
