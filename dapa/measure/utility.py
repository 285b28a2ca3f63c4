"""What a transplant costs on harmless prompts: KL(student || patched) in bits per token.

Teacher-forced on the student's own greedy replies, so that every mask is read at the same tokens.
The first position stands apart: there a model that refuses too much says so at once, whatever it
does afterwards. Where two models have different vocabularies, both are read over the tokens that
they share, renormalised, and the student's mass on the others is told as dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dapa.core.records import EMPTY, Mask, Prompt, PromptError, Rate
from dapa.core.statistics import mean_interval
from dapa.model.decode.generation import Batch, Row
from dapa.model.decode.log_odds import padded
from dapa.model.decode.sampling import Decoding
from dapa.model.decode.serving import row_capacity, serve
from dapa.model.pair import Pair
from dapa.model.substitution import Substituted
from dapa.model.template import encode, render
from dapa.model.transplant import masked
from dapa.prompts.format import PromptFormat, Turn
from dapa.search.engine.control import Halted
from dapa.search.job import SearchJob
from dapa.search.priors import few

TOKENS = 32
"""Tokens of a reply at most."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Drift:
    """How far a model's next-token distributions are from the student's, on harmless prompts."""

    kl: Rate
    """KL(student || model), bits per token behind the first; mean over prompts, Student's t."""
    first: Rate
    """The same at the first position, in bits."""
    dropped: float = 0.0
    """The student's probability on tokens that the other vocabulary has not, mean over tokens."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; `low` and `high` are null where one prompt has no interval."""

        def told(rate: Rate) -> dict[str, float | int | None]:
            ends = {"value": rate.value, "low": rate.low, "high": rate.high}
            return {**{k: v if np.isfinite(v) else None for k, v in ends.items()}, "n": rate.n}

        return {"kl": told(self.kl), "first": told(self.first), "dropped": self.dropped}


