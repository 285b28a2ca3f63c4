"""The finest units of a pair, for searches that go below a layer: matrices and blocks of neurons.

Gates are cut into blocks, the other matrices stay whole: what the paper moves is the gate.
"""

from __future__ import annotations

from collections.abc import Sequence

from dapa.model.pair import Pair
from dapa.model.sites import GROUPS
from dapa.records import SettingError, Site, Unit


def finest(
    pair: Pair,
    kinds: Sequence[str] | None = None,
    blocks: int = 8,
    cut: Sequence[str] = ("gate",),
) -> tuple[Unit, ...]:
    """The units of every site that differs, layer by layer.

    Args:
        pair: Whose sites.
        kinds: Kinds of site; every one that differs by default.
        blocks: Into how many blocks of neurons a site is cut; 1 leaves it whole.
        cut: Kinds of site that are cut.

    Raises:
        SettingError: A kind that is no single site, or a number of blocks below 1.
    """
    if blocks < 1:
        raise SettingError(f"{blocks} blocks of neurons is none; choose 1 or more")
    single = tuple(kind for kind in pair.differs if GROUPS[kind] == (kind,))
    for kind in kinds or ():
        if kind not in single:
            raise SettingError(f"{kind!r} is not one kind of site; choose of {', '.join(single)}")
    units: list[Unit] = []
    for layer in range(pair.n_layers):
        for kind in kinds or single:
            if layer not in pair.differs[kind]:
                continue
            width = pair.sites[Site(layer, kind)].neurons
            count = min(blocks, width) if kind in cut else 1
            ends = [width * i // count for i in range(count + 1)]
            parts = list(zip(ends, ends[1:], strict=False))
            units += [Unit(layer, kind, part if count > 1 else None) for part in parts]
    return tuple(units)
