"""How many directions a change of weights uses; exactly, or by a randomised decomposition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import digamma
from torch import Tensor

Floats = NDArray[np.float64]
EXACT = 256
"""Differences with a side this short get an exact decomposition; the others a randomised one."""
KEPT, SPARE, POWERS = 64, 10, 2
"""Singular values of a randomised decomposition, columns beyond them, and power iterations."""


@dataclass(frozen=True)
class EffectiveRank:
    """How many directions a change of weights uses: exp of the entropy of its energy shares.

    The shares are squared singular values over their sum. Roy and Vetterli (EUSIPCO 2007) take the
    singular values themselves; squares let the sum, and so the unseen tail, be known exactly.
    """

    value: float
    low: float
    """As if the tail that a randomised decomposition leaves were as steep as can be ..."""
    high: float
    """... and as if it were flat; both equal `value` where the decomposition is exact."""
    seen: float
    """Share of the change's energy that the decomposition holds: 1 where it is exact."""

    @property
    def exact(self) -> bool:
        """Was every singular value computed?"""
        return self.low == self.high

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        ends = {"value": self.value, "low": self.low, "high": self.high}
        return {**ends, "seen": self.seen, "exact": self.exact}


def effective_rank(change: Tensor, seed: int = 0) -> EffectiveRank:
    """Effective rank of a matrix that is not zero, exactly where it is small.

    Else by a randomised decomposition (Halko, Martinsson and Tropp 2011, algorithms 4.4 and 5.1).
    The energy of the tail is known, being the whole less what was found. Its entropy lies between
    that of a tail as steep as the last value found allows and that of a flat one. The value takes a
    gamma law with the tail's mean and an estimate of its mean square: with what was found projected
    out of D, the mean of |D'D w|^2 over random directions w is the sum of sigma^4.

    Args:
        change: (rows, columns), float32; not zero.
        seed: Of the random directions.
    """
    short = min(change.shape)
    if short <= EXACT:
        narrow = change if change.shape[0] >= change.shape[1] else change.T
        gram = narrow.double().T @ narrow.double() if narrow.shape[1] <= 64 else None
        energy = (
            torch.linalg.eigvalsh(gram).clamp_min(0)
            if gram is not None
            else torch.linalg.svdvals(narrow.double()) ** 2
        )
        value = float(np.exp(_entropy((energy / energy.sum()).numpy())))
        return EffectiveRank(value, value, value, 1.0)
    generator = torch.Generator().manual_seed(seed)
    probes = torch.randn(change.shape[1], KEPT + SPARE, generator=generator)
    sketch = change @ probes  # (rows, probes)
    for _ in range(POWERS):
        basis = torch.linalg.qr(sketch).Q
        sketch = change @ torch.linalg.qr(change.T @ basis).Q
    _, every, right = torch.linalg.svd(torch.linalg.qr(sketch).Q.T @ change, full_matrices=False)
    found, right = every[:KEPT].double(), right[:KEPT]
    whole = float(torch.linalg.vector_norm(change, dtype=torch.float64)) ** 2
    shares = (found**2 / whole).numpy()
    tail = max(0.0, 1.0 - float(shares.sum()))
    head = _entropy(shares)
    rest = short - len(shares)
    if tail < 1e-9:
        value = float(np.exp(head))
        return EffectiveRank(value, value, value, 1.0)
    most = head + tail * np.log(rest / tail)
    least = head - tail * np.log(min(float(shares[-1]), tail))
    fresh = torch.randn(change.shape[1], SPARE, generator=generator)  # the old ones made the basis
    seen = fresh - right.T @ (right @ fresh)
    seen = change.T @ (change @ seen)
    fourth = float(((seen - right.T @ (right @ seen)).double() ** 2).sum()) / SPARE
    squares = max(fourth / whole**2, tail**2 / rest)
    evenness = min(tail**2 / (squares * rest), 1 - 1e-9)  # 1 where the tail is flat
    shape = evenness / (1 - evenness)
    middle = most - tail * float(digamma(shape + 1) - np.log(shape))
    low, high = sorted((float(np.exp(least)), float(np.exp(most))))
    return EffectiveRank(float(np.clip(np.exp(middle), low, high)), low, high, 1.0 - tail)


def _entropy(shares: Floats) -> float:
    """In natural units; shares of zero add nothing."""
    kept = shares[shares > 0]
    return float(-(kept * np.log(kept)).sum())