class Utility:
    """Harmless prompts with the student's replies; asks any mask, or any view, about them."""

    def __init__(
        self,
        pair: Pair,
        prompts: Sequence[str],
        how: PromptFormat | None = None,
        max_new_tokens: int = TOKENS,
        stop: threading.Event | None = None,
    ) -> None:
        """Render the prompts; the student replies when it is first needed.

        Raises:
            PromptError: No prompt, or one that cannot be rendered.
        """
        if not prompts:
            raise PromptError("KL needs harmless prompts; give some with --harmless")
        self.pair, self.how, self.stop = pair, how or PromptFormat(), stop
        self.texts, self.max_new_tokens = tuple(prompts), max_new_tokens
        self.ids = self._encoded(self.how)
        self._known: dict[tuple[Any, ...], Drift] = {}

    def __call__(self, mask: Mask) -> float:
        """The KL of a mask behind the first position: what a search keeps below its limit."""
        return self.drift(mask).kl.value

    def drift(
        self, mask: Mask = EMPTY, on: Substituted | None = None, how: PromptFormat | None = None
    ) -> Drift:
        """How far a mask, a view, or the student under another prompt format, goes from it.

        Raises:
            Halted: It was stopped.
        """
        key = (mask, on and on.digest, how)
        if key not in self._known:
            self._known[key] = self._measure(mask, on, how)
        return self._known[key]

    # -- inside -----------------------------------------------------------------------------

    @cached_property
    def replies(self) -> tuple[tuple[int, ...], ...]:
        """The student's greedy replies, its end token included."""
        rows = [Row(ids, tag=i) for i, ids in enumerate(self.ids)]
        queue = list(rows)

        def take(room: int) -> list[Row]:
            self._check()
            new = queue[:room]
            del queue[: len(new)]
            return new

        batch = Batch(self.pair, Decoding(self.max_new_tokens))
        serve(batch, row_capacity(self.pair), take, lambda row: None)
        return tuple(tuple(row.new_ids) for row in rows)

    def _encoded(self, how: PromptFormat) -> list[tuple[int, ...]]:
        texts = [render(self.pair, [Turn("user", text)], how) for text in self.texts]
        return [encode(self.pair, text, how) for text in texts]

    def _check(self) -> None:
        if self.stop is not None and self.stop.is_set():
            raise Halted("stopped")

    def _measure(self, mask: Mask, on: Substituted | None, how: PromptFormat | None) -> Drift:
        self.pair.validate(mask)
        teacher = on is not None and on.role == "teacher"
        shared = _shared(self.pair) if teacher else None
        prompts = self.ids if how is None else self._encoded(how)
        behind, first, dropped = [], [], []
        for block in self._blocks():
            self._check()
            replies = [self.replies[i] for i in block]
            ours = self._log_probs([self.ids[i] for i in block], replies, EMPTY, None)
            theirs_ids = [prompts[i] for i in block]
            their_replies = replies
            if shared is not None:
                theirs_ids = [shared.translated(ids) for ids in theirs_ids]
                their_replies = [shared.translated(ids) for ids in replies]
            theirs = self._log_probs(theirs_ids, their_replies, mask, on)
            for p, q in zip(ours, theirs, strict=True):  # each (reply, vocabulary)
                if shared is not None:
                    p, q, lost = shared.restricted(p, q)
                    dropped.append(float(lost.mean()))
                bits = (p.exp() * (p - q)).nan_to_num(0.0).sum(-1).clamp_min(0.0) / log(2)
                first.append(float(bits[0]))
                behind.append(float(bits[1:].mean()) if len(bits) > 1 else np.nan)
        return Drift(_mean(behind), _mean(first), float(np.mean(dropped)) if dropped else 0.0)

    def _blocks(self) -> Iterator[list[int]]:
        size = max(1, row_capacity(self.pair) // 3)  # logits of every reply position are kept
        order = sorted(range(len(self.ids)), key=lambda i: len(self.ids[i]) + len(self.replies[i]))
        for start in range(0, len(order), size):
            yield order[start : start + size]

    @torch.inference_mode()
    def _log_probs(
        self,
        prompts: Sequence[tuple[int, ...]],
        replies: Sequence[tuple[int, ...]],
        mask: Mask,
        on: Substituted | None,
    ) -> list[Tensor]:
        """Log-probabilities at every position of each reply, each (reply, vocabulary)."""
        pair = on or self.pair
        rows = [prompt + reply[:-1] for prompt, reply in zip(prompts, replies, strict=True)]
        longest = max(map(len, replies))
        with (
            on.applied() if on is not None else nullcontext(),
            masked(pair.plan([mask] * len(rows))),
        ):
            out = pair.student(**padded(rows, pair.device), use_cache=False, logits_to_keep=longest)
        return [
            out.logits[i, longest - len(reply) :].float().log_softmax(-1)
            for i, reply in enumerate(replies)
        ]


class _Shared:
    """Two vocabularies' common tokens, by text."""

    def __init__(self, ours: dict[str, int], theirs: dict[str, int], device: torch.device) -> None:
        tokens = sorted(ours.keys() & theirs.keys(), key=ours.__getitem__)
        self._of = {ours[t]: theirs[t] for t in tokens}
        self._ours = torch.tensor([ours[t] for t in tokens], device=device)
        self._theirs = torch.tensor([theirs[t] for t in tokens], device=device)

    def translated(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Tokens of ours as theirs; PromptError where one is missing."""
        missing = [i for i in ids if i not in self._of]
        if missing:
            raise PromptError(f"token {missing[0]} is not in the teacher's vocabulary")
        return tuple(self._of[i] for i in ids)

    def restricted(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both over the shared tokens, renormalised; with the mass that p loses by that."""
        p, q = p[:, self._ours], q[:, self._theirs]
        kept = p.logsumexp(-1, keepdim=True)
        return p - kept, q - q.logsumexp(-1, keepdim=True), 1 - kept.exp()[:, 0]


def _shared(pair: Pair) -> _Shared | None:
    """The common tokens, or None where both vocabularies are the same."""
    ours, theirs = pair.tokenizer.get_vocab(), pair.teacher_tokenizer.get_vocab()
    widths = [len(m.get_output_embeddings().weight) for m in (pair.student, pair.teacher)]
    if ours == theirs and widths[0] == widths[1]:
        return None
    kept = [
        {t: i for t, i in v.items() if i < w} for v, w in zip((ours, theirs), widths, strict=True)
    ]
    return _Shared(*kept, pair.device)


def _mean(values: Sequence[float]) -> Rate:
    mean, low, high = mean_interval(np.array(values))
    n = int((~np.isnan(values)).sum())
    return Rate(float(mean), max(0.0, float(low)) if n > 1 else np.nan, float(high), n)


def utility_of(
    job: SearchJob, harmless: Sequence[Prompt], stop: threading.Event | None = None
) -> Utility | None:
    """KL beside a search, on at most 64 of the harmless prompts; None without any."""
    texts = few([prompt.text for prompt in harmless], 64)
    return Utility(job.pair, texts, job.settings.format(), stop=stop) if texts else None
