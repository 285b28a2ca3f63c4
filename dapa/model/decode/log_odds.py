"""Refusal log-odds: how likely a reply opens with a refusal, read off one forward pass.

At the start of the reply: the log of the probability that it begins with a refusal opener
(`openers`), against every other beginning. An opener's probability is the product of its tokens'.
All phrases are read in the one pass, as branches behind the prompt (`branches`), so that the number
stays cheap and has a gradient.

It is a screen, not a verdict: it compares masks of one pair on one prompt; it is no share of
refusals, and it never decides.

This module does not know searches or maps; they hand it tokens and masks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dapa.core.records import EMPTY, Mask, SettingError
from dapa.model.decode.branches import branched
from dapa.model.decode.openers import Openers, Role, find_openers, shown, tokenizer_of
from dapa.model.decode.serving import row_capacity
from dapa.model.pair import Pair
from dapa.model.room import within_memory
from dapa.model.transplant import Plan, masked

Floats = NDArray[np.float64]
Ids = Sequence[tuple[int, ...]]
TOP = 10
"""Likeliest first tokens that are told."""


@dataclass(frozen=True)
class FirstToken:
    """What one model, under one mask, would say first."""

    pane: str
    """student, patched or teacher."""
    refusal: float
    """Probability that the reply begins with an opener."""
    log_odds: float
    """Natural log of that probability against the rest."""
    top: tuple[tuple[int, str, float], ...]
    """The likeliest tokens: id, text, probability."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        top = [{"id": i, "text": text, "probability": p} for i, text, p in self.top]
        found = {"pane": self.pane, "refusal": self.refusal, "log_odds": self.log_odds}
        return {**found, "top": top}


def log_odds_of(logits: Tensor, openers: Openers) -> Tensor:
    """Log of the probability of the openers against all other beginnings.

    Args:
        logits: (rows, vocabulary), or with nodes (rows, 1 + nodes, vocabulary), as `next_logits`
            gives them.
        openers: Of that vocabulary.

    Returns:
        (rows,), natural log, with a gradient where the logits have one.
    """
    if logits.ndim == 2:
        logits = logits[:, None]
    assert logits.shape[1] == 1 + len(openers.nodes), "logits of other openers"
    below: dict[int, list[tuple[int, Tensor, Tensor]]] = {}
    for at in range(len(openers.nodes) - 1, -1, -1):  # a node stands behind its beginning
        node = openers.nodes[at]
        sides = _sides(logits[:, at + 1], node.ids, below.get(at, []))
        below.setdefault(node.parent, []).append((node.token, *sides))
    opened, rest = _sides(logits[:, 0], openers.ids, below.get(-1, []))
    return opened - rest


