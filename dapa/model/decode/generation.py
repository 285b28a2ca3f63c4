"""Our own decoding loop: rows of different masks in one batch, coming and going.

A `Batch` holds the rows in flight, on the right edge of its `KVCache`. Rows are admitted at any
time (a `Prefiller` reads their prompts), advance one token a `step`, and leave when they end, are
settled or are dropped; others move up to their places. The mask is set inside `admit` and `step`
only, never across a yield.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from dapa.core.records import EMPTY, Mask, TooLong
from dapa.core.settings import check_seed
from dapa.model.decode.kv_cache import KVCache
from dapa.model.decode.lengths import pass_cost, passes
from dapa.model.decode.optimizations import Optimizations, Work
from dapa.model.decode.prefill import Prefiller
from dapa.model.decode.sampling import GREEDY, Decoding, choose
from dapa.model.decode.transcript import Transcript, Words, visible
from dapa.model.pair import Pair
from dapa.model.probe import end_of_turn
from dapa.model.transplant import Plan, masked

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

    def restart(self) -> None:
        """As it was before its prompt was read."""
        self.new_ids.clear()
        self.ending = self.generator = self.transcript = None


class Batch:
    """The rows in flight on one model of the pair."""

    def __init__(
        self,
        pair: Pair,
        decoding: Decoding = GREEDY,
        role: Role = "student",
        optimizations: Optimizations | None = None,
        reader: Prefiller | None = None,
    ) -> None:
        """An empty batch on the (masked) student or on the teacher.

        Args:
            pair: Who decodes.
            decoding: How, the same for every row.
            role: Which of the two models.
            optimizations: What may be spared; all that needs no memory if None.
            reader: Reads prompts; one that knows nothing if None.
        """
        self.pair, self.decoding, self.role = pair, decoding, role
        self.model = pair.student if role == "student" else pair.teacher
        self.tokenizer = pair.tokenizer if role == "student" else pair.teacher_tokenizer
        self.optimizations = optimizations or Optimizations()
        self.rows: list[Row] = []
        self.work = Work()
        """What was done so far."""
        self._reader = reader or Prefiller(pair, role)
        self._ends = _ends_of(pair, self.tokenizer)
        self._words = Words(self.tokenizer)
        self._kv_cache = KVCache(pair.n_layers)
        self._spelled = _spelled(self.model, pair.device)
        self._seats: list[Row] = []
        """Who has a place in the slots: the rows in flight and, where none leaves, the ended."""
        self._lengths: Tensor | None = None  # (seats,) tokens in the slots
        self._plan: Plan | None = None

    @property
    def steps(self) -> int:
        """Forward steps made, prefills apart."""
        return self.work.steps

    @property
    def prefilled(self) -> int:
        """Prompt tokens read."""
        return round(self.work.prefilled)

    @property
    def decoded(self) -> int:
        """New tokens decoded, over all rows."""
        return self.work.decoded

    @torch.inference_mode()
    def admit(self, rows: Sequence[Row]) -> list[Row]:
        """Read these rows' prompts and add them; returns those that already ended.

        Raises:
            PromptError: A prompt that leaves no room in the context.
        """
        if not rows:
            return []
        for row in rows:
            if len(row.ids) >= self.pair.context_length:
                raise TooLong(len(row.ids), self.pair.context_length)
            check_seed(row.seed)
        parts = self._alike(rows)
        read = [self._reader.read([(row.ids, row.mask) for row in part]) for part in parts]
        new = [part[i] for part, one in zip(parts, read, strict=True) for i in one.order]
        computed = sum(one.computed for one in read)
        self.work.prefilled += computed
        self.work.padding += sum(one.padding for one in read)
        self.work.reused += sum(len(row.ids) for row in rows) - computed
        self.work.refilled += len(new) if self.rows else 0
        for row in new:
            row.generator = torch.Generator().manual_seed(row.seed)
            row.transcript = Transcript(self._words)
        for one in read:
            self._kv_cache.put(one.layers, len(one.order), one.length)
        self._seats.extend(new)
        ended = self._advance(torch.cat([one.logits for one in read]), new)
        self._settle_down()
        return ended

    def _alike(self, rows: Sequence[Row]) -> list[Sequence[Row]]:
        """Rows that are read together: all at once, or those of like length."""
        if not self.optimizations.alike:
            return [rows]
        head = len(self._reader.head)
        ranked = sorted(rows, key=lambda row: -len(row.ids))  # the longest tells the room
        lengths = [len(row.ids) - head for row in ranked]
        parts, start = list[Sequence[Row]](), 0
        for size in passes(lengths, len(rows), pass_cost(self.pair)):
            parts.append(ranked[start : start + size])
            start += size
        return parts

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """One more token for every row; returns the rows that ended with it."""
        if not self.rows:
            return []
        assert self._lengths is not None
        self._kv_cache.reserve()
        device = self.pair.device
        ids = torch.tensor([row.new_ids[-1] for row in self._seats], device=device)[:, None]
        places = self._kv_cache.length + 1
        first = places - 1 - self._lengths[:, None]  # (rows, 1) where the row begins
        attention = torch.arange(places, device=device)[None] >= first
        if self._spelled:
            attention = attention[:, None, None]
        with masked(self._plan):
            out = self.model(
                input_ids=ids,
                attention_mask=attention,
                position_ids=self._lengths[:, None],
                past_key_values=self._kv_cache,
                use_cache=True,
                logits_to_keep=1,
            )
        self._kv_cache.step()
        self._lengths = self._lengths + 1
        self.work.steps += 1
        self.work.idle += len(self._seats) - len(self.rows)
        ended = self._advance(out.logits[:, -1], self._seats)
        if ended:
            self._settle_down()
        return ended

    def drop(self, rows: Sequence[Row]) -> None:
        """Take rows out before they end; they are marked `stopped`. Other rows are left alone."""
        leaving = {id(row) for row in rows}
        for row in self.rows:
            if id(row) in leaving:
                row.ending = "stopped"
        self._settle_down()

    def most_tokens(self, row: Row) -> int:
        """How many a row may come to, prompt and reply."""
        most = len(row.ids) + (row.max_new_tokens or self.decoding.max_new_tokens)
        return min(most, self.pair.context_length)

    def clear(self, rows: Sequence[Row]) -> None:
        """Let go of every state, after memory ran out; `rows` are as before they were read."""
        self.rows, self._seats = [], []
        self._lengths, self._plan = None, None
        self._kv_cache = KVCache(self.pair.n_layers)
        self._reader.forget()
        for row in rows:
            row.restart()

    def _advance(self, logits: Tensor, rows: Sequence[Row]) -> list[Row]:
        """Append each row's next token; returns the rows that end with it."""
        penalised = self.decoding.repetition_penalty != 1.0
        written = [[*row.ids, *row.new_ids] if penalised else [] for row in rows]
        tokens = choose(logits, self.decoding, [row.generator for row in rows], written)
        ended = []
        for row, token in zip(rows, tokens, strict=True):
            if row.ending:
                continue
            self._append(row, token)
            self.work.decoded += 1
            if row.ending:
                ended.append(row)
                self.work.settled += row.ending == "settled"
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

    @torch.inference_mode()
    def _settle_down(self) -> None:
        """Let the ended rows leave: the last ones move up, and the plan is made anew."""
        self.rows = [row for row in self._seats if not row.ending]
        if self.optimizations.leave or not self.rows:
            stay = len(self.rows)
            order = list(range(len(self._seats)))
            free = [i for i in order[:stay] if self._seats[i].ending]
            movers = [i for i in order[stay:] if not self._seats[i].ending]
            for hole, mover in zip(free, movers, strict=True):
                order[hole] = mover
            self._seats = [self._seats[i] for i in order[:stay]]
            self._kv_cache.keep(order[:stay], max(map(_cached, self._seats), default=0))
        self._plan, self._lengths = None, None
        if self._seats:
            lengths = [_cached(row) for row in self._seats]
            self._lengths = torch.tensor(lengths, device=self.pair.device)
            if self.role == "student":
                self._plan = self.pair.plan([row.mask for row in self._seats])


