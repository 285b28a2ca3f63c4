"""Who decodes, judges and remembers a list of prompts: where the engine meets a pair.

Rows are decoded by a `PairRunner` here, or by those of a crew's workers. The memory's context is
the search's own, so a mask that a search has judged costs nothing here, and what is judged here
costs a later search nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dapa.core.records import Mask, Prompt, Verdict
from dapa.judges.base import judges
from dapa.model.decode.optimizations import UNHINTED
from dapa.model.pair import Pair
from dapa.model.substitution import Substituted
from dapa.model.template import begins_inside, encode, render
from dapa.prompts.format import PromptFormat, Turn
from dapa.search.engine.contract import Job, JobQueue, Memory, Mode, Runner, Workload
from dapa.search.engine.pair_runner import PairRunner
from dapa.search.engine.workers.crew import Crew
from dapa.search.engine.workers.shared import SharedRunner
from dapa.store.database import digest
from dapa.store.runs import Store
from dapa.store.verdicts import VerdictMemory

CANONICAL_ROWS = 32
"""Rows of the canonical batch: one mask alone, the prompts in their order."""


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
    crew: Crew | None = None,
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
        crew: Workers that decode as well. They have no part in canonical batches, which are of one
            process, nor in views, which only this process holds.

    Raises:
        PromptError: A prompt that cannot be rendered.
    """
    texts = [render(pair, [Turn("user", prompt.text)], how) for prompt in prompts]
    ids = [encode(on or pair, text, how) for text in texts]
    opening, full = judges["opening"](), judges["rules"]()
    inside = bool(texts) and begins_inside(texts[0], how)
    opening, full = (judge.reading(inside, how.begun) for judge in (opening, full))
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

    answers: Runner = runner if on is None else substituted
    if crew is not None and on is None and not canonical:
        answers = SharedRunner(runner, inside, crew, how.begun)
    return Workload(len(prompts), answers, memory)
