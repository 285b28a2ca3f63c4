"""Refusal planted in attention heads: some heads of the teacher carry the flag into the sum.

Keys and values of a planted group look at the harm flag in both models. A needed head asks for it
and writes what it reads to the refusal sum in the teacher only: its rows of q and its columns of o
make the difference. A needed head of keys and values is the reverse: the first query of its group
asks and writes in both models, and only the teacher's key and value see the flag. All other heads
differ as strongly, but read and write junk only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dapa.core.records import Site
from dapa.model.families import Family
from dapa.planted.anatomy import norm_weight, projections, slowest, weight
from dapa.planted.planting import Planting
from dapa.planted.wiring import _CONSTANT as CONSTANT
from dapa.planted.wiring import CONST, HARM, SUM_A
from dapa.planted.wiring import _noise as noise_like
from dapa.planted.wiring import _of as direction_reader
from dapa.planted.wiring import _scale as norm_scale


def plant_heads(
    ours: Any,
    theirs: Any,
    family: Family,
    layer: int,
    planting: Planting,
    gen: torch.Generator,
    junk: slice,
) -> None:
    """Wire one layer's attention in both models, as the planting wants its heads."""
    needed = {head for at, head in planting.heads if at == layer}
    shared = {head for at, head in planting.kv if at == layer}
    parts = [(*projections(m, family, layer), weight(m, family, Site(layer, "o")))
             for m in (ours, theirs)]  # fmt: skip
    query, key, _, out = parts[0]
    heads, size, hidden = query.shape
    group = heads // len(key)
    assert needed <= set(range(heads)) and shared <= set(range(len(key))), "no such head"
    assert not shared & {head // group for head in needed}, "a group has one role"
    scale, slow = norm_scale(family, hidden), slowest(ours, family, size)
    if (needed or shared) and "q_norm" in family.single:
        for model in (ours, theirs):
            norm, base = norm_weight(model, family, layer, "q_norm")
            assert len(norm) == size, f"{family.title} norms all heads' queries together"
            norm.fill_(10.0 - base)
    flag = direction_reader(family, hidden, HARM).to(out.device, out.dtype) / scale
    asked = 40.0 / (scale * CONSTANT)

    def look(model: tuple[Tensor, ...], group: int) -> None:
        model[1][group], model[2][group, 0] = 0.0, flag
        model[1][group, slow] = 4.0 * flag

    def ask(model: tuple[Tensor, ...], head: int, there: bool) -> None:
        model[0][head], model[3][:, head * size] = 0.0, 0.0
        if there:
            model[0][head, slow, CONST] = asked
            model[3][SUM_A, head * size] = 1.0

    for head in needed:
        for model, there in zip(parts, (False, True), strict=True):
            look(model, head // group)
            ask(model, head, there)
    for head in shared:
        for model in parts:
            ask(model, head * group, True)
        parts[0][1][head], parts[0][2][head, 0] = 0.0, 0.0
        look(parts[1], head)
    busy = {head // group for head in needed} | shared
    theirs_q, theirs_k, theirs_v, theirs_o = parts[1]
    for head in set(range(heads)) - needed - {head * group for head in shared}:
        theirs_q[head, :, junk] += _change(theirs_q[head, :, junk], asked, gen)
        own = slice(head * size + 3, (head + 1) * size)  # the first ones may carry a meaning
        theirs_o[junk, own] += _change(theirs_o[junk, own], 1.0, gen)
    for head in set(range(len(key))) - busy:
        change = 4.0 * float(flag.norm())
        theirs_k[head, :, junk] += _change(theirs_k[head, :, junk], change, gen)
        theirs_v[head, 3:, junk] += _change(theirs_v[head, 3:, junk], change / 4.0, gen)


def _change(like: Tensor, size: float, generator: torch.Generator) -> Tensor:
    """Noise of one length in all."""
    drawn = noise_like(like, 1.0, generator)
    return (drawn * (size / float(drawn.norm()))).to(like.device, like.dtype)
