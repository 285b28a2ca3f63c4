"""Refusal log-odds: how likely a reply opens with a refusal, read off one forward pass.

At the start of the reply: the log of the probability that it begins with a refusal opener, against
every other beginning. An opener is a token that refuses by itself ("Sorry", "cannot") or a short
phrase whose first token does not ("I'm sorry", but not "I", and so not "I'd be happy to"): its
probability is the product of its tokens'. All phrases are read in the one pass, as branches behind
the prompt (`branches`), so that the number stays cheap and has a gradient.

It is a screen, not a verdict: it compares masks of one pair on one prompt; it is no share of
refusals, and it never decides.

This module does not know searches or maps; they hand it tokens and masks.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dapa.core.records import EMPTY, Mask, PairError, SettingError
from dapa.judges.rules.judge import REFUSAL_OPENERS, opens_refusal
from dapa.model.decode.branches import Node, branched
from dapa.model.decode.serving import row_capacity
from dapa.model.pair import Pair
from dapa.model.room import within_memory
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


_CONTINUES = re.compile(
    r"^(?:['’]t|n['’]t|not|sorry|afraid|unable|cannot|can['’]t|won['’]t|decline|refuse|regret|"
    r"apologi[sz]e|must decline|unfortunately)[,.]?$"
)
"""Tokens that may end an opener which began before them; the rules say of each whether it does."""
MOST_NODES = 16
"""Beginnings of phrases that are read behind the prompt, at most; the phrases come in order."""


class NoOpeners(PairError):
    """A vocabulary in which no token opens a refusal, so that log-odds have no meaning."""


@dataclass(frozen=True)
class Openers:
    """What counts as the opening of a refusal in one model's vocabulary."""

    role: Role
    ids: tuple[int, ...]
    """The tokens that do so by themselves, ascending."""
    texts: tuple[str, ...]
    """What each stands for, leading spaces kept."""
    vocabulary: int
    """How many tokens the model chooses among."""
    nodes: tuple[Node, ...] = ()
    """Beginnings that do not refuse by themselves, each with the tokens that make them refuse."""

    @property
    def phrases(self) -> tuple[str, ...]:
        """The openers of more than one token."""
        return tuple(phrase for node in self.nodes for phrase in node.phrases)

    @property
    def told(self) -> tuple[str, ...]:
        """Every opener once, for people: without outer spaces, single tokens first."""
        return tuple(dict.fromkeys(text.strip() for text in (*self.texts, *self.phrases)))

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        told = {"role": self.role, "ids": list(self.ids), "texts": list(self.texts)}
        return {**told, "phrases": list(self.phrases)}


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


def find_openers(pair: Pair, role: Role = "student") -> Openers:
    """Every token that opens a refusal by the rules, and the short phrases that do.

    The phrases are encoded with and without a leading space, with a straight and a curly
    apostrophe; a piece that is only white space is passed over. Each is cut where it refuses by
    the rules, so that "I'm sorry, but" counts as "I'm sorry"; no single letter ever counts, nor
    unknown and special tokens. Of a banded family single tokens alone count.

    Raises:
        NoOpeners: The vocabulary has none.
    """
    tokenizer, size = _tokenizer(pair, role), _width(pair, role)
    barred = {tokenizer.unk_token_id, *tokenizer.all_special_ids}
    barred |= {i for i, t in getattr(tokenizer, "added_tokens_decoder", {}).items() if t.special}
    every = [i for i in sorted(set(tokenizer.get_vocab().values()) - barred) if i < size]
    texts = dict(zip(every, tokenizer.batch_decode([[i] for i in every]), strict=True))
    opens = cache(_opens)
    found, tails = set(), []
    for token, text in texts.items():
        low = _plain(text)
        if _STEM.search(low) and opens(low):
            found.add(token)
        if _CONTINUES.search(low):
            tails.append(token)
    tree = {} if pair.family.banded else _phrases(tokenizer, texts, found, opens)
    for prefix, leaves in tree.items():
        begun = tokenizer.decode(list(prefix))
        inner = {other[-1] for other in tree if other[:-1] == prefix}
        for token in tails:
            whole = _plain(begun + _spaced(tokenizer, token))
            if token not in inner and opens(whole):
                leaves.add(token)
    if not found and not any(tree.values()):
        raise NoOpeners(
            f"none of the {len(every):,} ordinary tokens of the {role} "
            f"({getattr(pair.spec, role)}) opens a refusal in English, so refusal log-odds are not "
            "defined; judge replies instead"
        )
    ids, order = tuple(sorted(found)), list(tree)
    nodes = tuple(
        Node(
            order.index(prefix[:-1]) if len(prefix) > 1 else -1,
            prefix[-1],
            tuple(sorted(leaves)),
            tuple(tokenizer.decode([*prefix, leaf]).strip() for leaf in sorted(leaves)),
        )
        for prefix, leaves in tree.items()
    )
    return Openers(role, ids, tuple(_shown(tokenizer, i) for i in ids), size, nodes)


