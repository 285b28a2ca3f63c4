"""Slopes of refusal log-odds in the mask: one backward pass for every site and neuron at once.

What they add up to along a path is `gradients`' to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dapa.core.records import SettingError, Site, Unit
from dapa.model.decode.log_odds import Ids, log_odds_of, next_logits
from dapa.model.decode.openers import Openers, find_openers
from dapa.model.families import sites_of
from dapa.model.heads import HeadShape
from dapa.model.pair import Pair
from dapa.model.room import within_memory as in_parts
from dapa.model.strengths import reach
from dapa.model.transplant import Tap, TransplantModule, watching

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Slopes:
    """df/dm of every prompt at one strength, or integrated over strengths."""

    sites: Mapping[Site, Floats]  # each (prompts,)
    neurons: Mapping[Site, Floats]  # each (prompts, neurons)
    """They add up to `sites`, but for a bias of `down` and a tied head: none of their neurons."""


def mask_gradients(
    pair: Pair,
    ids: Ids,
    sites: Sequence[Site],
    strengths: Sequence[float],
    openers: Openers | None = None,
) -> Slopes:
    """df/dm of every site and neuron, all sites standing at one strength: one backward pass.

    Args:
        pair: The two models; their weights take no gradient and are not touched.
        ids: Rendered prompts in the student's tokens, one a row.
        sites: The sites whose strength moves; all others stay the student's.
        strengths: Where row i's sites stand, 0 to 1. Here 1 blends too, and is the teacher's
            module up to rounding.
        openers: Of `find_openers`, if the caller has them.

    Raises:
        SettingError: A site that the pair has not, or a strength outside 0 to 1.
    """
    for site in sites:
        if site not in pair.sites:
            raise SettingError(f"{site} is no site of this pair; choose among its {pair.n_layers}")
    if not all(0.0 <= m <= 1.0 for m in strengths):
        raise SettingError(f"strengths {list(strengths)} are outside 0 to 1")
    if not sites or not len(ids):
        return Slopes({site: np.zeros(0) for site in sites}, {})
    openers = openers or find_openers(pair)
    leaves: dict[Site, Tensor] = {}  # (rows, 1, neurons)
    biases: dict[Site, Tensor] = {}  # (rows, 1, 1), of down and of a tied head

    def blend(tap: Tap, module: Any, args: tuple[Any, ...], kwargs: Any, y: Tensor) -> Any:
        if tap.role != "student" or not isinstance(module, TransplantModule):
            return None
        site = module.site
        if site not in leaves:
            return None
        with watching(None):
            if module is pair.tied_head:  # the embeddings' site again, with other neurons
                return _blend(module, args[0], y, biases[site], None)
            return _blend(module, args[0], y, leaves[site], biases.get(site))

    pair.need_gradients()
    with torch.inference_mode(False), torch.enable_grad():
        start = torch.tensor(strengths, dtype=torch.float32, device=pair.device)[:, None, None]
        for site in sites:
            leaves[site] = start.repeat(1, 1, pair.sites[site].neurons).requires_grad_()
            if pair.sites[site].mask_input or site == pair.tied_site:
                biases[site] = start.clone().requires_grad_()
        with watching(blend):
            logits = next_logits(pair, ids, openers=openers)
        log_odds_of(logits, openers).sum().backward()  # rows do not see each other
    neurons = {site: _slope(leaf)[:, 0] for site, leaf in leaves.items()}
    totals = {site: slope.sum(1) for site, slope in neurons.items()}
    for site, leaf in biases.items():
        totals[site] = totals[site] + _slope(leaf)[:, 0, 0]
    return Slopes(totals, neurons)


def _blend(site: TransplantModule, x: Tensor, y: Tensor, m: Tensor, bias: Tensor | None) -> Tensor:
    """The site's output at strengths `m`, y being the student's; blended in float32."""
    if bias is None or not site.mask_input:
        y_t = site.teacher(x)
        m = m.view(len(m), *(1 for _ in y.shape[1:-1]), -1)  # a norm a head sees heads apart
        if m.shape[-1] not in (1, y.shape[-1]):  # Cohere's has a row of weights for each
            m = m.transpose(-1, -2)
        return (y + m * (y_t - y)).to(y.dtype)
    mixed = site.student((x * (1 - m)).to(x.dtype)) + site.teacher((x * m).to(x.dtype))
    for module, extra in ((site.student, bias), (site.teacher, 1 - bias)):
        if getattr(module, "bias", None) is not None:  # each half added its bias whole
            mixed = mixed - extra * module.bias
    return mixed.to(y.dtype)


def _slope(leaf: Tensor) -> Floats:
    if leaf.grad is None:  # nothing of this site reaches the last position
        return np.zeros(leaf.shape)
    found: Floats = leaf.grad.double().cpu().numpy()
    return found


def part_of(slopes: Slopes, unit: Unit, heads: HeadShape | None = None) -> Floats | float:
    """The slope of a unit, (prompts,): its sites', or its neurons' alone; 0 where none differs.

    Of a unit of `heads` or `kv` it must be told how the pair's heads lie. A unit at a rank has its
    sites' whole slopes: which directions carry them, they do not tell.
    """
    total: Floats | float = 0.0
    for site in sites_of(unit):
        if site not in slopes.sites:
            continue
        ranges = reach(unit, site.module, heads)
        if ranges is None:
            total = total + slopes.sites[site]
        else:
            total = total + sum(slopes.neurons[site][:, a:b].sum(1) for a, b in ranges)
    return total


def within_memory(
    pair: Pair, ids: Ids, sites: Sequence[Site], strengths: Sequence[float], openers: Openers
) -> Slopes:
    """`mask_gradients`, of fewer rows at once where memory does not suffice."""
    parts = in_parts(
        pair,
        range(len(ids)),
        lambda rows: mask_gradients(
            pair, [ids[i] for i in rows], sites, [strengths[i] for i in rows], openers
        ),
        lambda i: len(ids[i]),
        "gradients",
    )
    return Slopes(
        {s: np.concatenate([part.sites[s] for part in parts]) for s in sites},
        {s: np.concatenate([part.neurons[s] for part in parts]) for s in sites},
    )
