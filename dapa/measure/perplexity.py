"""What a transplant costs in language: the perplexity of a text, and a reply's surprise.

Everything is teacher-forced: one forward pass over text that is already there. The student's rows
carry the mask, the teacher runs as it is; nothing here knows a judge, a table or a screen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from dapa.core.records import EMPTY, Mask, PromptError
from dapa.core.statistics import mean_interval
from dapa.model.pair import Pair
from dapa.model.template import encode, render
from dapa.model.transplant import masked
from dapa.prompts.format import PromptFormat, Turn

Role = Literal["student", "teacher"]
STRIDE = 512
"""As the released scripts move over WikiText-2."""
WINDOW = 2048
"""The longest window; a shorter context makes it shorter."""
BLOCK = 64
"""Tokens of one block: neighbours depend on each other, so intervals are over blocks."""
OPENING = 4
"""First tokens of a reply that its surprise leaves out: they carry the decision to refuse."""
_LOGITS = 2**26
"""Logits held at once, about."""


@dataclass(frozen=True)
class Perplexity:
    """Perplexity of a text, per token, with what it was measured over."""

    value: float
    low: float | None
    """95 % interval over blocks of tokens; None where there are fewer than two."""
    high: float | None
    n: int
    """Tokens scored."""
    bits_per_byte: float
    """Compares models whose tokenizers differ."""
    window: int
    stride: int
    text: str
    """The text's name."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


# -- perplexity ------------------------------------------------------------------------------