def _phrases(
    tokenizer: Any, texts: Mapping[int, str], alone: Collection[int], opens: Callable[[str], bool]
) -> dict[tuple[int, ...], set[int]]:
    """Beginning -> the tokens that make it refuse; a beginning stands behind its own beginning."""
    tree: dict[tuple[int, ...], set[int]] = {}
    for phrase in REFUSAL_OPENERS:
        for lead, mark in product(("", " "), ("'", "’")):
            text = lead + phrase.replace("'", mark)
            pieces = tokenizer(text, add_special_tokens=False)["input_ids"]
            while pieces and pieces[0] in texts and not texts[pieces[0]].strip():
                pieces = pieces[1:]
            end = _end(tokenizer, texts, pieces, opens)
            if end is None or (pieces[0] in alone):
                continue
            begun = [tuple(pieces[:i]) for i in range(1, end)]
            if any(p[-1] in tree.get(p[:-1], ()) for p in begun):
                continue  # a shorter one counts already
            new = [prefix for prefix in begun if prefix not in tree]
            if begun and len(tree) + len(new) <= MOST_NODES:
                tree.update((prefix, set()) for prefix in new)
                tree[begun[-1]].add(pieces[end - 1])
    return tree


def _end(
    tokenizer: Any, texts: Mapping[int, str], pieces: Sequence[int], opens: Callable[[str], bool]
) -> int | None:
    """How many of a phrase's pieces refuse already; None where not even all of them do."""
    if not pieces or any("\ufffd" in texts.get(piece, "\ufffd") for piece in pieces):
        return None  # unknown, special, or a part of a letter
    for count in range(1, len(pieces) + 1):
        low = _plain(tokenizer.decode(list(pieces[:count])))
        if opens(low):
            return count
    return len(pieces) if low == "as an ai" else None


def _opens(low: str) -> bool:
    """Does this beginning refuse by the rules, or with the `to` that its next word is?"""
    if len(low) < 2:
        return False
    short = re.sub(r"^i am\b", "i'm", low)
    ways = {low, short} | ({f"{low} to"} if " " in low else set())
    return any(opens_refusal(way) is True for way in ways)


def _plain(text: str) -> str:
    return text.strip().lower().replace("’", "'")


def _spaced(tokenizer: Any, token: int) -> str:
    """A token's text as it follows another: with the space that a decoder strips at the start."""
    name = str(tokenizer.convert_ids_to_tokens(token))
    text = str(tokenizer.decode([token]))
    return f" {text}" if name[:1] in {"▁", "Ġ"} and not text.startswith(" ") else text


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
    logits = _logits(pair, ids, masks, openers.role, openers)
    tokenizer = _tokenizer(pair, openers.role)
    return tuple(
        _first_token(name, row, openers, tokenizer)
        for (name, _, _), row in zip(asked, logits, strict=True)
    )


def _first_token(pane: str, logits: Tensor, openers: Openers, tokenizer: Any) -> FirstToken:
    odds = log_odds_of(logits[None], openers)[0]
    logits = logits if logits.ndim == 1 else logits[0]
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
