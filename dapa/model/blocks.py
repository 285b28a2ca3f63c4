"""The finest units of a pair, for searches that go below a layer: matrices and blocks of neurons.

Gates are cut into blocks, the other sites stay whole: what the paper moves is the gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dapa.core.records import SettingError, Site, Unit
from dapa.model.families import ALL, BLOCKS, GROUPS
from dapa.model.pair import Pair


def finest(
    pair: Pair,
    kinds: Sequence[str] | None = None,
    blocks: int = 8,
    cut: Sequence[str] = ("gate",),
) -> tuple[Unit, ...]:
    """The units of every site that differs, in the order of the stream.

    Args:
        pair: Whose sites.
        kinds: Kinds of site, none twice, no group; every one that differs by default.
        blocks: Into how many blocks of neurons a site is cut; 1 leaves it whole.
        cut: Kinds of site that are cut: some of gate, up, down.

    Raises:
        SettingError: A kind that is no single site, or a number of blocks below 1.
    """
    if blocks < 1:
        raise SettingError(f"{blocks} blocks of neurons is none; choose 1 or more")
    single = tuple(kind for kind in pair.differs if GROUPS[kind] == (kind,))
    for kind in (*(kinds or ()), *cut):
        if kind not in single:
            raise SettingError(f"{kind!r} is not one kind of site; choose of {', '.join(single)}")
        if kind in cut and kind not in BLOCKS:
            raise SettingError(f"{kind} has no blocks of neurons; cut {', '.join(BLOCKS)}")
    units: list[Unit] = []
    for whole in pair.units(",".join(kinds) if kinds else ALL):
        width = pair.sites[Site(whole.layer, whole.kind)].neurons
        count = min(blocks, width) if whole.kind in cut else 1
        ends = [width * i // count for i in range(count + 1)]
        parts = zip(ends, ends[1:], strict=False)
        units += [replace(whole, block=part) for part in parts] if count > 1 else [whole]
    return tuple(units)
