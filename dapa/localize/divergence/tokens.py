"""Prompts as padded batches of tokens, and which of their positions a map looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dapa.core.records import PromptError, SettingError
from dapa.model.pair import Pair
from dapa.model.template import at_answer, encode, render
from dapa.prompts.format import PromptFormat, Turn

POSITIONS = ("last", "all", "instruction")
Position = str | int
"""`last`, `all` (mean over tokens), `instruction` (its last token) or a token's index."""


@dataclass(frozen=True)
class Encoded:
    """One prompt as one model reads it."""

    ids: tuple[int, ...]
    instruction: int
    """Index of the instruction's last token, before the assistant's header."""


def encoded(
    pair: Pair, prompt: str, how: PromptFormat, role: str = "student", *, header: bool = True
) -> Encoded:
    """Render and encode a request in one model's vocabulary.

    Args:
        pair: Whose tokenizers.
        prompt: The request.
        how: How it is rendered.
        role: Whose tokens.
        header: Find where the assistant's header begins, which renders and encodes once more;
            else the instruction's end is taken for the prompt's.

    Raises:
        PromptError: The prompt is empty, too long, or its template fails.
    """
    text = at_answer(render(pair, [Turn("user", prompt)], how), how)
    ids = encode(pair, text, how, role)
    if not header:
        return Encoded(ids, len(ids) - 1)
    request = _without_header(pair, prompt, how, text)
    if request == text:
        return Encoded(ids, len(ids) - 1)
    return Encoded(ids, max(shared(ids, encode(pair, request, how, role)) - 1, 0))


def _without_header(pair: Pair, prompt: str, how: PromptFormat, text: str) -> str:
    """The part of the rendered `text` that ends with the user's turn."""
    if how.mode == "raw":
        return text
    return text[: shared(text, render(pair, [Turn("user", prompt)], how, ask=False))]


def shared(a: Sequence[Any], b: Sequence[Any]) -> int:
    """How long the common beginning of two sequences is."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


def parse_position(position: Position) -> Position:
    """One of `POSITIONS` or a whole number (also as text); SettingError for anything else."""
    if position in POSITIONS:
        return position
    try:
        if isinstance(position, bool):
            raise ValueError
        return int(position)
    except (TypeError, ValueError):
        raise SettingError(
            f"position {position!r} is not known; choose {', '.join(POSITIONS)} or a token's index"
        ) from None


@dataclass(frozen=True, eq=False)
class Tokens:
    """A batch, padded on the left, with the places to look at."""

    ids: Tensor  # (rows, length)
    attention: Tensor
    """1 where a token stands, (rows, length); before it those of a shared head, if there is one."""
    where: Tensor | None
    """Index of each row's chosen token, (rows,); None looks at every place."""
    valid: Tensor
    """Which of the picked places count, (rows, places)."""

    def without(self, sinks: Tensor) -> Tokens:
        """The batch with these places left out, (rows, length); only where every place is read."""
        return replace(self, valid=self.valid & ~sinks)

    def pick(self, x: Tensor) -> Tensor:
        """The states at the chosen places: (rows, length, d) -> (rows, places, d)."""
        if self.where is None:
            return x
        rows = torch.arange(len(x), device=x.device)
        return x[rows, self.where.to(x.device)][:, None]


def batch(prompts: Sequence[Encoded], position: Position, device: torch.device) -> Tokens:
    """Pad prompts into one batch.

    Args:
        prompts: At least one, encoded.
        position: What `parse_position` returns.
        device: Where the tensors go.

    Raises:
        PromptError: A prompt that does not reach the wanted index.
    """
    lengths = torch.tensor([len(r.ids) for r in prompts])
    length = int(lengths.max())
    ids = torch.zeros(len(prompts), length, dtype=torch.long)
    attention = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, length - len(prompt.ids) :] = torch.tensor(prompt.ids)
        attention[row, length - len(prompt.ids) :] = 1
    if position == "all":
        valid = attention.bool()
        return Tokens(ids.to(device), attention.to(device), None, valid.to(device))
    index = torch.tensor([index_of(r, position) for r in prompts])
    where = length - lengths + index
    valid = torch.ones(len(prompts), 1, dtype=torch.bool)
    return Tokens(ids.to(device), attention.to(device), where.to(device), valid.to(device))