@torch.inference_mode()
def perplexity(
    pair: Pair,
    text: str,
    mask: Mask = EMPTY,
    role: Role = "student",
    name: str = "text",
    stride: int = STRIDE,
    window: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Perplexity:
    """Perplexity of a text in windows that overlap, so that every token has some context.

    Window by window the text moves on by `stride` tokens, and only tokens that no window has scored
    yet are scored, as the released scripts and the transformers guide on perplexity do it.

    Args:
        pair: Whose models read.
        text: What is read.
        mask: The student's mask.
        role: Which model.
        name: The text's name, for the record.
        stride: How far a window moves; at most half a window.
        window: Tokens of a window; by default the context's, at most `WINDOW`.
        progress: Told the share done.

    Raises:
        PromptError: A text of fewer than two tokens.
    """
    tokenizer = pair.tokenizer if role == "student" else pair.teacher_tokenizer
    ids: list[int] = tokenizer(text, verbose=False)["input_ids"] if text.strip() else []
    if len(ids) < 2:
        raise PromptError(f"{name} has no two tokens to read; give a longer text")
    window = min(pair.context_length, window or WINDOW)
    stride = max(1, min(stride, window // 2))
    bits: list[float] = []
    spans = list(_windows(len(ids), window, stride))
    for done, (start, fresh, stop) in enumerate(spans):
        part = torch.tensor([ids[start:stop]], device=pair.device)
        keep = stop - fresh + 1  # each token is told by the position before it
        logits = _forward(pair, part, None, mask, role, keep)[0, :-1]
        for some, wanted in zip(
            logits.split(256), part[0, fresh - start :].split(256), strict=True
        ):
            bits += _surprise(some, wanted).tolist()
        if progress:
            progress((done + 1) / len(spans))
    mean = sum(bits) / len(bits)
    low, high = _block_interval(bits, mean)
    per_byte = sum(bits) / len(text.encode("utf-8", "replace"))
    return Perplexity(2.0**mean, low, high, len(bits), per_byte, window, stride, name)


def _windows(n: int, window: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """(start, first token not scored yet, stop) of every window; the very first token is none."""
    scored = 1
    for start in range(0, n, stride):
        stop = min(start + window, n)
        if stop > scored:
            yield start, scored, stop
            scored = stop
        if stop == n:
            return


def _block_interval(bits: Sequence[float], mean: float) -> tuple[float | None, float | None]:
    """Perplexity's 95 % interval from the means of equal blocks."""
    blocks = [bits[i : i + BLOCK] for i in range(0, len(bits) - BLOCK + 1, BLOCK)]
    if len(blocks) < 2:
        return None, None
    middle, low, high = mean_interval([sum(block) / BLOCK for block in blocks])
    shift = mean - float(middle)  # tokens past the last whole block count for the value
    return 2.0 ** (float(low) + shift), 2.0 ** (float(high) + shift)


# -- surprise --------------------------------------------------------------------------------


def surprise(
    pair: Pair, how: PromptFormat | None = None
) -> Callable[[Sequence[tuple[str, str]]], list[float | None]]:
    """Bits per token of replies under the student, past their `OPENING`; for `judges.fluency`.

    None where a reply has no token past its opening, or does not fit into the context.
    """
    how = how or PromptFormat()

    @torch.inference_mode()
    def bits(pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        texts: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        for place, (prompt, reply) in enumerate(pairs):
            asked = encode(pair, render(pair, [Turn("user", prompt)], how), how)
            said = tuple(pair.tokenizer(reply, add_special_tokens=False)["input_ids"])
            said = said[: pair.context_length - len(asked)]
            if len(said) > OPENING:
                texts[place] = (asked, said)
        found: list[float | None] = [None] * len(pairs)
        order = sorted(texts, key=lambda place: sum(map(len, texts[place])))
        rows = rows_of(pair)
        for start in range(0, len(order), rows):
            places = order[start : start + rows]
            logits = reply_logits(pair, [texts[place] for place in places], EMPTY, "student")
            for place, one in zip(places, logits, strict=True):
                cost = _surprise(one, torch.tensor(texts[place][1], device=one.device))
                found[place] = float(cost[OPENING:].mean())
        return found

    return bits


# -- forward passes --------------------------------------------------------------------------


def rows_of(pair: Pair) -> int:
    """Replies in one forward pass: few where the vocabulary is large."""
    return int(max(1, min(32, _LOGITS // (pair.student.config.vocab_size * 64))))


def reply_logits(
    pair: Pair, texts: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], mask: Mask, role: Role
) -> list[Tensor]:
    """For each (prompt, reply): float logits that predict the reply's tokens, (reply, vocabulary).

    Rows are padded on the right, where causal attention never looks.
    """
    length = max(len(prompt) + len(reply) for prompt, reply in texts)
    begin = min(len(prompt) for prompt, _ in texts) - 1
    ids = torch.zeros(len(texts), length, dtype=torch.long)
    seen = torch.zeros_like(ids)
    for row, (prompt, reply) in enumerate(texts):
        whole = [*prompt, *reply]
        ids[row, : len(whole)] = torch.tensor(whole)
        seen[row, : len(whole)] = 1
    out = _forward(pair, ids.to(pair.device), seen.to(pair.device), mask, role, length - begin)
    return [
        out[row, len(prompt) - 1 - begin : len(prompt) + len(reply) - 1 - begin].float()
        for row, (prompt, reply) in enumerate(texts)
    ]


def _forward(
    pair: Pair, ids: Tensor, seen: Tensor | None, mask: Mask, role: Role, keep: int
) -> Tensor:
    """Logits of the last `keep` positions, (rows, keep, vocabulary)."""
    model = pair.student if role == "student" else pair.teacher
    plan = pair.plan([mask] * len(ids)) if role == "student" else None
    with masked(plan):
        out = model(input_ids=ids, attention_mask=seen, use_cache=False, logits_to_keep=keep)
    logits: Tensor = out.logits
    return logits


def _surprise(logits: Tensor, wanted: Tensor) -> Tensor:
    """Bits of each wanted token, (tokens,), from its logits, (tokens, vocabulary)."""
    table = logits.float().log_softmax(-1)
    return -table.gather(-1, wanted[:, None])[:, 0] / math.log(2.0)
