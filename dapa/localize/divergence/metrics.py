"""How far two models' states are apart: one decorated function a metric, higher is further.

A metric sees tensors only; it does not know where they come from. There are two sorts: most compare
one pair of states at a time, `(..., d), (..., d) -> (...)`; a *pooled* one compares two sets of
states over the same prompts and returns sums that add up over blocks of prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dapa.core.registry import Registry
from dapa.localize.divergence.maps import FEW

Floats = NDArray[np.float64]
LEAST_PROMPTS = 4
"""Fewer prompts leave the pooled metric undefined: its statistic runs over four at a time."""


@dataclass(frozen=True)
class Metric:
    """One way to say how far apart."""

    measure: Callable[..., Any]
    """(ours, theirs) -> distances; pooled: (ours, theirs, weights) -> sums (weights, k)."""
    title: str
    unit: str = ""
    lens: bool = False
    """Measured on logit-lens logits, so residual sites only; elsewhere not defined."""
    finish: Callable[[Floats], Floats] | None = None
    """Pooled only: sums (..., k) -> distances (...)."""
    parts: Callable[[Tensor, Tensor], Tensor] | None = None
    """(ours, theirs) -> what each dimension adds, (..., d); `fold` of their sum is the distance."""
    fold: Callable[[Tensor], Tensor] = torch.Tensor.clone

    @property
    def pooled(self) -> bool:
        """Does it compare sets of prompts instead of one prompt at a time?"""
        return self.finish is not None


metrics: Registry[Metric] = Registry("metric")


def metric(
    name: str,
    title: str,
    unit: str = "",
    lens: bool = False,
    finish: Callable[[Floats], Floats] | None = None,
    parts: Callable[[Tensor, Tensor], Tensor] | None = None,
    fold: Callable[[Tensor], Tensor] = torch.Tensor.clone,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function; see `Metric` for the options."""

    def keep(measure: Callable[..., Any]) -> Callable[..., Any]:
        metrics.add(name, title)(Metric(measure, title, unit, lens, finish, parts, fold))
        return measure

    return keep


def _chords(ours: Tensor, theirs: Tensor) -> Tensor:
    """Half the squared chord between the unit vectors, dimension by dimension."""
    a, b = ours.float(), theirs.float()  # (..., d)
    length_a, length_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    apart = a / length_a.clamp_min(1e-30) - b / length_b.clamp_min(1e-30)
    one_is_zero = (length_a == 0) != (length_b == 0)
    return apart.square() * torch.where(one_is_zero, 1.0, 0.5)


@metric("cosine", "cosine distance", parts=_chords)
def cosine(ours: Tensor, theirs: Tensor) -> Tensor:
    """1 - cos of the angle between two states, in [0, 2].

    Computed as half the squared chord between the unit vectors (the law of cosines), which is zero
    for equal states and keeps its digits for close ones. Two zero states are equal: 0; a zero state
    is at right angles to any other: 1.
    """
    return _chords(ours, theirs).sum(-1)


def _squares(ours: Tensor, theirs: Tensor) -> Tensor:
    """Squared differences over the student's squared length, dimension by dimension."""
    a, b = ours.float(), theirs.float()  # (..., d)
    off, length = b - a, a.norm(dim=-1, keepdim=True)
    ratio = (off / length.masked_fill(length == 0, torch.nan)).square()
    return ratio.masked_fill(~off.any(-1, keepdim=True), 0.0)


@metric("l2", "relative L2", parts=_squares, fold=torch.sqrt)
def l2(ours: Tensor, theirs: Tensor) -> Tensor:
    """|theirs - ours| / |ours|: the change in units of the student's state.

    Undefined (NaN) where only the student's state is zero.
    """
    return _squares(ours, theirs).sum(-1).sqrt()


@metric("kl", "logit-lens KL", unit="bits", lens=True)
def kl(ours: Tensor, theirs: Tensor) -> Tensor:
    """KL(student || teacher) in bits between the next-token distributions that the lens reads.

    The logit lens (nostalgebraist 2020; arXiv 2303.08112, section 2) sends a residual state through
    the final norm and the head.

    Args:
        ours: logits, (..., vocabulary).
        theirs: logits over the same vocabulary.
    """
    p, q = ours.float().log_softmax(-1), theirs.float().log_softmax(-1)
    return ((p.exp() * (p - q)).sum(-1) / log(2)).clamp_min(0.0)