def behind(
    prompts: Sequence[Encoded], position: Position, head: int, device: torch.device
) -> Tokens:
    """Pad what prompts hold behind their shared first `head` tokens on the right, into one batch.

    Args:
        prompts: At least one, all longer than `head`.
        position: What `parse_position` returns, but `all`; the chosen place is behind the head.
        head: How many tokens are left out.
        device: Where the tensors go.
    """
    own = [prompt.ids[head:] for prompt in prompts]
    length = max(map(len, own))
    ids = torch.tensor([[*row, *(0 for _ in range(length - len(row)))] for row in own])
    where = torch.tensor([index_of(prompt, position) - head for prompt in prompts])
    attention = torch.ones(len(own), head + length, dtype=torch.long)  # causal: padding is behind
    valid = torch.ones(len(own), 1, dtype=torch.bool)
    return Tokens(ids.to(device), attention.to(device), where.to(device), valid.to(device))


def index_of(prompt: Encoded, position: Position) -> int:
    """Where the chosen token of a prompt stands.

    Raises:
        PromptError: A prompt that does not reach the wanted index.
    """
    if position == "last":
        return len(prompt.ids) - 1
    if position == "instruction":
        return prompt.instruction
    length = len(prompt.ids)
    if not -length <= int(position) < length:
        raise PromptError(
            f"token {position} does not exist in a prompt of {length} tokens; choose an index from "
            f"0 to {length - 1}, or the position last"
        )
    return int(position) % length


_WORTH = 4
"""A shared beginning of fewer tokens is not worth a pass of its own."""


def front_length(prompts: Sequence[Encoded], position: Position) -> int:
    """How many tokens all prompts share before the chosen place of any; 0 where few or none.

    Args:
        prompts: As one model reads them.
        position: What `parse_position` returns.

    Raises:
        PromptError: A prompt that does not reach the wanted index.
    """
    if len(prompts) < 2 or position == "all":
        return 0
    first, last = (f(prompt.ids for prompt in prompts) for f in (min, max))
    length = min(shared(first, last), *(index_of(prompt, position) for prompt in prompts))
    return length if length >= _WORTH else 0


def by_length(lengths: Sequence[int], window: int) -> list[int]:
    """The order in which batches need little padding: shortest first in every `window` of prompts.

    No wider, so that a sweep stopped early has not met short prompts only.
    """
    starts = range(0, len(lengths), window)
    every = range(len(lengths))
    return [i for s in starts for i in sorted(every[s : s + window], key=lengths.__getitem__)]


def refuse_other_tokens(ours: Encoded, theirs: Encoded, prompt: str) -> None:
    """PromptError where the two models read different tokens, so that no place matches another."""
    if ours.ids != theirs.ids:
        at = shared(ours.ids, theirs.ids)
        raise PromptError(
            f"student and teacher cut {prompt[:60]!r} into different tokens (from token {at} on, "
            f"{len(ours.ids)} against {len(theirs.ids)}), so their tokens cannot be compared one "
            "by one; use the local reading or the position last"
        )


def token_texts(tokenizer: Any, ids: Sequence[int]) -> tuple[str, ...]:
    """Each token as text, special ones and leading spaces kept; bytes of a character by name."""
    texts = []
    for token, name in zip(ids, tokenizer.convert_ids_to_tokens(list(ids)), strict=True):
        text = tokenizer.decode([token], skip_special_tokens=False)
        name = str(name)
        if name[:1] in {"▁", "Ġ"} and not text.startswith(" "):
            text = " " + text
        texts.append(name if not text or "�" in text else text)
    return tuple(texts)
