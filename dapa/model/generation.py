"""Our own decoding loop: rows of different masks in one batch, coming and going.

A `Batch` holds the rows in flight, padded on the left, with their KV cache. Rows are admitted at
any time (their prompt is prefilled and their cache joined), advance one token a `step`, and leave
when they end, are settled or are dropped; the cache is compacted then. The mask is set inside
`admit` and `step` only, never across a yield.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import DynamicCache

from dapa.model.pair import Pair
from dapa.model.sampling import GREEDY, Decoding, check_seed, choose
from dapa.model.transcript import Transcript, Words, visible
from dapa.model.transplant import Plan, masked
from dapa.records import EMPTY, Mask, PromptError

Ending = Literal["end", "length", "settled", "stopped"]
Role = Literal["student", "teacher"]


@dataclass(eq=False)
class Row:
    """One reply in the making."""

    ids: tuple[int, ...]
    """Prompt tokens."""
    mask: Mask = EMPTY
    seed: int = 0
    max_new_tokens: int | None = None
    """Overrides the decoding's, if set."""
    settled: Callable[[str], bool] | None = None
    """Told the text so far; True ends the row early."""
    tag: Any = None
    """Whatever the caller wants to recognise the row by."""
    new_ids: list[int] = field(default_factory=list)
    """The reply's tokens; the last one ends it where `ending` is `end`, and is no text."""
    ending: Ending | None = None
    generator: torch.Generator | None = None
    transcript: Transcript | None = None

    @property
    def text(self) -> str:
        """The reply so far; while it grows, its last character may be unfinished (`visible`)."""
        return self.transcript.text if self.transcript is not None else ""


