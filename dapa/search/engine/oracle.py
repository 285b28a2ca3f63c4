"""Who decodes, judges and remembers a list of prompts: the engine's only file that knows a pair.

Jobs are decoded as rows of one batch. Rows of different masks share it; a row leaves when its reply
ended, when its verdict is settled (opening mode), or when the driver no longer wants it, and its
place is filled again. The memory's context is the search's own, so a mask that a search has judged
costs nothing here, and what is judged here costs a later search nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial

from dapa.core.records import Mask, Prompt, Verdict
from dapa.judges.base import Judge, judges
from dapa.model.decode.generation import Batch, Row
from dapa.model.decode.optimizations import UNHINTED, Optimizations, Work
from dapa.model.decode.prefill import Prefiller, prefiller_for
from dapa.model.decode.sampling import Decoding
from dapa.model.decode.serving import row_capacity, serve
from dapa.model.pair import Pair
from dapa.model.substitution import Substituted
from dapa.model.template import begins_inside, encode, render
from dapa.prompts.format import PromptFormat, Turn
from dapa.search.engine.contract import Job, JobQueue, Memory, Mode, Workload
from dapa.store.database import Store, digest
from dapa.store.verdicts import VerdictMemory

AHEAD = 12
"""Rows in flight up to which a CPU takes on work that may turn out to be needless."""
CANONICAL_ROWS = 32
"""Rows of the canonical batch: one mask alone, the prompts in their order."""


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
        batch = Batch(
            self.pair, self.decoding, optimizations=self.optimizations, reader=self._reader
        )
        told = Work()

        def tell() -> None:
            nonlocal told
            new = batch.work.since(told)
            told = batch.work.since(Work())
            self.work.add(new)
            queue.spent(new)

        def finish(row: Row) -> None:
            job: Job = row.tag
            cut = row.ending == "length"
            verdict = replace(self.judges[mode](self.texts[job.prompt], row.text), cut=cut)
            whole = None
            if mode == "opening" and row.ending != "settled":
                whole = replace(self.judges["full"](self.texts[job.prompt], row.text), cut=cut)
            queue.done(job, verdict, row.text, len(row.new_ids), whole)

        try:
            serve(
                batch,
                self.capacity,
                take=lambda room: [
                    self._row(job, mode)
                    for job in queue.take(room, max(0, self.ahead - len(batch.rows)))
                ],
                finish=finish,
                wanted=lambda row: queue.wanted(row.tag),
                after=tell,
                fixed=self.fixed,
            )
        finally:
            tell()

    def _row(self, job: Job, mode: Mode) -> Row:
        settled: Callable[[str], bool] | None = None
        if mode == "opening" and self.optimizations.settle:
            settled = partial(self._settled, job.prompt)

        return Row(self.ids[job.prompt], job.mask, settled=settled, tag=job)


def _is_settled(judge: Judge, texts: Sequence[str], prompt: int, text: str) -> bool:
    """Not a method: a runner in a circle would keep its readings until the collector comes by."""
    return judge.settled(texts[prompt], text) is not None


class StoreMemory:
    """The store's memory in the driver's words."""

    def __init__(self, kept: VerdictMemory) -> None:
        """Args: the verdicts of one context."""
        self.kept = kept

    def recall(self, mode: Mode, mask: Mask) -> Mapping[int, tuple[Verdict, int]]:
        """What is known of a mask."""
        return self.kept.recall(mode, mask)

    def commit(self, mode: Mode, job: Job, verdict: Verdict, reply: str, tokens: int) -> None:
        """Keep one verdict for good."""
        self.kept.commit(mode, job.mask, job.prompt, verdict, reply, tokens)


class WholeMasks:
    """A memory that hands a mask out, and keeps it, only once every prompt was judged."""

    def __init__(self, base: Memory, prompts: int) -> None:
        """Args: who keeps, and how many prompts make a whole."""
        self._base, self._prompts = base, prompts
        self._waiting: dict[tuple[Mode, Mask], list[tuple[Job, Verdict, str, int]]] = {}

    def recall(self, mode: Mode, mask: Mask) -> Mapping[int, tuple[Verdict, int]]:
        """All of it or nothing."""
        known = self._base.recall(mode, mask)
        return known if len(known) == self._prompts else {}

    def commit(self, mode: Mode, job: Job, verdict: Verdict, reply: str, tokens: int) -> None:
        """Hold it back until the mask's last verdict is there."""
        waiting = self._waiting.setdefault((mode, job.mask), [])
        waiting.append((job, verdict, reply, tokens))
        if len(waiting) == self._prompts:
            for held in self._waiting.pop((mode, job.mask)):
                self._base.commit(mode, *held)


def oracle(
    pair: Pair,
    prompts: Sequence[Prompt],
    how: PromptFormat,
    max_new_tokens: int,
    store: Store,
    on: Substituted | None = None,
    canonical: bool = False,
) -> Workload:
    """A split of `prompts` that decodes on the pair, or on a view of it.

    Args:
        pair: Renders the prompts, the same for every mask and view.
        prompts: What is asked.
        how: The prompts' format.
        max_new_tokens: The token limit of every reply.
        store: Where verdicts are kept.
        on: A view with substitutes, which ignores masks: jobs must carry one mask, its name.
        canonical: Decode in batches of `CANONICAL_ROWS`, and remember a mask whole or not at all,
            so that the batches of a mask never depend on what was asked before.

    Raises:
        PromptError: A prompt that cannot be rendered.
    """
    texts = [render(pair, [Turn("user", prompt.text)], how) for prompt in prompts]
    ids = [encode(on or pair, text, how) for text in texts]
    opening, full = judges["opening"](), judges["rules"]()
    if texts and begins_inside(texts[0], how):
        opening, full = opening.inside, full.inside
    asked = [prompt.text for prompt in prompts]
    rows, optimizations = (CANONICAL_ROWS, UNHINTED) if canonical else (None, None)
    runner = PairRunner(on or pair, asked, ids, opening, full, max_new_tokens, rows, optimizations)
    runner.fixed = canonical
    shape = f"{'canonical ' * canonical}rows {runner.capacity}"
    names = (opening.name, full.name, max_new_tokens, "greedy", shape)
    kept = StoreMemory(VerdictMemory(store, digest((on or pair).digest, *names), texts))
    memory = WholeMasks(kept, len(prompts)) if canonical else kept

    def substituted(queue: JobQueue, mode: Mode) -> None:
        assert on is not None, "only a view is applied"
        with on.applied():
            runner(queue, mode)

    return Workload(len(prompts), runner if on is None else substituted, memory)
