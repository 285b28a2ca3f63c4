"""Where two models part: a streaming sweep over prompts into a map of layers and sites."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
import torch

from dapa.localize.maps import DivergenceMap, TokenMap
from dapa.localize.metrics import Metric, metrics
from dapa.localize.recording import (
    DERIVED,
    READINGS,
    Lens,
    compare_local,
    compare_total,
    find_sinks,
    map_sites,
    usual_sites,
)
from dapa.localize.tally import PooledTally, Tally, contrast, distances
from dapa.localize.tokens import (
    Encoded,
    Position,
    Tokens,
    batch,
    behind,
    by_length,
    encoded,
    front_length,
    parse_position,
    refuse_other_tokens,
    token_texts,
)
from dapa.model.front import Front
from dapa.model.pair import Pair
from dapa.model.prompting import PromptFormat
from dapa.model.sampling import check_seed
from dapa.model.transplant import Plan
from dapa.records import EMPTY, DapaError, Mask, PromptError, SettingError

Progress = Callable[[int, int], None]
"""(prompts done, prompts in all)."""
_MOST_WAITING = 2**28
"""Numbers that a total reading of all tokens may hold between the two models' passes."""


def divergence(
    pair: Pair,
    prompts: Sequence[str],
    how: PromptFormat,
    metric: str = "cosine",
    reading: str = "local",
    position: Position = "last",
    mask: Mask = EMPTY,
    harmless: Sequence[str] | None = None,
    batch_size: int = 16,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    *,
    twins: bool = False,
    sites: Sequence[str] | None = None,
    seed: int = 0,
    sink: bool = False,
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
        harmless: Prompts to subtract, for a contrast.
        batch_size: Prompts at once; halved where memory does not suffice.
        progress: Told after every batch.
        stop: When set, the map holds what was measured so far.
        twins: `harmless[i]` is the twin of `prompts[i]`: the contrast is paired.
        sites: Which sites to look at; by default the streams and the MLP's, pre-activation.
        seed: Of the bootstrap.
        sink: With `all`, count attention sinks too: the first token, and those that stick out.

    Raises:
        SettingError: A metric, reading, position, site or size that does not exist.
        PromptError: A prompt that cannot be read, or not at this position.
    """
    sweep = _Sweep(pair, how, metric, reading, position, mask, sites, sink)
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
    orders = [sweep.order(read[0 if twins else side], batch_size) for side in range(len(sets))]
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
    sweep = _Sweep(pair, how, metric, reading, "all", mask, sites, sink=True)
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


_Read = tuple[Encoded, Encoded]  # one prompt as the student and as the teacher reads it


class _Sweep:
    """The settings of one sweep, checked, and how to run a batch under them."""

    def __init__(
        self,
        pair: Pair,
        how: PromptFormat,
        metric: str,
        reading: str,
        position: Position,
        mask: Mask,
        sites: Sequence[str] | None,
        sink: bool,
    ) -> None:
        if reading not in READINGS:
            raise SettingError(f"{reading!r} is not a reading; choose {' or '.join(READINGS)}")
        every = map_sites(pair)
        for site in sites or ():
            if site not in every:
                raise SettingError(f"{site!r} is not a site; choose from {', '.join(every)}")
        pair.validate(mask)
        self.pair, self.how, self.mask, self.sink = pair, how, mask, sink
        self.left_out, self.places = 0, 0
        """Tokens left out as sinks, and tokens in all, so far."""
        self.metric: Metric = metrics[metric]
        self.total = reading == "total"
        self.position = parse_position(position)
        self.sites = tuple(s for s in every if s in (usual_sites(pair) if sites is None else sites))
        self.seen = tuple(s for s in self.sites if s == "residual" or not self.metric.lens)
        self.lens = Lens(pair, reading)
        self.fronts: tuple[Front | None, Front | None] = (None, None)

    def order(self, prompts: Sequence[_Read], batch_size: int) -> list[int]:
        """In which order prompts are read; a pooled metric cuts them into blocks as they come."""
        if self.metric.pooled:
            return list(range(len(prompts)))
        return by_length([len(ours.ids) for ours, _ in prompts], 2 * batch_size)

    def share(self, prompts: Sequence[_Read]) -> None:
        """Read once what all prompts of a total reading begin with.

        In the local reading the teacher's attention would need the student's states of it.
        """
        if self.total:
            self.fronts = (self._front("student", [a for a, _ in prompts]),
                           self._front("teacher", [b for _, b in prompts]))  # fmt: skip

    def _front(self, role: str, prompts: Sequence[Encoded]) -> Front | None:
        length = front_length(prompts, self.position)
        return Front(self.pair, role, prompts[0].ids[:length], self.mask) if length else None

    def _batch(self, prompts: Sequence[Encoded], front: Front | None) -> Tokens:
        """One model's batch: whole prompts, or what is behind their shared beginning."""
        if front is not None:
            return behind(prompts, self.position, front.length, self.pair.device)
        return batch(prompts, self.position, self.pair.device)

    def read(self, prompt: str) -> _Read:
        """A prompt in the tokens of both; the local reading knows the student's only."""
        header = self.position == "instruction"
        ours = encoded(self.pair, prompt, self.how, header=header)
        if not self.total:
            return ours, ours
        theirs = encoded(self.pair, prompt, self.how, "teacher", header=header)
        if self.position == "all":
            refuse_other_tokens(ours, theirs, prompt)
        return ours, theirs

    def tally(self, total: int, seed: tuple[int, ...]) -> Tally:
        """What counts `total` prompts under this metric."""
        plain = (self.metric, self.lens, self.pair.n_layers, self.sites)
        return PooledTally(*plain, total, seed) if self.metric.pooled else Tally(*plain)

    def most_rows(self, rows: Sequence[_Read]) -> int:
        """How many of these rows may wait for the teacher at once."""
        if not (self.total and self.position == "all"):
            return len(rows)
        config = self.pair.student.config
        inner = {"gate", "up", *DERIVED}
        wide = sum(
            config.intermediate_size if s in inner else config.hidden_size for s in self.seen
        )
        row: int = self.pair.n_layers * wide * max(len(ours.ids) for ours, _ in rows)
        return max(1, _MOST_WAITING // max(row, 1))

    def run(self, rows: Sequence[_Read], tally: Tally) -> bool:
        """Measure one batch; False if the device's memory was too small for so many rows.

        Raises:
            DapaError: Not even one row fits.
        """
        try:
            self._passing = (0, 0)
            self.compare(rows, tally.see, tally)
            tally.commit()
            self.left_out += self._passing[0]
            self.places += self._passing[1]
            return True
        except torch.OutOfMemoryError:
            if len(rows) == 1:
                raise DapaError(
                    f"out of memory on one prompt of {len(rows[0][0].ids)} tokens; use a shorter "
                    "prompt, fewer sites or a smaller dtype"
                ) from None
        torch.cuda.empty_cache()
        return False

    def compare(
        self, rows: Sequence[_Read], see: Callable[..., None], tally: Tally | None = None
    ) -> None:
        """Run one batch of prompts through the pair."""
        pair = self.pair
        ours = self._batch([a for a, _ in rows], self.fronts[0])
        plan = pair.plan([self.mask] * len(rows))
        if self.position == "all" and not self.sink:
            out = self.sinks(rows, ours, plan)
            self._passing = (int(out.sum()), int(ours.attention.sum()))
            ours = ours.without(out)
        if tally is not None:
            tally.begin(ours.valid)
        if not self.total:
            compare_local(pair, ours, plan, self.seen, see)
            return
        theirs = self._batch([b for _, b in rows], self.fronts[1])
        compare_total(pair, ours, theirs, plan, self.seen, see, self.fronts)

    def sinks(self, rows: Sequence[_Read], ours: Tokens, plan: Plan | None) -> torch.Tensor:
        """Attention sinks of the student, in the total reading of the teacher too; one more pass.

        Every place is known before any state is averaged, so that all layers leave out the same.
        """
        out = find_sinks(self.pair, "student", ours, plan)
        if self.total:
            theirs = batch([b for _, b in rows], "all", self.pair.device)
            out = out | find_sinks(self.pair, "teacher", theirs, None)
        return out


__all__ = ["DivergenceMap", "TokenMap", "divergence", "token_map"]