class Batch:
    """The rows in flight on one model of the pair."""

    def __init__(self, pair: Pair, decoding: Decoding = GREEDY, role: Role = "student") -> None:
        """An empty batch on the (masked) student or on the teacher."""
        self.pair, self.decoding, self.role = pair, decoding, role
        self.model = pair.student if role == "student" else pair.teacher
        self.tokenizer = pair.tokenizer if role == "student" else pair.teacher_tokenizer
        self.rows: list[Row] = []
        self.steps = 0
        """Forward steps made, prefills apart."""
        self.prefilled = 0
        """Prompt tokens prefilled."""
        self.decoded = 0
        """New tokens decoded, over all rows."""
        self._ends = _ends_of(pair, self.tokenizer)
        self._words = Words(self.tokenizer)
        self._cache = DynamicCache()
        self._attention: Tensor | None = None  # (rows, length) 1 where a token stands
        self._plan: Plan | None = None
        self._next: list[int] = []  # the last token of each row, not yet in the cache

    @torch.inference_mode()
    def admit(self, rows: Sequence[Row]) -> list[Row]:
        """Prefill these rows and add them; returns those that already ended.

        Raises:
            PromptError: A prompt that leaves no room in the context.
        """
        if not rows:
            return []
        for row in rows:
            if len(row.ids) >= self.pair.context_length:
                raise PromptError(
                    f"the prompt has {len(row.ids):,} tokens and the context holds "
                    f"{self.pair.context_length:,}; shorten it"
                )
            check_seed(row.seed)
        device = self.pair.device
        length = max(len(row.ids) for row in rows)
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        attention = torch.zeros(len(rows), length, dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, length - len(row.ids) :] = torch.tensor(row.ids)
            attention[i, length - len(row.ids) :] = 1
        ids, attention = ids.to(device), attention.to(device)
        cache = DynamicCache()
        plan = self._plan_for(rows)
        logits = self._forward(ids, attention, cache, plan)
        self.prefilled += sum(len(row.ids) for row in rows)
        for row in rows:
            row.generator = torch.Generator().manual_seed(row.seed)
            row.transcript = Transcript(self._words)
        self._join(cache, attention)
        self._plan = self._plan_for([*self.rows, *rows]) if self.rows else plan
        self.rows.extend(rows)
        return self._advance(logits, list(rows))

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """One more token for every row; returns the rows that ended with it."""
        if not self.rows:
            return []
        assert self._attention is not None
        ids = torch.tensor(self._next, device=self.pair.device)[:, None]  # (rows, 1)
        one = self._attention.new_ones(len(self.rows), 1)
        self._attention = torch.cat([self._attention, one], dim=1)
        logits = self._forward(ids, self._attention, self._cache, self._plan)
        self.steps += 1
        self._next = []
        return self._advance(logits, list(self.rows))

    def drop(self, rows: Sequence[Row]) -> None:
        """Take rows out before they end; they are marked `stopped`. Other rows are left alone."""
        leaving = {id(row) for row in rows}
        for row in self.rows:
            if id(row) in leaving:
                row.ending = "stopped"
        self._compact()

    def _plan_for(self, rows: Sequence[Row]) -> Plan | None:
        return self.pair.plan([row.mask for row in rows]) if self.role == "student" else None

    def _forward(
        self, ids: Tensor, attention: Tensor, cache: DynamicCache, plan: Plan | None
    ) -> Tensor:
        """Logits of the last position, (rows, vocabulary)."""
        positions = (attention.cumsum(-1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        with masked(plan):
            out = self.model(
                input_ids=ids,
                attention_mask=attention,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        logits: Tensor = out.logits[:, -1]
        return logits

    def _join(self, cache: DynamicCache, attention: Tensor) -> None:
        """Put new rows under the old ones; the shorter side gets padding on its left."""
        if not self.rows:
            self._cache, self._attention = cache, attention
            return
        assert self._attention is not None
        old, new = self._attention.shape[1], attention.shape[1]
        self._attention = torch.cat(
            [_pad_left(self._attention, new - old), _pad_left(attention, old - new)]
        )
        for mine, theirs in zip(self._cache.layers, cache.layers, strict=True):
            for name in ("keys", "values"):
                a, b = getattr(mine, name), getattr(theirs, name)  # (rows, heads, length, d)
                joined = torch.cat([_pad_left(a, new - old, 2), _pad_left(b, old - new, 2)])
                setattr(mine, name, joined)

    def _advance(self, logits: Tensor, rows: list[Row]) -> list[Row]:
        """Append each row's next token and let the ended ones leave."""
        penalised = self.decoding.repetition_penalty != 1.0
        written = [[*row.ids, *row.new_ids] if penalised else [] for row in rows]
        tokens = choose(logits, self.decoding, [row.generator for row in rows], written)
        for row, token in zip(rows, tokens, strict=True):
            self._append(row, token)
        self._next.extend(tokens)
        self.decoded += len(tokens)
        ended = [row for row in rows if row.ending]
        if ended:
            self._compact()
        return ended

    def _append(self, row: Row, token: int) -> None:
        assert row.transcript is not None, "admit gives every row its transcript"
        row.new_ids.append(token)
        limit = row.max_new_tokens or self.decoding.max_new_tokens
        room = self.pair.context_length - len(row.ids)
        if token in self._ends:
            row.ending = "end"
        else:
            row.transcript.push(token)
            if len(row.new_ids) >= min(limit, room):
                row.ending = "length"
            elif row.settled is not None and row.settled(visible(row.text)):
                row.ending = "settled"
        if row.ending:
            row.transcript.finish()

    def _compact(self) -> None:
        """Keep the rows that go on, and cut padding that no row needs any more."""
        keep = [i for i, row in enumerate(self.rows) if not row.ending]
        if len(keep) == len(self.rows):
            return
        self.rows = [self.rows[i] for i in keep]
        self._next = [self._next[i] for i in keep]
        if not keep:
            self._cache, self._attention, self._plan = DynamicCache(), None, None
            return
        assert self._attention is not None
        index = torch.tensor(keep, device=self.pair.device)
        self._cache.batch_select_indices(index)
        self._attention = self._attention.index_select(0, index)
        longest = max(len(row.ids) + len(row.new_ids) - 1 for row in self.rows)
        spare = self._attention.shape[1] - longest
        if spare > 0:
            self._attention = self._attention[:, spare:]
            for layer in self._cache.layers:
                layer.keys = layer.keys[:, :, spare:]
                layer.values = layer.values[:, :, spare:]
        self._plan = self._plan_for(self.rows)


def _pad_left(x: Tensor, by: int, dim: int = 1) -> Tensor:
    if by <= 0:
        return x
    shape = list(x.shape)
    shape[dim] = by
    return torch.cat([x.new_zeros(shape), x], dim=dim)


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends a reply, by the generation config and by the tokenizer."""
    named = getattr(model.generation_config, "eos_token_id", None)
    ends = set(named) if isinstance(named, (list, tuple)) else {named}
    ends.add(tokenizer.eos_token_id)
    return frozenset(token for token in ends if token is not None)


def _ends_of(pair: Pair, tokenizer: Any) -> frozenset[int]:
    """What ends a reply of either model: a patched student may end as its teacher does.

    A base student that reads the teacher's template closes its turn with the teacher's token too,
    which its own settings do not name. Tokens are matched by text, since vocabularies may differ.
    """
    sides = ((pair.student, pair.tokenizer), (pair.teacher, pair.teacher_tokenizer))
    ends = set()
    for model, own in sides:
        ids = sorted(_end_ids(model, own))
        known = tokenizer.get_vocab() if own is not tokenizer else None
        for end, token in zip(ids, own.convert_ids_to_tokens(ids), strict=True):
            ends.add(end if known is None else known.get(token))
    return frozenset(end for end in ends if end is not None)


def stream(batches: Sequence[Batch], stop: threading.Event | None = None) -> Iterator[list[Row]]:
    """Step several batches in turn until all their rows ended; yields after every round.

    Args:
        batches: Batches with admitted rows.
        stop: When set, no further step is made and the rows are marked `stopped`.

    Yields:
        The rows that ended in this round.
    """
    while any(batch.rows for batch in batches):
        if stop is not None and stop.is_set():
            left = [row for batch in batches for row in batch.rows]
            for batch in batches:
                batch.drop(list(batch.rows))
            yield left
            return
        yield [row for batch in batches for row in batch.step()]


def complete(
    pair: Pair, rows: Sequence[Row], decoding: Decoding = GREEDY, role: Role = "student"
) -> list[Row]:
    """Decode rows to their ends in one batch; the simplest way to use this module."""
    batch = Batch(pair, decoding, role)
    batch.admit(rows)
    for _ in stream([batch]):
        pass
    return list(rows)
