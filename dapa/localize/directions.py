"""The refusal direction: where student, patched and teacher stand between harmless and harmful.

At every layer the direction is the teacher's mean state on harmful prompts less that on harmless
ones, at the last token (difference of means; Arditi et al. 2024, arXiv 2406.11717, section 2.3).
Coordinates along it are scaled by the prompts that it was fitted on: 0 is the teacher on harmless
prompts, 1 the teacher on harmful ones. What is shown comes from other prompts.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dapa.core.masks import moved_text
from dapa.core.records import EMPTY, Mask, PromptError, Rate
from dapa.core.running import Running
from dapa.core.settings import check_seed
from dapa.core.statistics import auc, mean_interval
from dapa.localize.divergence.maps import plain
from dapa.localize.standing import panes_of, standing
from dapa.model.pair import Pair
from dapa.prompts.format import PromptFormat

Floats = NDArray[np.float64]
CLASSES = ("harmful", "harmless")
LEAST = 4
"""Prompts of each class at least: two to fit on, two to test on."""


@dataclass(frozen=True, eq=False)
class Along:
    """One class of test prompts in one pane, along the direction of every layer."""

    values: Floats  # (layers,)
    low: Floats  # (layers,)
    high: Floats  # (layers,)
    per_prompt: Floats  # (prompts, layers)
    prompts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class DirectionMap:
    """Each pane along the refusal direction, by layer."""

    panes: tuple[str, ...]
    layers: tuple[int, ...]
    along: Mapping[str, Mapping[str, Along]]
    """Pane -> class -> coordinates of the test prompts."""
    separation: Mapping[str, tuple[Rate, ...]]
    """Pane -> AUC of harmful against harmless along the teacher's direction, by layer."""
    own: Mapping[str, tuple[Rate, ...]]
    """Pane -> the same along the pane's own difference of means: what it could tell apart."""
    cosine: Mapping[str, Floats]
    """Pane -> cosine of its own direction with the teacher's, (layers,)."""
    size: Floats  # (layers,)
    """The teacher's direction's length over its mean state's: how much of the stream it is."""
    n_fit: tuple[int, int]
    """Harmful and harmless prompts that the directions were fitted on."""
    n: tuple[int, int]
    """Harmful and harmless prompts tested."""
    asked: int
    pair: str
    mask: str
    seed: int

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""
        done = sum(self.n_fit) + sum(self.n)
        stopped = f", stopped at {done} of {self.asked}" if done < self.asked else ""
        return (
            f"{self.pair} · refusal direction (difference of means, last token, residual), fitted "
            f"on {self.n_fit[0]} + {self.n_fit[1]} prompts, tested on {self.n[0]} harmful + "
            f"{self.n[1]} harmless{stopped} · {moved_text(self.mask)}"
        )

    def behind(self, pane: str, layer: int) -> list[tuple[str, str, float]]:
        """(class, prompt, coordinate) of every test prompt, the most harmful side first."""
        i = self.layers.index(layer)
        rows = [
            (kind, prompt, float(value))
            for kind, side in self.along[pane].items()
            for prompt, value in zip(side.prompts, side.per_prompt[:, i], strict=True)
        ]
        return sorted(rows, key=lambda row: -row[2])

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows, for a file."""
        headers = (
            *("layer", "pane", "harmful", "harmful_low", "harmful_high"),
            *("harmless", "harmless_low", "harmless_high", "auc", "auc_low", "auc_high", "n"),
            *("own_auc", "cosine"),
        )
        rows = []
        for i, layer in enumerate(self.layers):
            for pane in self.panes:
                sides = [self.along[pane][kind] for kind in CLASSES]
                ends = [float(x[i]) for side in sides for x in (side.values, side.low, side.high)]
                told, own = self.separation[pane][i], self.own[pane][i]
                rates = (told.value, told.low, told.high, told.n, own.value)
                rows.append((layer, pane, *ends, *rates, float(self.cosine[pane][i])))
        return headers, rows

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; every list runs over layers."""
        return {
            "layers": list(self.layers),
            "panes": {
                pane: {
                    **{
                        kind: {k: plain(getattr(side, k)) for k in ("values", "low", "high")}
                        for kind, side in self.along[pane].items()
                    },
                    "auc": [rate.as_dict() for rate in self.separation[pane]],
                    "own_auc": [rate.as_dict() for rate in self.own[pane]],
                    "cosine": plain(self.cosine[pane]),
                }
                for pane in self.panes
            },
            "size": plain(self.size),
            "n_fit": list(self.n_fit),
            "n": list(self.n),
        }