def held_by_few(parts: Tensor) -> Tensor:
    """Share of a sum over dimensions, (..., d) -> (...), that the `FEW` largest terms hold.

    NaN where the sum is 0: there is nothing to share.
    """
    whole = parts.sum(-1)
    few = parts.topk(min(FEW, parts.shape[-1]), dim=-1).values.sum(-1)
    return torch.where(whole > 0, few / whole, torch.nan)


def _one_minus_cka(sums: Floats) -> Floats:
    """From (both, student alone, teacher alone) to 1 - CKA; NaN where a side has no spread."""
    both, ours, theirs = np.moveaxis(sums, -1, 0)
    defined = (ours > 0) & (theirs > 0)
    with np.errstate(invalid="ignore"):
        root = np.sqrt(np.where(defined, ours, 1.0) * np.where(defined, theirs, 1.0))
        return np.where(defined, 1.0 - both / root, np.nan)


@metric("cka", "1 - debiased linear CKA", finish=_one_minus_cka)
def cka(ours: Tensor, theirs: Tensor, weights: Tensor) -> Tensor:
    """The three unbiased HSIC estimates of debiased linear CKA (arXiv 2405.01012).

    Unbiased HSIC is Song et al.'s U-statistic (JMLR 13:1393, 2012, eq. 5): an average over
    quadruples of different prompts. A resampled set holds prompts several times; quadruples that
    hold one prompt twice would bring back the bias, so here each quadruple of *different* prompts
    weighs as much as its prompts were drawn. Estimates over blocks are added, weighted by prompts
    (minibatch CKA, arXiv 2010.15327, section 2).

    Args:
        ours: states, (prompts, d).
        theirs: states of the same prompts, (prompts, d').
        weights: how often each prompt counts, whole numbers, (resamples, prompts).

    Returns:
        (resamples, 3): HSIC of both, of the student's alone, of the teacher's alone, each times
        the number of prompts; NaN with fewer than four different prompts.
    """
    k, l, w = _gram(ours), _gram(theirs), weights.double()  # noqa: E741
    return _hsic(torch.stack([k, k, l]), torch.stack([l, k, l]), w) * len(ours)


def _gram(states: Tensor) -> Tensor:
    """Inner products without the diagonal, (prompts, prompts); centred, which changes no HSIC."""
    states = states.double()
    x = states - states.mean(0)
    if x.square().sum() <= 1e-20 * states.square().sum():
        x = torch.zeros_like(x)  # rounding is no spread
    return (x @ x.T).fill_diagonal_(0.0)


def _hsic(k: Tensor, l: Tensor, w: Tensor) -> Tensor:  # noqa: E741
    """Weighted U-statistic: mean K_ij L_ij - 2 mean K_ij L_iq + mean K_ij L_qr, all different.

    Sums over different prompts are sums over all of them less those in which two coincide. With
    w the weights of one resample, what the means divide by are the elementary symmetric sums.

    Args:
        k: (cases, prompts, prompts), symmetric with zero diagonals.
        l: the same shape.
        w: (resamples, prompts).

    Returns:
        (resamples, cases).
    """
    wk, wl, wkl, squares = w @ k, w @ l, w @ (k * l), w**2  # (cases, resamples, prompts)
    two = (wkl * w).sum(-1)  # (cases, resamples)
    twice = ((squares @ (k * l)) * squares).sum(-1)
    three = (w * wk * wl).sum(-1) - (wkl * squares).sum(-1)
    four = (wk * w).sum(-1) * (wl * w).sum(-1) - 4 * (squares * wk * wl).sum(-1) + 2 * twice
    s1, s2, s3, s4 = (w.pow(p).sum(-1) for p in (1, 2, 3, 4))  # (resamples,)
    pairs, triples = s1**2 - s2, s1**3 - 3 * s1 * s2 + 2 * s3
    quadruples = s1**4 - 6 * s1**2 * s2 + 3 * s2**2 + 8 * s1 * s3 - 6 * s4
    mean = two / pairs - 2 * three / triples + four / quadruples
    return mean.masked_fill(quadruples < 0.5, torch.nan).T
