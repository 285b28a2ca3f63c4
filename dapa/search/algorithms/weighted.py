"""Prefix bisection in the order of a prior: divergence, mask gradients, single-layer log-odds.

The likeliest units come first, so that the needed ones gather at the row's start, and the belief
holds hypotheses of "the prior is right, this sharply" beside those of "it says nothing". Only
ranks count, never a score's size: no two metrics share a scale. The mixture bounds what a
misleading prior can cost; the certificate is the same, so it can cost nothing else. (Ordering by
weight before delta debugging: WeightDD, arXiv 2411.19410.)
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp
from typing import Any

from dapa.core.records import Unit
from dapa.search.algorithms.belief import Belief, Row
from dapa.search.algorithms.bisect import DENSITIES, outward, prefixes
from dapa.search.algorithms.questions import Search, Steps, algorithms

CONFIDENCES = (0.5, 0.95)
"""How likely the prior's first unit is needed, where the prior is right."""
REACHES = (1.0, 2.0, 4.0, 8.0)
"""Over how many ranks that falls by the factor e."""
TRUST = 0.5
"""The share of belief that the prior gets at first."""


def sharp(count: int, confidence: float, reach: float) -> Row:
    """A hypothesis: the first ranks are likely needed, the later ones ever less."""
    return [max(confidence * exp(-rank / reach), 1 / (4 * count)) for rank in range(count)]


@algorithms.add("weighted", "Bisection in the order of a prior")
def _weighted(prior: Mapping[Unit, float] | None = None, **_: Any) -> Search:
    """Args: the prior: unit -> how much it promises, higher is likelier; absent units come last."""

    def search(units: tuple[Unit, ...]) -> Steps:
        flat: list[Row] = [[density] * len(units) for density in DENSITIES]
        if not prior:
            return prefixes(outward(units), Belief(flat, [1.0] * len(flat)))
        ranked = sorted(units, key=lambda unit: -prior.get(unit, float("-inf")))
        steep = [sharp(len(units), c, r) for c in CONFIDENCES for r in REACHES]
        weights = [(1 - TRUST) / len(flat)] * len(flat) + [TRUST / len(steep)] * len(steep)
        return prefixes(tuple(ranked), Belief([*flat, *steep], weights))

    return search
