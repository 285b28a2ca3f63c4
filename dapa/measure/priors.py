"""Rankings of units that need no oracle: how far apart their weights or outputs are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dapa.localize.divergence import divergence
from dapa.model.pair import Pair
from dapa.model.prompting import PromptFormat
from dapa.model.sites import GROUPS, sites_of
from dapa.records import Unit
from dapa.search.control import Halted

Prior = Mapping[Unit, float]
"""Unit -> how much it promises; higher is likelier."""


def weight_distance(pair: Pair, units: Sequence[Unit]) -> Prior:
    """Relative Frobenius distance of a unit's weights, |W_T - W_S| / |W_S|."""
    found = {}
    for unit in units:
        apart = size = 0.0
        for site in sites_of(unit):
            wrapped = pair.sites[site]
            theirs = dict(wrapped.teacher.named_parameters())
            for name, ours in wrapped.student.named_parameters():
                other = theirs[name]
                if unit.block is not None:
                    if wrapped.mask_input and name == "bias":
                        continue  # it belongs to no neuron
                    rows = slice(*unit.block)
                    where = (slice(None), rows) if wrapped.mask_input else (rows,)
                    ours, other = ours[where], other[where]
                apart += float((other.float() - ours.float()).square().sum())
                size += float(ours.float().square().sum())
        found[unit] = (apart / size) ** 0.5 if size else float("inf")
    return found


def divergence_prior(
    pair: Pair,
    units: Sequence[Unit],
    prompts: Sequence[str],
    how: PromptFormat,
    stop: threading.Event | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Prior:
    """Local divergence (cosine distance, last token) of a unit's sites, their mean.

    Blocks of one site share its value.

    Raises:
        Halted: It was stopped before the end.
    """
    kinds = tuple(dict.fromkeys(kind for unit in units for kind in GROUPS[unit.kind]))
    seen = divergence(pair, prompts, how, sites=kinds, progress=progress, stop=stop)
    if seen.n < seen.asked:
        raise Halted("stopped")
    cells = np.nan_to_num(seen.values, nan=0.0)  # (layers, sites)
    rows, columns = seen.layers.index, seen.sites.index
    return {
        unit: float(np.mean([cells[rows(unit.layer), columns(k)] for k in GROUPS[unit.kind]]))
        for unit in units
    }
