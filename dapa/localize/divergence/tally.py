"""Counting: from the states of a batch to values, intervals and per-prompt numbers.

A tally sees a batch's states cell by cell, then the batch is committed or dropped; so a batch that
ran out of memory can be tried again in halves. Memory grows by one number per prompt and cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from dapa.core.statistics import LEVEL, mean_interval
from dapa.localize.divergence.maps import Contrast, Floats
from dapa.localize.divergence.metrics import LEAST_PROMPTS, Metric, held_by_few
from dapa.localize.divergence.recording import Lens
from dapa.localize.divergence.significance import bootstrap_p

_LENS_CHUNK = 64  # places whose logits are held at once
_BLOCK = 56  # prompts whose pooled states are held at once; 500 come in blocks of 56 then
_RESAMPLES = 500


@dataclass(frozen=True, eq=False)
class TallySummary:
    """What a tally knows at the end; arrays over (layers, sites)."""

    values: Floats
    low: Floats
    high: Floats
    per_prompt: Floats  # (prompts, layers, sites)
    draws: Floats | None = None
    """Bootstrap values of a pooled metric, (resamples, layers, sites)."""
    share: Floats | None = None
    """What the few largest dimensions hold, (layers, sites)."""

    def restored(self, order: Sequence[int]) -> TallySummary:
        """Each prompt's own values in the prompts' order; `order` is that in which they came."""
        came = np.array(order[: len(self.per_prompt)], dtype=int)
        return replace(self, per_prompt=self.per_prompt[np.argsort(came)])


def distances(
    metric: Metric, lens: Lens, ours: Tensor, theirs: Tensor, valid: Tensor
) -> Tensor:  # (rows, places)
    """Distance at each place, NaN where a place does not count.

    Args:
        metric: Not a pooled one.
        lens: Used by metrics that look at logits, a few places at a time.
        ours: (rows, places, d).
        theirs: (rows, places, d).
        valid: (rows, places).
    """
    valid = valid.to(ours.device)
    if not metric.lens:
        found: Tensor = metric.measure(ours, theirs)
        return found.masked_fill(~valid, torch.nan)
    found = torch.full(valid.shape, torch.nan, device=ours.device)
    pairs = zip(ours[valid].split(_LENS_CHUNK), theirs[valid].split(_LENS_CHUNK), strict=True)
    parts = [metric.measure(lens(a, "student"), lens(b, "teacher")) for a, b in pairs]
    found[valid] = torch.cat(parts)
    return found


class Tally:
    """Of a metric that compares one prompt at a time."""

    def __init__(self, metric: Metric, lens: Lens, layers: int, sites: tuple[str, ...]) -> None:
        """Cells that are never seen stay NaN."""
        self._metric, self._lens = metric, lens
        self._layers, self._sites = layers, sites
        self._done: list[Floats] = []
        self._pending: dict[tuple[int, str], Tensor] = {}
        self._valid = torch.empty(0)

    @property
    def _blank(self) -> Floats:
        return np.full((self._layers, len(self._sites)), np.nan)

    def begin(self, valid: Tensor) -> None:
        """A batch comes; whatever was seen and not committed is forgotten."""
        self._pending, self._valid = {}, valid

    def see(self, layer: int, site: str, ours: Tensor, theirs: Tensor) -> None:
        """One cell of the batch."""
        if self._metric.parts is None:
            found = distances(self._metric, self._lens, ours, theirs, self._valid)
            few = torch.full_like(found[:, 0], torch.nan)
        else:
            valid = self._valid.to(ours.device)
            parts = self._metric.parts(ours, theirs)  # (rows, places, d)
            found = self._metric.fold(parts.sum(-1)).masked_fill(~valid, torch.nan)
            few = held_by_few(parts.masked_fill(~valid[..., None], 0.0).sum(1))
        self._pending[layer, site] = torch.stack([found.nanmean(dim=1), few])  # (2, rows)

    def commit(self) -> None:
        """The batch is whole."""
        rows = np.full((2, len(self._valid), self._layers, len(self._sites)), np.nan)
        if self._pending:
            device = self._valid.device
            stacked = torch.stack([v.to(device) for v in self._pending.values()]).cpu()
            for (layer, site), column in zip(self._pending, stacked.double(), strict=True):
                rows[:, :, layer, self._sites.index(site)] = column.numpy()
        self._done.append(rows)
        self._pending = {}

    def summary(self) -> TallySummary:
        """Means over prompts with Student's t intervals."""
        empty = np.empty((2, 0, self._layers, len(self._sites)))
        rows, few = np.concatenate([empty, *self._done], axis=1)
        return TallySummary(*mean_interval(rows, axis=0), rows, share=mean_interval(few, axis=0)[0])


