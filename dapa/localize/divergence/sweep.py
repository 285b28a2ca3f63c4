"""One sweep's settings, checked, and how a batch of prompts is run under them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from dapa.core.records import Mask, SettingError, ran_out
from dapa.localize.divergence.metrics import Metric, metrics
from dapa.localize.divergence.recording import (
    DERIVED,
    READINGS,
    Lens,
    compare_local,
    compare_total,
    find_sinks,
    map_sites,
    usual_sites,
)
from dapa.localize.divergence.tally import PooledTally, Tally, blocks_of
from dapa.localize.divergence.tokens import (
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
)
from dapa.model.decode.front import Front
from dapa.model.pair import Pair
from dapa.model.room import release, too_little
from dapa.model.transplant import Plan
from dapa.prompts.format import PromptFormat

_MOST_WAITING = 2**28
"""Numbers that a total reading of all tokens may hold between the two models' passes."""

Read = tuple[Encoded, Encoded]
"""One prompt as the student and as the teacher reads it."""


class Sweep:
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
        """Args and errors as of `divergence`."""
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

    def order(self, prompts: Sequence[Read], batch_size: int, seed: int = 0) -> list[int]:
        """In which order prompts are read: by length, or for a pooled metric as blocks are drawn.

        Where a pooled metric needs more than one block, which prompts share one is drawn by seed.
        Files are often sorted by kind: blocks cut as they come hold one kind each, and what kinds
        have in common between the models is then in no block.
        """
        if self.metric.pooled:
            count = len(prompts)
            if blocks_of(count) < 2:
                return list(range(count))
            return [int(i) for i in np.random.default_rng((seed, count)).permutation(count)]
        return by_length([len(ours.ids) for ours, _ in prompts], 2 * batch_size)

    def share(self, prompts: Sequence[Read]) -> None:
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

    def read(self, prompt: str) -> Read:
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

    def most_rows(self, rows: Sequence[Read]) -> int:
        """How many of these rows may wait for the teacher at once."""
        if not (self.total and self.position == "all"):
            return self.pair.room.most("readings", len(rows))
        config = self.pair.student.config
        inner = {"gate", "up", *DERIVED}
        wide = sum(
            config.intermediate_size if s in inner else config.hidden_size for s in self.seen
        )
        row: int = self.pair.n_layers * wide * max(len(ours.ids) for ours, _ in rows)
        return self.pair.room.most("readings", max(1, _MOST_WAITING // max(row, 1)))

    def run(self, rows: Sequence[Read], tally: Tally) -> bool:
        """Measure one batch; False if the device's memory was too small for so many rows.

        Raises:
            OutOfMemory: Not even one row fits.
        """
        try:
            self._passing = (0, 0)
            self.compare(rows, tally.see, tally)
            tally.commit()
            self.left_out += self._passing[0]
            self.places += self._passing[1]
            return True
        except Exception as error:
            if not ran_out(error):
                raise
        if len(rows) == 1:
            raise too_little(len(rows[0][0].ids), "readings")
        self.pair.room.halve("readings", len(rows))
        release(self.pair.device)
        return False

    def compare(
        self, rows: Sequence[Read], see: Callable[..., None], tally: Tally | None = None
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

    def sinks(self, rows: Sequence[Read], ours: Tokens, plan: Plan | None) -> torch.Tensor:
        """Attention sinks of the student, in the total reading of the teacher too; one more pass.

        Every place is known before any state is averaged, so that all layers leave out the same.
        """
        out = find_sinks(self.pair, "student", ours, plan)
        if self.total:
            theirs = batch([b for _, b in rows], "all", self.pair.device)
            out = out | find_sinks(self.pair, "teacher", theirs, None)
        return out