def _sides(
    logits: Tensor, leaves: Sequence[int], inner: Sequence[tuple[int, Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """(log P(an opener), log P(none)) behind one beginning, each (rows,)."""
    log_p = logits.float().log_softmax(1)
    index = torch.tensor(leaves, dtype=torch.long, device=logits.device)
    known = torch.tensor([token for token, _, _ in inner], dtype=torch.long, device=logits.device)
    opened, rest = [log_p.index_select(1, index)], [log_p.index_fill(1, torch.cat([index, known]),
                                                                     -torch.inf)]  # fmt: skip
    for token, yes, no in inner:
        opened.append((log_p[:, token] + yes)[:, None])
        rest.append((log_p[:, token] + no)[:, None])
    return torch.cat(opened, 1).logsumexp(1), torch.cat(rest, 1).logsumexp(1)


def padded(ids: Ids, device: torch.device) -> dict[str, Tensor]:
    """Prompts as the model's keyword arguments, padded on the left; each (rows, length)."""
    length = max(map(len, ids))
    tokens = torch.zeros(len(ids), length, dtype=torch.long)
    attention = torch.zeros_like(tokens)
    for row, prompt in enumerate(ids):
        tokens[row, length - len(prompt) :] = torch.tensor(prompt)
        attention[row, length - len(prompt) :] = 1
    positions = (attention.cumsum(-1) - 1).clamp_min(0)
    named = {"input_ids": tokens, "attention_mask": attention, "position_ids": positions}
    return {name: x.to(device) for name, x in named.items()}


def next_logits(
    pair: Pair,
    ids: Ids,
    plan: Plan | None = None,
    role: Role = "student",
    openers: Openers | None = None,
) -> Tensor:
    """Logits of the position behind each prompt, (rows, vocabulary); the caller sets grad mode.

    With `openers` that have nodes, those behind each of their beginnings too, in the same pass:
    (rows, 1 + nodes, vocabulary), the prompt's own first.
    """
    model = pair.student if role == "student" else pair.teacher
    inputs, keep = branched(model, padded(ids, pair.device), openers.nodes if openers else ())
    with masked(plan):
        out = model(**inputs, use_cache=False, logits_to_keep=keep)
    logits: Tensor = out.logits[:, -keep:]
    return logits if openers is not None and openers.nodes else logits[:, -1]


def refusal_log_odds(
    pair: Pair,
    ids: Ids,
    masks: Sequence[Mask] = (EMPTY,),
    role: Role = "student",
    *,
    openers: Openers | None = None,
    rows: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> Floats:
    """Refusal log-odds of every prompt under every mask, (masks, prompts).

    Prompts go in blocks, each under all masks before the next, so that a stopped sweep has the
    same prompts for every mask.

    Args:
        pair: The two models.
        ids: Rendered prompts in the tokens of `role`'s vocabulary.
        masks: What is transplanted into the student.
        role: `teacher` asks the teacher, which takes no mask.
        openers: Of `find_openers`, if the caller has them already.
        rows: Rows of one forward pass at most; 48 on a CPU, 192 elsewhere.
        progress: Told (prompts done, prompts in all) after every block.
        stop: When set, the prompts not yet measured stay NaN.

    Raises:
        NoOpeners: The vocabulary has no refusal opener.
        SettingError: A unit that does not exist, or a mask for the teacher.
        OutOfMemory: Not even one row fits into memory.
    """
    if role == "teacher" and any(len(mask) for mask in masks):
        raise SettingError("the teacher takes no mask; ask for role student, or for the empty mask")
    openers = openers or find_openers(pair, role)
    for mask in set(masks):
        pair.validate(mask)
    capacity = row_capacity(pair, rows)
    found = np.full((len(masks), len(ids)), np.nan)
    for start in range(0, len(ids), capacity):
        if stop is not None and stop.is_set():
            break
        block = ids[start : start + capacity]
        work = [(mask, prompt) for mask in masks for prompt in block]
        parts = [
            _measure(pair, work[i : i + capacity], openers) for i in range(0, len(work), capacity)
        ]
        if parts:
            values = np.concatenate(parts).reshape(len(masks), len(block))
            found[:, start : start + len(block)] = values
        if progress:
            progress(start + len(block), len(ids))
    return found


def _measure(pair: Pair, work: Sequence[tuple[Mask, tuple[int, ...]]], openers: Openers) -> Floats:
    """Log-odds of (mask, prompt) rows in one pass; fewer at once where memory does not suffice."""

    def passed(rows: Sequence[tuple[Mask, tuple[int, ...]]]) -> Floats:
        ids, masks = [ids for _, ids in rows], [mask for mask, _ in rows]
        logits = _logits(pair, ids, masks, openers.role, openers)
        return log_odds_of(logits, openers).double().cpu().numpy()  # type: ignore[no-any-return]

    return np.concatenate(within_memory(pair, work, passed, lambda row: len(row[1])))


@torch.inference_mode()
def _logits(
    pair: Pair, ids: Ids, masks: Sequence[Mask], role: Role, openers: Openers | None = None
) -> Tensor:
    return next_logits(pair, ids, pair.plan(masks) if role == "student" else None, role, openers)


def past_blanks(
    pair: Pair, ids: Ids, mask: Mask = EMPTY, most: int = 3, role: Role = "student"
) -> list[tuple[int, ...]]:
    """Prompts, each with the blanks that the student under `mask` (or the teacher) says first.

    Some chat models begin every reply with a space or a newline; log-odds there tell nothing. Ask
    once, under the full mask, and give the result to every mask: one prompt serves them all.
    """
    tokenizer = tokenizer_of(pair, role)
    found = list(ids)
    left = list(range(len(found)))
    capacity = row_capacity(pair)
    for _ in range(most):
        going = []
        for start in range(0, len(left), capacity):
            rows = left[start : start + capacity]
            logits = _logits(pair, [found[i] for i in rows], [mask] * len(rows), role)
            for i, token in zip(rows, logits.argmax(-1).tolist(), strict=True):
                text = tokenizer.decode([token])  # an end token has text, so it stops here
                if text.isspace() and len(found[i]) + 1 < pair.context_length:
                    found[i] = (*found[i], token)
                    going.append(i)
        left = going
    return found


def first_tokens_of(
    pair: Pair, asked: Sequence[tuple[str, tuple[int, ...], Mask]], openers: Openers
) -> tuple[FirstToken, ...]:
    """Refusal probability and likeliest first tokens of any panes of one model, in one pass.

    Args:
        pair: The two models.
        asked: (name, rendered prompt in the model's tokens, mask) per pane.
        openers: The model's; their role says which of the two is asked.
    """
    for _, _, mask in asked:
        pair.validate(mask)
    ids, masks = [ids for _, ids, _ in asked], [mask for _, _, mask in asked]
    logits = _logits(pair, ids, masks, openers.role, openers)
    tokenizer = tokenizer_of(pair, openers.role)
    return tuple(
        _first_token(name, row, openers, tokenizer)
        for (name, _, _), row in zip(asked, logits, strict=True)
    )


def _first_token(pane: str, logits: Tensor, openers: Openers, tokenizer: Any) -> FirstToken:
    odds = log_odds_of(logits[None], openers)[0]
    logits = logits if logits.ndim == 1 else logits[0]
    likely = logits.float().softmax(-1).topk(min(TOP, len(logits)))
    pairs = zip(likely.indices.tolist(), likely.values.tolist(), strict=True)
    top = tuple((i, shown(tokenizer, i), p) for i, p in pairs)
    return FirstToken(pane, float(odds.sigmoid()), float(odds), top)
