"""Harmful and harmless prompts in two dimensions: principal components of both models' states.

Fitted once per layer on student and teacher together, so that the two can be compared in one
picture; the patched states are put in afterwards. States are last-token residuals.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dapa.core.masks import moved_text
from dapa.core.records import EMPTY, Mask, PromptError
from dapa.localize.directions import CLASSES
from dapa.localize.divergence.maps import plain
from dapa.localize.standing import Progress, panes_of, standing
from dapa.model.pair import Pair
from dapa.prompts.format import PromptFormat

Floats = NDArray[np.float64]
MOST = 256
"""Prompts of each class at most: a component needs all states at once."""


@dataclass(frozen=True, eq=False)
class Projection:
    """Every prompt in every pane as a point in the plane of each layer."""

    panes: tuple[str, ...]
    layers: tuple[int, ...]
    points: Floats  # (panes, layers, prompts, 2)
    explained: Floats  # (layers, 2)
    """Share of the variance of both models' states that each axis holds."""
    prompts: tuple[str, ...]
    classes: tuple[str, ...]
    """`harmful` or `harmless`, one a prompt."""
    asked: int
    pair: str
    mask: str

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""
        n = len(self.prompts)
        counted = f"{n} prompts" + (f" of {self.asked}" if n < self.asked else "")
        return (
            f"{self.pair} · two principal components of student's and teacher's last-token "
            f"residuals, per layer · {counted} · {moved_text(self.mask)}"
        )

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows, for a file."""
        rows = [
            (layer, pane, self.classes[i], prompt, *map(float, self.points[p, k, i]))
            for k, layer in enumerate(self.layers)
            for p, pane in enumerate(self.panes)
            for i, prompt in enumerate(self.prompts)
        ]
        return ("layer", "pane", "class", "prompt", "x", "y"), rows

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; `points` is pane -> [layer][prompt][2]."""
        return {
            "layers": list(self.layers),
            "points": {pane: plain(self.points[p]) for p, pane in enumerate(self.panes)},
            "explained": plain(self.explained),
            "prompts": list(self.prompts),
            "classes": list(self.classes),
        }


def project(
    pair: Pair,
    harmful: Sequence[str],
    harmless: Sequence[str],
    how: PromptFormat,
    mask: Mask = EMPTY,
    *,
    batch_size: int = 16,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Projection:
    """Fit two components per layer and put every prompt in their plane.

    The first axis points to the teacher's harmful side, the second to its heavier one, so that
    pictures of neighbouring layers do not flip.

    Args:
        pair: The two models.
        harmful: At most `MOST` of them are taken.
        harmless: At most `MOST` of them are taken.
        how: How a request is rendered.
        mask: Of the patched pane.
        batch_size: Prompts at once; halved where memory does not suffice.
        progress: Told after every batch.
        stop: When set, the picture holds the prompts seen so far.

    Raises:
        PromptError: Fewer than two prompts in all, or one that cannot be read.
    """
    sets = {"harmful": list(harmful)[:MOST], "harmless": list(harmless)[:MOST]}
    total = sum(map(len, sets.values()))
    if not all(sets.values()):
        raise PromptError("give one harmful and one harmless prompt at least")
    panes = panes_of(mask)
    states: dict[str, list[Tensor]] = {pane: [] for pane in panes}
    classes: list[str] = []
    prompts: list[str] = []
    for kind in CLASSES:
        for seen in standing(pair, sets[kind], how, mask, batch_size, stop):
            n = len(seen["student"])
            start = sum(c == kind for c in classes)
            prompts += sets[kind][start : start + n]
            classes += [kind] * n
            for pane in panes:
                states[pane].append(seen[pane])
            if progress:
                progress(len(prompts), total)
    layers = tuple(range(pair.n_layers))
    points = np.full((len(panes), len(layers), len(prompts), 2), np.nan)
    explained = np.full((len(layers), 2), np.nan)
    if prompts:
        stacked = {pane: torch.cat(parts) for pane, parts in states.items()}  # (prompts, layers, d)
        bad = torch.tensor([kind == "harmful" for kind in classes])
        for i in layers:
            points[:, i], explained[i] = _plane({p: x[:, i] for p, x in stacked.items()}, bad)
    return Projection(
        panes,
        layers,
        points,
        explained,
        tuple(prompts),
        tuple(classes),
        total,
        pair.spec.title,
        mask.key,
    )


def _plane(states: dict[str, Tensor], bad: Tensor) -> tuple[Floats, Floats]:
    """Coordinates (panes, prompts, 2) and the two shares of variance, at one layer."""
    fitted = torch.cat([states["student"], states["teacher"]]).double()
    middle = fitted.mean(0)
    off = fitted - middle
    gram = off @ off.T  # (2 prompts, 2 prompts): cheaper than a decomposition of (prompts, d)
    energy, vectors = torch.linalg.eigh(gram)
    energy, vectors = energy.flip(0).clamp_min(0), vectors.flip(1)
    whole = float(energy.sum())
    count = min(2, len(energy))
    axes = torch.zeros(2, fitted.shape[1], dtype=torch.float64)
    for k in range(count):
        if whole and energy[k] > 1e-12 * whole:
            axes[k] = (vectors[:, k] @ off) / energy[k].sqrt()
    theirs = (states["teacher"].double() - middle) @ axes.T  # (prompts, 2)
    if bool(bad.any()) and not bool(bad.all()):
        lean = theirs[bad].mean(0) - theirs[~bad].mean(0)
    else:
        lean = theirs.sum(0)
    axes = axes * torch.where(lean < 0, -1.0, 1.0)[:, None].double()
    points = torch.stack([(x.double() - middle) @ axes.T for x in states.values()])
    shares = np.zeros(2)
    if whole:
        shares[:count] = (energy[:count] / whole).numpy()
    return points.numpy(), shares