def blocks_of(total: int) -> int:
    """Into how many blocks a pooled metric cuts so many prompts."""
    return -(-total // _BLOCK)


class PooledTally(Tally):
    """Of a metric over prompts: exact up to 56 of them, sums over blocks of that size beyond.

    The blocks are cut as the prompts come, so whoever feeds it draws their order (`Sweep.order`).
    """

    def __init__(
        self,
        metric: Metric,
        lens: Lens,
        layers: int,
        sites: tuple[str, ...],
        total: int,
        seed: tuple[int, ...],
    ) -> None:
        """`total` prompts are cut into even blocks; equal seeds draw equal resamples."""
        super().__init__(metric, lens, layers, sites)
        assert metric.finish is not None
        self._finish = metric.finish
        self._block = -(-total // blocks_of(total)) if total else 1
        self._seed = seed
        self._states: dict[tuple[int, str], tuple[list[Tensor], list[Tensor]]] = {}
        self._held = 0
        self._whole: Floats | None = None  # (1 + resamples, layers, sites, k), blocks added up
        self._shares: list[Floats] = []  # per block: what leaving each prompt out takes away
        self._few: list[tuple[int, Floats]] = []  # per block: prompts, what few dimensions hold
        self._fresh: dict[tuple[int, str], tuple[Tensor, Tensor]] = {}

    def begin(self, valid: Tensor) -> None:
        """A batch comes."""
        super().begin(valid)
        self._fresh = {}

    def see(self, layer: int, site: str, ours: Tensor, theirs: Tensor) -> None:
        """One cell's states, averaged over the places that count."""
        self._fresh[layer, site] = (_mean(ours, self._valid), _mean(theirs, self._valid))

    def commit(self) -> None:
        """Hold the batch's states until their block is full."""
        start, rows = 0, len(self._valid)
        host = {cell: (a.cpu(), b.cpu()) for cell, (a, b) in self._fresh.items()}
        while start < rows:
            take = min(rows - start, self._block - self._held)
            for cell, pair in host.items():
                for kept, x in zip(self._states.setdefault(cell, ([], [])), pair, strict=True):
                    kept.append(x[start : start + take])
            self._held += take
            start += take
            if self._held == self._block:
                self._close()
        self._fresh = {}

    def _close(self) -> None:
        """Turn the block's states into sums: as they are, resampled, and with each left out."""
        n = self._held
        rng = np.random.default_rng((*self._seed, len(self._shares)))
        drawn = rng.multinomial(n, np.full(n, 1 / n), _RESAMPLES)
        weights = torch.from_numpy(np.concatenate([np.ones((1, n)), drawn, 1 - np.eye(n)]))
        sums = np.full((len(weights), self._layers, len(self._sites), 1), np.nan)
        few = self._blank
        for (layer, site), sides in self._states.items():
            ours, theirs = map(torch.cat, sides)
            found = self._metric.measure(ours, theirs, weights).numpy()
            spread = sum(x.double().var(0, correction=0) for x in (ours, theirs))
            few[layer, self._sites.index(site)] = float(held_by_few(spread))
            if sums.shape[-1] != found.shape[-1]:
                sums = np.repeat(sums, found.shape[-1], axis=-1)
            sums[:, layer, self._sites.index(site)] = found
        whole = sums[: 1 + _RESAMPLES]
        self._whole = whole if self._whole is None else self._whole + whole
        self._shares.append(sums[0] - sums[1 + _RESAMPLES :])  # (prompts, layers, sites, k)
        self._few.append((n, few))
        self._states, self._held = {}, 0

    def summary(self) -> TallySummary:
        """The metric over all prompts, its bootstrap interval, and each prompt's pseudo-value.

        The pseudo-value n t - (n - 1) t without the prompt (Efron and Stein 1981) is the prompt's
        share in the whole: over one block their mean is close to the value.
        """
        if self._held >= LEAST_PROMPTS:
            self._close()
        shape = (self._layers, len(self._sites))
        if self._whole is None:
            none, nobody = self._blank, np.empty((0, *shape))
            return TallySummary(none, none, none, nobody, nobody, none)
        found = self._finish(self._whole)  # (1 + resamples, layers, sites)
        values, draws = found[0], found[1:]
        without = self._whole[0] - np.concatenate(self._shares)  # (prompts, layers, sites, k)
        n = len(without)
        per_prompt = n * values - (n - 1) * self._finish(without)
        share = np.average([few for _, few in self._few], axis=0, weights=[n for n, _ in self._few])
        return TallySummary(values, *_percentiles(draws), per_prompt, draws, share)


def contrast(harmful: TallySummary, harmless: TallySummary, twins: bool, seed: int = 0) -> Contrast:
    """Harmful minus harmless with a 95 % interval and a bootstrap p-value.

    Means: paired t over twins, else Welch's t; the studentised bootstrap for p. Pooled metrics:
    bootstrap of the difference, with the same draws for both sides of a twin; p from the
    difference over its bootstrap standard error, taken as normal, since so few draws end p early.
    """
    n, m = len(harmful.per_prompt), len(harmless.per_prompt)
    if harmful.draws is not None and harmless.draws is not None:
        gap = harmful.values - harmless.values
        draws = harmful.draws - harmless.draws if n and m else harmful.draws[:0]
        low, high = _percentiles(draws)
        return Contrast(gap, low, high, n, m, twins, _normal_p(gap, draws))
    if twins:
        k = min(n, m)
        off = harmful.per_prompt[:k] - harmless.per_prompt[:k]
        p = bootstrap_p(off, seed=seed) if k else None
        return Contrast(*mean_interval(off, axis=0), k, k, True, p)
    gap = harmful.values - harmless.values
    with np.errstate(divide="ignore", invalid="ignore"):
        error, freedom = _welch(harmful.per_prompt, harmless.per_prompt)
        reach = stats.t.ppf(0.5 + LEVEL / 2, freedom) * error
    p = bootstrap_p(harmful.per_prompt, harmless.per_prompt, seed) if n and m else None
    return Contrast(gap, gap - reach, gap + reach, n, m, False, p)


def _normal_p(gap: Floats, draws: Floats) -> Floats | None:
    if not len(draws):
        return None
    count = (~np.isnan(draws)).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.where(np.isnan(draws), 0.0, draws - np.nansum(draws, axis=0) / count)
        error = np.sqrt((off**2).sum(axis=0) / (count - 1))
        p = 2 * stats.norm.sf(np.abs(gap) / error)
    p = np.where((gap == 0) & (error == 0), 1.0, p)
    return np.where((count > 1) & np.isfinite(gap), p, np.nan)


def _welch(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Standard error of the difference of means and its degrees of freedom, over axis 0."""
    shares, counts = [], []
    for x in (a, b):
        count = (~np.isnan(x)).sum(axis=0)
        off = np.nan_to_num(x - np.nansum(x, axis=0) / count)
        shares.append((off**2).sum(axis=0) / (count - 1) / count)
        counts.append(count)
    total = shares[0] + shares[1]
    freedom = total**2 / sum(s**2 / (c - 1) for s, c in zip(shares, counts, strict=True))
    freedom = np.where(total == 0, counts[0] + counts[1] - 2, freedom)
    return np.sqrt(total), np.asarray(freedom)


def _mean(x: Tensor, valid: Tensor) -> Tensor:
    """Mean over the places that count: (rows, places, d) -> (rows, d)."""
    if x.shape[1] == 1:
        return x[:, 0]
    weight = valid.to(x.device)[..., None]
    return x.float().masked_fill(~weight, 0.0).sum(1) / weight.sum(1)


def _percentiles(draws: Floats) -> tuple[Floats, Floats]:
    """95 % percentile interval over axis 0; NaN where nothing was drawn."""
    nothing = np.isnan(draws).all(axis=0)  # all() of no draws is True
    filled = np.where(nothing, 0.0, draws if len(draws) else np.zeros((1, *draws.shape[1:])))
    low, high = np.nanquantile(filled, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
    return np.where(nothing, np.nan, low), np.where(nothing, np.nan, high)