def _spelled(model: Any, device: torch.device) -> bool:
    """Is a step faster where its attention mask stands written, (rows, 1, 1, places)?

    Else transformers leaves out a mask that hides nothing, and without one the queries that share a
    key are not multiplied together, which takes a CPU up to ten times as long.
    """
    config = model.config
    queries = getattr(config, "num_attention_heads", None) or 0
    keys = getattr(config, "num_key_value_heads", None) or queries
    kinds = set(getattr(config, "layer_types", None) or ("full_attention",))
    return (
        device.type == "cpu"
        and config._attn_implementation == "sdpa"
        and keys < queries
        and kinds == {"full_attention"}
        and not getattr(config, "sliding_window", None)
    )


def _cached(row: Row) -> int:
    """How many of a row's tokens went through the model: all but the last."""
    return len(row.ids) + len(row.new_ids) - 1


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends a reply, by the generation config and by the tokenizer."""
    named = getattr(model.generation_config, "eos_token_id", None)
    ends = set(named) if isinstance(named, (list, tuple)) else {named}
    ends.add(tokenizer.eos_token_id)
    return frozenset(token for token in ends if token is not None)


def _ends_of(pair: Pair, tokenizer: Any) -> frozenset[int]:
    """What ends a reply of either model: a patched student may end as its teacher does.

    A base student that reads the teacher's template closes its turn with the teacher's token too,
    which its own settings do not name; nor do some aligned models' settings, so that what a chat
    template puts behind the assistant's words is an end too. Tokens are matched by text, since
    vocabularies may differ.
    """
    sides = ((pair.student, pair.tokenizer), (pair.teacher, pair.teacher_tokenizer))
    ends = set()
    for model, own in sides:
        ids = sorted(_end_ids(model, own))
        known = tokenizer.get_vocab() if own is not tokenizer else None
        for end, token in zip(ids, own.convert_ids_to_tokens(ids), strict=True):
            ends.add(end if known is None else known.get(token))
        turn = end_of_turn(own)
        place = tokenizer.convert_tokens_to_ids(turn) if turn else None
        if place is not None and tokenizer.convert_ids_to_tokens(place) == turn:
            ends.add(place)  # else this vocabulary has no such token
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
