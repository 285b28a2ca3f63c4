"""Refusal log-odds: how likely a reply opens with a refusal, read off one forward pass.

At the first position of the reply: the log of the refusal openers' probability against all other
tokens'. It is a screen, not a verdict. Some openers, such as "I", open compliance too, so the
number compares masks of one pair on one prompt; it is no share of refusals, and it never decides.

This module does not know searches or maps; they hand it tokens and masks.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dapa.core.records import EMPTY, DapaError, Mask, PairError, SettingError
from dapa.judges.rules.judge import REFUSAL_OPENERS, opens_refusal
from dapa.model.decode.serving import row_capacity
from dapa.model.pair import Pair
from dapa.model.transplant import Plan, masked

Role = Literal["student", "teacher"]
Floats = NDArray[np.float64]
Ids = Sequence[tuple[int, ...]]
TOP = 10

_STEM = re.compile(
    r"sorr|apolog|fortun|regret|can|unable|never|nope|not|n't|denied|deny|declin|refus|reject"
    r"|unanswer|won|forbid|unwilling|decl|must"
)
"""A token without any of these opens no refusal by the rules; the rules take 0.2 ms a text, too
long to ask about each of 256,000 tokens. A test holds the stems to the rules."""


class NoOpeners(PairError):
    """A vocabulary in which no token opens a refusal, so that log-odds have no meaning."""


@dataclass(frozen=True)
class Openers:
    """The tokens of one model's vocabulary that count as the opening of a refusal."""

    role: Role
    ids: tuple[int, ...]
    """Ascending."""
    texts: tuple[str, ...]
    """What each stands for, leading spaces kept."""
    vocabulary: int
    """How many tokens the model chooses among."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"role": self.role, "ids": list(self.ids), "texts": list(self.texts)}


@dataclass(frozen=True)
class FirstToken:
    """What one model, under one mask, would say first."""

    pane: str
    """student, patched or teacher."""
    refusal: float
    """Probability that the first token is an opener."""
    log_odds: float
    """Natural log of the openers' probability against the rest."""
    top: tuple[tuple[int, str, float], ...]
    """The likeliest tokens: id, text, probability."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        top = [{"id": i, "text": text, "probability": p} for i, text, p in self.top]
        found = {"pane": self.pane, "refusal": self.refusal, "log_odds": self.log_odds}
        return {**found, "top": top}


def find_openers(pair: Pair, role: Role = "student") -> Openers:
    """Every token that opens a refusal by the rules, and the first tokens of the opener phrases.

    The phrases are encoded with and without a leading space; a piece that is only white space is
    passed over for the one behind it. Unknown and special tokens never count.

    Raises:
        NoOpeners: The vocabulary has none.
    """
    tokenizer, size = _tokenizer(pair, role), _width(pair, role)
    barred = {tokenizer.unk_token_id, *tokenizer.all_special_ids}
    barred |= {i for i, t in getattr(tokenizer, "added_tokens_decoder", {}).items() if t.special}
    every = [i for i in sorted(set(tokenizer.get_vocab().values()) - barred) if i < size]
    texts = dict(zip(every, tokenizer.batch_decode([[i] for i in every]), strict=True))
    asked: dict[str, bool] = {}
    found = set()
    for token, text in texts.items():
        low = text.strip().lower().replace("’", "'")
        if low not in asked:
            asked[low] = bool(_STEM.search(low)) and opens_refusal(low) is True
        if asked[low]:
            found.add(token)
    for phrase in REFUSAL_OPENERS:
        for lead in ("", " "):
            encoded = tokenizer(lead + phrase, add_special_tokens=False)["input_ids"]
            first = next((i for i in encoded if i in barred or texts.get(i, "").strip()), None)
            if first in texts:
                found.add(first)
    if not found:
        raise NoOpeners(
            f"none of the {len(every):,} ordinary tokens of the {role} "
            f"({getattr(pair.spec, role)}) opens a refusal in English, so refusal log-odds are not "
            "defined; judge replies instead"
        )
    ids = tuple(sorted(found))
    return Openers(role, ids, tuple(_shown(tokenizer, i) for i in ids), size)


def log_odds_of(logits: Tensor, openers: Openers) -> Tensor:
    """Map (rows, vocabulary) logits to (rows,): log of openers against all other tokens."""
    logits = logits.float()
    index = torch.tensor(openers.ids, device=logits.device)
    opened = logits.index_select(1, index).logsumexp(1)
    return opened - logits.index_fill(1, index, -torch.inf).logsumexp(1)


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


def next_logits(pair: Pair, ids: Ids, plan: Plan | None = None, role: Role = "student") -> Tensor:
    """Logits of the position behind each prompt, (rows, vocabulary); the caller sets grad mode."""
    model = pair.student if role == "student" else pair.teacher
    with masked(plan):
        out = model(**padded(ids, pair.device), use_cache=False, logits_to_keep=1)
    logits: Tensor = out.logits[:, -1]
    return logits


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
        DapaError: Not even one row fits into memory.
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
    """Log-odds of (mask, prompt) rows in one pass; halved where memory does not suffice."""
    try:
        logits = _logits(pair, [ids for _, ids in work], [mask for mask, _ in work], openers.role)
        return log_odds_of(logits, openers).double().cpu().numpy()  # type: ignore[no-any-return]
    except torch.OutOfMemoryError:
        if len(work) == 1:
            raise DapaError(
                f"out of memory on one prompt of {len(work[0][1])} tokens; use a shorter prompt or "
                "a smaller dtype"
            ) from None
    torch.cuda.empty_cache()
    half = len(work) // 2
    return np.concatenate([_measure(pair, part, openers) for part in (work[:half], work[half:])])


@torch.inference_mode()
def _logits(pair: Pair, ids: Ids, masks: Sequence[Mask], role: Role) -> Tensor:
    return next_logits(pair, ids, pair.plan(masks) if role == "student" else None, role)


def past_blanks(
    pair: Pair, ids: Ids, mask: Mask = EMPTY, most: int = 3, role: Role = "student"
) -> list[tuple[int, ...]]:
    """Prompts, each with the blanks that the student under `mask` (or the teacher) says first.

    Some chat models begin every reply with a space or a newline; log-odds there tell nothing. Ask
    once, under the full mask, and give the result to every mask: one prompt serves them all.
    """
    tokenizer = _tokenizer(pair, role)
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
    logits = _logits(pair, ids, masks, openers.role)
    tokenizer = _tokenizer(pair, openers.role)
    return tuple(
        _first_token(name, row, openers, tokenizer)
        for (name, _, _), row in zip(asked, logits, strict=True)
    )


def _first_token(pane: str, logits: Tensor, openers: Openers, tokenizer: Any) -> FirstToken:
    odds = log_odds_of(logits[None], openers)[0]
    likely = logits.float().softmax(-1).topk(min(TOP, len(logits)))
    pairs = zip(likely.indices.tolist(), likely.values.tolist(), strict=True)
    top = tuple((i, _shown(tokenizer, i), p) for i, p in pairs)
    return FirstToken(pane, float(odds.sigmoid()), float(odds), top)


def _tokenizer(pair: Pair, role: Role) -> Any:
    return pair.tokenizer if role == "student" else pair.teacher_tokenizer


def _width(pair: Pair, role: Role) -> int:
    model = pair.student if role == "student" else pair.teacher
    return int(model.get_output_embeddings().weight.shape[0])


def _shown(tokenizer: Any, token: int) -> str:
    """A token as text, its leading space kept; by name where it is no text of its own."""
    name = str(tokenizer.convert_ids_to_tokens(token))
    text = str(tokenizer.decode([token], skip_special_tokens=False))
    if name[:1] in {"▁", "Ġ"} and text and not text.startswith(" "):
        text = " " + text
    return name if not text or "\ufffd" in text else text
