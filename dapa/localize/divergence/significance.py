"""Which cells of a map can be told from zero: bootstrap over prompts, one test a cell, adjusted.

This module knows arrays only; NaN marks a prompt that a cell does not define.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dapa.core.statistics import benjamini_hochberg

Floats = NDArray[np.float64]
DRAWS = 4999
RATE = 0.05
"""The share of false discoveries that is borne among the cells called significant."""
ROUNDING = 1e-6
"""A standard error this small beside its mean is that of single precision, no spread of prompts."""
_BLOCK = 250  # draws held at once


def bootstrap_p(x: Floats, other: Floats | None = None, seed: int = 0) -> Floats:
    """Two-sided p-value of each cell's mean being 0, or of two means being equal.

    The studentised bootstrap (Efron and Tibshirani 1993, algorithm 16.2): prompts are drawn again,
    and the share of draws whose t is at least as far from the observed mean as the observed one is
    from 0. A cell that never varies, up to rounding, is as far from 0 as a draw can tell, or equal
    to it.

    Args:
        x: (prompts, ...cells); twins' differences where prompts are paired.
        other: (prompts, ...cells) of another set of prompts.
        seed: Of the draws.

    Returns:
        (...cells), NaN where fewer than two prompts define a cell.
    """
    sets = [_flat(part) for part in (x, other) if part is not None]
    rng = np.random.default_rng(seed)
    mean, error = _contrast([_moments(np.ones((1, len(part))), part) for part in sets])
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.abs(mean[0] / error[0])  # (cells,)
        beyond = np.zeros(observed.shape)
        for start in range(0, DRAWS, _BLOCK):
            count = min(_BLOCK, DRAWS - start)
            drawn = [rng.multinomial(len(p), np.full(len(p), 1 / len(p)), count) for p in sets]
            means, errors = _contrast(
                [_moments(w.astype(float), p) for w, p in zip(drawn, sets, strict=True)]
            )
            t = np.abs(means - mean) / errors
            t[(errors == 0) & (means == mean)] = 0.0
            beyond += (~(t < observed)).sum(axis=0)  # a draw without spread may be any t
    p = (1 + beyond) / (1 + DRAWS)
    p[(error[0] == 0) & (mean[0] == 0)] = 1.0
    p[(error[0] <= ROUNDING * np.abs(mean[0])) & (mean[0] != 0)] = 1 / (1 + DRAWS)
    enough = np.all([(~np.isnan(part)).sum(axis=0) >= 2 for part in sets], axis=0)
    return np.where(enough, p, np.nan).reshape(x.shape[1:])


def _flat(x: Floats) -> Floats:
    return x.reshape(len(x), -1)


def _moments(weights: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Mean and squared error of the mean under each draw, (draws, cells)."""
    here = ~np.isnan(x)
    filled = np.where(here, x, 0.0)
    centre = filled.sum(axis=0) / np.maximum(here.sum(axis=0), 1)
    off = np.where(here, filled - centre, 0.0)  # small numbers keep their digits
    with np.errstate(divide="ignore", invalid="ignore"):
        n = weights @ here
        mean = weights @ off / n
        variance = np.maximum(weights @ off**2 / n - mean**2, 0.0)
        variance[variance < 1e-24 * (weights @ off**2 / n)] = 0.0
        return centre + mean, variance / (n - 1)


def _contrast(parts: list[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Mean, or difference of two means, and its error."""
    if len(parts) == 1:
        return parts[0][0], np.sqrt(parts[0][1])
    return parts[0][0] - parts[1][0], np.sqrt(parts[0][1] + parts[1][1])


def adjusted(p: Floats) -> Floats:
    """Benjamini and Hochberg's adjustment over every defined cell, of the same shape."""
    q = np.full(p.shape, np.nan)
    defined = np.isfinite(p)
    q[defined] = benjamini_hochberg(list(p[defined]))
    return q


def significant(q: Floats) -> NDArray[np.bool_]:
    """Which cells can be told from zero, at a false discovery rate of `RATE`."""
    with np.errstate(invalid="ignore"):
        return np.asarray(q <= RATE)
