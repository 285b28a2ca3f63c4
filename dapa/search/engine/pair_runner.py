"""Decodes and judges one list of prompts on one pair: the rows of a search, here or in a worker.

Jobs are decoded as rows of one batch. Rows of different masks share it; a row leaves when its reply
ended, when its verdict is settled (opening mode), or when nobody wants it any more, and its place
is filled again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial

from dapa.core.records import Verdict
from dapa.judges.base import Judge
from dapa.model.decode.generation import Batch, Row
from dapa.model.decode.optimizations import Optimizations, Work
from dapa.model.decode.prefill import Prefiller, prefiller_for
from dapa.model.decode.sampling import Decoding
from dapa.model.decode.serving import row_capacity, serve
from dapa.model.pair import Pair
from dapa.search.engine.contract import Job, JobQueue, Mode

AHEAD = 12
"""Rows in flight up to which a CPU takes on work that may turn out to be needless."""
Said = tuple[Job, Verdict, str, int, Verdict | None]
"""What `JobQueue.done` is told of a row that ended."""


class PairRunner:
    """A `Runner` over one pair and one list of prompts; greedy, so that memory means something."""

    def __init__(
        self,
        pair: Pair,
        texts: Sequence[str],
        ids: Sequence[tuple[int, ...]],
        opening: Judge,
        full: Judge,
        max_new_tokens: int,
        rows: int | None = None,
        optimizations: Optimizations | None = None,
    ) -> None:
        """Get ready to answer.

        Args:
            pair: Whose student decodes.
            texts: The requests as the judge reads them; a job's `prompt` indexes this.
            ids: The same requests rendered and encoded.
            opening: Judge that may settle a row early.
            full: Judge of whole replies.
            max_new_tokens: The token limit, the same for every row.
            rows: Rows in flight at most; by default 48 on a CPU, 192 elsewhere.
            optimizations: What may be spared; all of it if None.
        """
        assert len(texts) == len(ids), f"{len(texts)} texts for {len(ids)} encodings"
        self.pair, self.texts, self.ids = pair, texts, ids
        self.judges: dict[Mode, Judge] = {"opening": opening, "full": full}
        self.decoding = Decoding(max_new_tokens)
        self.capacity = row_capacity(pair, rows)
        self.fixed = False
        """Exactly so many rows, also where memory runs out?"""
        self.optimizations = optimizations or Optimizations()
        self.ahead = self.capacity if pair.device.type != "cpu" else min(self.capacity, AHEAD)
        if self.optimizations.ahead is not None:
            self.ahead = min(self.capacity, self.optimizations.ahead)
        self.work = Work()
        self._reader: Prefiller = prefiller_for(pair, ids, self.optimizations)
        # other masks mostly begin as one did before, and judging every token of every reply adds up
        self._settled = lru_cache(2**16)(partial(_is_settled, opening, texts))

    def __call__(self, queue: JobQueue, mode: Mode) -> None:
        """Work the queue until it has no more jobs and no row is in flight."""
        batch, told = self.batch(), Work()

        def tell() -> None:
            nonlocal told
            new = batch.work.since(told)
            told = batch.work.since(Work())
            self.work.add(new)
            queue.spent(new)

        try:
            serve(
                batch,
                self.capacity,
                take=lambda room: [
                    self.row(job, mode)
                    for job in queue.take(room, max(0, self.ahead - len(batch.rows)))
                ],
                finish=lambda row: queue.done(*self.said(row, mode)),
                wanted=lambda row: queue.wanted(row.tag),
                after=tell,
                fixed=self.fixed,
            )
        finally:
            tell()

    def batch(self) -> Batch:
        """No row in flight yet."""
        return Batch(
            self.pair, self.decoding, optimizations=self.optimizations, reader=self._reader
        )

    def row(self, job: Job, mode: Mode) -> Row:
        """A job as a row, which is recognised by its job."""
        settled: Callable[[str], bool] | None = None
        if mode == "opening" and self.optimizations.settle:
            settled = partial(self._settled, job.prompt)

        return Row(self.ids[job.prompt], job.mask, settled=settled, tag=job)

    def said(self, row: Row, mode: Mode) -> Said:
        """The verdict on a row that ended."""
        job: Job = row.tag
        cut = row.ending == "length"
        verdict = replace(self.judges[mode](self.texts[job.prompt], row.text), cut=cut)
        whole = None
        if mode == "opening" and row.ending != "settled":
            whole = replace(self.judges["full"](self.texts[job.prompt], row.text), cut=cut)
        return job, verdict, row.text, len(row.new_ids), whole


def _is_settled(judge: Judge, texts: Sequence[str], prompt: int, text: str) -> bool:
    """Not a method: a runner in a circle would keep its readings until the collector comes by."""
    return judge.settled(texts[prompt], text) is not None