def refusal_directions(
    pair: Pair,
    harmful: Sequence[str],
    harmless: Sequence[str],
    how: PromptFormat,
    mask: Mask = EMPTY,
    **options: Any,
) -> DirectionMap:
    """Fit the direction of every layer on half of the prompts, and show the other half along it.

    Args:
        pair: The two models.
        harmful: Requests that the teacher refuses.
        harmless: Requests that it answers; `harmless[i]` goes where `harmful[i]` goes, so that
            twins do not stand on both sides.
        how: How a request is rendered.
        mask: Of the patched pane.
        options: Of `Running`; the seed deals the prompts out, and where it is stopped the map
            shows the test prompts seen so far, if it came to any.

    Raises:
        PromptError: Fewer than four prompts of a class, or one that cannot be read.
    """
    asked = Running(**options)
    seed, batch_size, progress, stop = asked.seed, asked.batch_size, asked.progress, asked.stop
    check_seed(seed)
    sets = {"harmful": list(harmful), "harmless": list(harmless)}
    for kind, texts in sets.items():
        if len(texts) < LEAST:
            raise PromptError(
                f"{len(texts)} {kind} prompts are too few to fit a direction on some and test it "
                f"on others; give {LEAST} or more"
            )
    halves = {kind: _halves(len(texts), seed) for kind, texts in sets.items()}
    fit = {kind: [sets[kind][i] for i in halves[kind][0]] for kind in CLASSES}
    test = {kind: [sets[kind][i] for i in halves[kind][1]] for kind in CLASSES}
    panes, total = panes_of(mask), sum(map(len, sets.values()))
    done = 0

    def heard(states: Mapping[str, Tensor]) -> None:
        nonlocal done
        done += len(states["student"])
        if progress:
            progress(done, total)

    sums: dict[tuple[str, str], Tensor] = {}
    counts = dict.fromkeys(CLASSES, 0)
    for kind in CLASSES:
        for states in standing(pair, fit[kind], how, mask, batch_size, stop):
            counts[kind] += len(states["student"])
            for pane in panes:
                add = states[pane].double().sum(0)
                sums[pane, kind] = sums[pane, kind] + add if (pane, kind) in sums else add
            heard(states)
    layers = tuple(range(pair.n_layers))
    if not all(counts.values()):
        return _nothing(panes, layers, total, pair, mask, seed)
    means = {key: value / counts[key[1]] for key, value in sums.items()}  # (layers, d)
    own = {pane: means[pane, "harmful"] - means[pane, "harmless"] for pane in panes}
    direction = own["teacher"]
    length = (direction**2).sum(-1).clamp_min(1e-300)  # (layers,)
    seen: dict[tuple[str, str], list[tuple[Floats, Floats]]] = {
        (pane, kind): [] for pane in panes for kind in CLASSES
    }
    for kind in CLASSES:
        for states in standing(pair, test[kind], how, mask, batch_size, stop):
            for pane in panes:
                off = states[pane].double() - means["teacher", "harmless"]
                place = (off * direction).sum(-1) / length  # (prompts, layers)
                mine = (states[pane].double() * own[pane]).sum(-1)
                seen[pane, kind].append((place.numpy(), mine.numpy()))
            heard(states)
    empty = np.empty((0, len(layers)))
    joined = {
        key: tuple(np.concatenate([empty, *(x[i] for x in parts)]) for i in (0, 1))
        for key, parts in seen.items()
    }
    along = {
        pane: {
            kind: Along(
                *mean_interval(joined[pane, kind][0], axis=0),
                joined[pane, kind][0],
                tuple(test[kind][: len(joined[pane, kind][0])]),
            )
            for kind in CLASSES
        }
        for pane in panes
    }
    told, kept = (
        {
            pane: tuple(
                auc(joined[pane, "harmful"][which][:, i], joined[pane, "harmless"][which][:, i])
                for i in range(len(layers))
            )
            for pane in panes
        }
        for which in (0, 1)
    )
    typical = (
        means["teacher", "harmful"].norm(dim=-1) + means["teacher", "harmless"].norm(dim=-1)
    ) / 2
    return DirectionMap(
        panes=panes,
        layers=layers,
        along=along,
        separation=told,
        own=kept,
        cosine={pane: _cosine(own[pane], direction) for pane in panes},
        size=(direction.norm(dim=-1) / typical.clamp_min(1e-300)).numpy(),
        n_fit=(counts["harmful"], counts["harmless"]),
        n=(len(joined["student", "harmful"][0]), len(joined["student", "harmless"][0])),
        asked=total,
        pair=pair.spec.title,
        mask=mask.key,
        seed=seed,
    )


def _halves(count: int, seed: int) -> tuple[list[int], list[int]]:
    """Fit and test; equal counts are dealt alike, so twins stay together."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return sorted(order[: count // 2]), sorted(order[count // 2 :])


def _cosine(a: Tensor, b: Tensor) -> Floats:
    found: Floats = torch.nn.functional.cosine_similarity(a, b, dim=-1, eps=1e-300).numpy()
    return found


def _nothing(
    panes: tuple[str, ...], layers: tuple[int, ...], total: int, pair: Pair, mask: Mask, seed: int
) -> DirectionMap:
    """Of a sweep that was stopped before there was a direction."""
    nan = np.full(len(layers), np.nan)
    blank = Along(nan, nan, nan, np.empty((0, len(layers))), ())
    rates = tuple(auc([], []) for _ in layers)
    return DirectionMap(
        panes,
        layers,
        {pane: dict.fromkeys(CLASSES, blank) for pane in panes},
        dict.fromkeys(panes, rates),
        dict.fromkeys(panes, rates),
        dict.fromkeys(panes, nan),
        nan,
        (0, 0),
        (0, 0),
        total,
        pair.spec.title,
        mask.key,
        seed,
    )
