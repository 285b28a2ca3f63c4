"""How far a change of weights moves activations, and by what to scale one to match another.

Two changes of equal norm in weights can be worlds apart in effect: a fine-tune's difference lies
where activations are large, its entries in another order do not. A sham is a fair control only if
it moves the outputs of its sites as far, on the same inputs. Measured here on the student's own run
of harmless prompts (or the search's, where none are given): the root mean square over tokens of
|y_changed - y_student|, site by site.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dapa.core.records import OUTSIDE, Site
from dapa.model.decode.log_odds import Ids, next_logits
from dapa.model.pair import Pair
from dapa.model.transplant import Tap, TransplantModule, watching

PROMPTS = 8
"""Prompts that effects are measured on, at most: norms settle soon."""
CLOSE = 0.05
"""A match this near to 1 is one."""
MOST = 10.0
"""A change is scaled by no more than this: beyond, it would be another kind of change."""
Modules = Mapping[Site, nn.Module]


@dataclass(frozen=True)
class Match:
    """A sham's change of activations, as a share of the real transplant's."""

    value: float
    """Geometric mean over sites, after scaling; 1 is a match. 0 where a site does not move."""
    low: float
    """The least matched site."""
    high: float
    """The most."""
    scale: float
    """By which the sham's weights were multiplied, geometric mean over sites."""
    sites: int

    @property
    def holds(self) -> bool:
        """Is every site matched?"""
        return self.low >= 1 - CLOSE and self.high <= 1 + CLOSE

    def as_dict(self) -> dict[str, float | int | bool]:
        """The JSON form."""
        told = {name: getattr(self, name) for name in ("value", "low", "high", "scale", "sites")}
        return {**told, "matched": self.holds}


@torch.inference_mode()
def change_norms(pair: Pair, ids: Ids, every: Sequence[Modules]) -> list[dict[Site, float]]:
    """How far each set of modules moves each site's output from the student's.

    Args:
        pair: Whose student runs, unmasked, so that all sets see the same inputs.
        ids: Rendered prompts in the student's tokens, run one by one.
        every: Sets of modules that stand in for the student's.

    Returns:
        For each set, site -> root mean square over all tokens of the norm of the change.
    """
    squares = [dict.fromkeys(modules, 0.0) for modules in every]
    tokens = [dict.fromkeys(modules, 0) for modules in every]

    def look(tap: Tap, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        if tap.role != "student" or not isinstance(module, TransplantModule):
            return
        site = Site(tap.layer, tap.kind)
        for modules, sums, counts in zip(every, squares, tokens, strict=True):
            if site in modules:
                with watching(None):
                    theirs = _states(modules[site].forward(*args, **kwargs))
                off = (theirs - _states(out)).flatten(0, -2)  # (tokens, d)
                sums[site] += float(off.square().sum())
                counts[site] += len(off)

    for prompt in ids:
        with watching(look):
            next_logits(pair, [prompt])
    return [
        {site: math.sqrt(sums[site] / counts[site]) for site in sums if counts[site]}
        for sums, counts in zip(squares, tokens, strict=True)
    ]


def _states(out: Any) -> Tensor:
    states: Tensor = out[0] if isinstance(out, tuple) else out
    return states.float()


def scales(real: Mapping[Site, float], sham: Mapping[Site, float]) -> dict[Site, float]:
    """By how much each site's sham difference must be multiplied to move its site as far.

    Sites that one of them does not move are left as they are, and none is scaled more than `MOST`
    times either way. A head tied to the embeddings stays with them.
    """
    told = {}
    for site, norm in real.items():
        factor = norm / sham[site] if norm > 0 and sham.get(site, 0.0) > 0 else 1.0
        if not 1 / MOST <= factor <= MOST or site.layer == OUTSIDE or abs(factor - 1) < 1e-3:
            factor = 1.0
        told[site] = factor
    return told


def match_of(
    real: Mapping[Site, float], sham: Mapping[Site, float], scaled: Mapping[Site, float]
) -> Match | None:
    """How well a sham, as it is transplanted, is matched; None where nothing moves."""
    shares = [sham.get(site, 0.0) / norm for site, norm in real.items() if norm > 0]
    if not shares:
        return None
    factors = [scaled.get(site, 1.0) for site, norm in real.items() if norm > 0]
    return Match(_mean(shares), min(shares), max(shares), _mean(factors), len(shares))


def _mean(values: Sequence[float]) -> float:
    """The geometric mean; 0 where one is."""
    return math.exp(sum(map(math.log, values)) / len(values)) if min(values) > 0 else 0.0
