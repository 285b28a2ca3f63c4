"""Where two models part: a streaming sweep over prompts into a map of layers and sites."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch

from dapa.core.records import EMPTY, Mask, PromptError, SettingError
from dapa.core.running import Running
from dapa.core.settings import check_seed
from dapa.localize.divergence.maps import DivergenceMap, TokenMap
from dapa.localize.divergence.metrics import metrics
from dapa.localize.divergence.sweep import Sweep
from dapa.localize.divergence.tally import contrast, distances
from dapa.localize.divergence.tokens import (
    Position,
    batch,
    encoded,
    refuse_other_tokens,
    token_texts,
)
from dapa.model.pair import Pair
from dapa.prompts.format import PromptFormat

Progress = Callable[[int, int], None]
"""(prompts done, prompts in all)."""


@dataclass(frozen=True, kw_only=True)
class SweepOptions(Running):
    """What a sweep takes besides what it measures; its seed draws resamples and blocks."""

    harmless: Sequence[str] | None = None
    """Prompts to subtract, for a contrast."""
    twins: bool = False
    """`harmless[i]` is the twin of `prompts[i]`: the contrast is paired."""
    sites: Sequence[str] | None = None
    """Which sites to look at; by default the streams and the MLP's, pre-activation."""
    sink: bool = False
    """With position `all`, count attention sinks too: the first token, and those that stick out."""


def divergence(
    pair: Pair,
    prompts: Sequence[str],
    how: PromptFormat,
    metric: str = "cosine",
    reading: str = "local",
    position: Position = "last",
    mask: Mask = EMPTY,
    **options: Any,
) -> DivergenceMap:
    """Sweep prompts through both models and say how far apart they are at each layer and site.

    Args:
        pair: Student and teacher.
        prompts: Requests, as the user writes them.
        how: How a request is rendered, for both models.
        metric: A name in `metrics`.
        reading: `local`: the teacher's module on the student's input, so that depth does not
            accumulate. `total`: each model on its own input, in its own tokens.
        position: `last`, `all` (mean over tokens), `instruction` (its last token) or an index.
        mask: What is transplanted in the student; a transplanted site is then no distance away.
        options: Of `SweepOptions`.

    Raises:
        SettingError: A metric, reading, position, site or size that does not exist.
        PromptError: A prompt that cannot be read, or not at this position.
    """
    asked = SweepOptions(**options)
    harmless, twins, seed, batch_size = asked.harmless, asked.twins, asked.seed, asked.batch_size
    progress, stop = asked.progress, asked.stop
    sweep = Sweep(pair, how, metric, reading, position, mask, asked.sites, asked.sink)
    check_seed(seed)
    if batch_size < 1:
        raise SettingError(f"batch size {batch_size} is too small; choose 1 or more")
    if not prompts:
        raise PromptError("there is no prompt to measure on; choose a prompt set with some")
    if twins and (harmless is None or len(harmless) != len(prompts)):
        raise SettingError(
            f"{len(prompts)} prompts and {len(harmless or ())} twins do not pair up; "
            "give one twin each"
        )
    sets = [list(prompts), *([list(harmless)] if harmless else [])]
    read = [[sweep.read(text) for text in texts] for texts in sets]
    sweep.share(list(chain(*read)))
    orders = [
        sweep.order(read[0 if twins else side], batch_size, seed) for side in range(len(sets))
    ]
    read = [[texts[i] for i in order] for texts, order in zip(read, orders, strict=True)]
    tallies = [
        sweep.tally(len(texts), (seed, 0 if twins else side)) for side, texts in enumerate(sets)
    ]
    total, done, counted = sum(map(len, sets)), 0, [0 for _ in sets]
    starts = sorted(
        (i, side) for side, texts in enumerate(sets) for i in range(0, len(texts), batch_size)
    )  # both sets advance together, so that a stopped sweep still has a contrast
    work = deque((side, read[side][i : i + batch_size]) for i, side in starts)
    while work and not (stop is not None and stop.is_set()):
        side, rows = work.popleft()
        fits = sweep.most_rows(rows)
        if len(rows) > fits or not sweep.run(rows, tallies[side]):
            half = min(fits, len(rows) // 2)
            work.extendleft([(side, rows[half:]), (side, rows[:half])])
            continue
        done += len(rows)
        counted[side] += len(rows)
        if progress:
            progress(done, total)
    met = [tally.summary() for tally in tallies]
    found = [summary.restored(order) for summary, order in zip(met, orders, strict=True)]
    even = len({len(summary.per_prompt) for summary in met}) == 1
    both = met if twins and not even else found  # stopped between twins: as they were read
    kept = sorted(orders[0][: len(met[0].per_prompt)])
    return DivergenceMap(
        metric=metric,
        title=sweep.metric.title,
        unit=sweep.metric.unit,
        reading=reading,
        position=str(sweep.position),
        sites=sweep.sites,
        layers=tuple(range(pair.n_layers)),
        values=found[0].values,
        low=found[0].low,
        high=found[0].high,
        prompts=tuple(sets[0][i] for i in kept),
        per_prompt=found[0].per_prompt,
        asked=len(sets[0]),
        contrast=contrast(both[0], both[1], twins, seed) if len(both) > 1 else None,
        pair=pair.spec.title,
        mask=mask.key,
        seed=seed,
        share=found[0].share,
        sinks=(sweep.left_out, sweep.places) if sweep.places else None,
    )


def token_map(
    pair: Pair,
    prompt: str,
    how: PromptFormat,
    metric: str = "cosine",
    reading: str = "local",
    mask: Mask = EMPTY,
    sites: Sequence[str] | None = None,
) -> TokenMap:
    """How far apart the models are along one prompt, by layer, site and token.

    Raises:
        SettingError: A metric that needs a set of prompts, or a name that does not exist.
        PromptError: The two models cut the prompt into different tokens.
    """
    sweep = Sweep(pair, how, metric, reading, "all", mask, sites, sink=True)
    refuse_other_tokens(encoded(pair, prompt, how), encoded(pair, prompt, how, "teacher"), prompt)
    if sweep.metric.pooled:
        others = ", ".join(name for name in metrics if not metrics[name].pooled)
        raise SettingError(
            f"{metric} compares sets of prompts and says nothing of one token; choose {others}"
        )
    read = sweep.read(prompt)
    ids = read[0].ids
    values = np.full((pair.n_layers, len(sweep.sites), len(ids)), np.nan)
    valid = torch.ones(1, len(ids), dtype=torch.bool)

    def see(layer: int, site: str, ours: torch.Tensor, theirs: torch.Tensor) -> None:
        found = distances(sweep.metric, sweep.lens, ours, theirs, valid)
        values[layer, sweep.sites.index(site)] = found[0].double().cpu().numpy()

    sweep.compare([read], see)
    out = sweep.sinks([read], batch([read[0]], "all", pair.device), pair.plan([mask]))
    return TokenMap(
        metric=metric,
        title=sweep.metric.title,
        unit=sweep.metric.unit,
        reading=reading,
        sites=sweep.sites,
        layers=tuple(range(pair.n_layers)),
        tokens=token_texts(pair.tokenizer, ids),
        values=values,
        prompt=prompt,
        pair=pair.spec.title,
        mask=mask.key,
        sinks=tuple(out[0].nonzero().flatten().tolist()),
    )


__all__ = ["DivergenceMap", "TokenMap", "divergence", "token_map"]
