"""What opens a refusal in a model's own tokens, found from its vocabulary and the rules.

An opener is a token that refuses by itself ("Sorry", "cannot") or a short phrase whose first token
does not ("I'm sorry", but not "I", and so not "I'd be happy to"). How likely a reply opens with one
of them is `log_odds`' to read; no model is run here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, Literal

from dapa.core.records import PairError
from dapa.judges.rules.judge import REFUSAL_OPENERS, opens_refusal
from dapa.model.decode.branches import Node
from dapa.model.pair import Pair

Role = Literal["student", "teacher"]

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


def find_openers(pair: Pair, role: Role = "student") -> Openers:
    """Every token that opens a refusal by the rules, and the short phrases that do.

    The phrases are encoded with and without a leading space, with a straight and a curly
    apostrophe; a piece that is only white space is passed over. Each is cut where it refuses by
    the rules, so that "I'm sorry, but" counts as "I'm sorry"; no single letter ever counts, nor
    unknown and special tokens. Of a banded family single tokens alone count.

    Raises:
        NoOpeners: The vocabulary has none.
    """
    tokenizer, size = tokenizer_of(pair, role), _width(pair, role)
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
    return Openers(role, ids, tuple(shown(tokenizer, i) for i in ids), size, nodes)


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


def tokenizer_of(pair: Pair, role: Role) -> Any:
    """Whose tokens a role's model reads and says."""
    return pair.tokenizer if role == "student" else pair.teacher_tokenizer


def _width(pair: Pair, role: Role) -> int:
    model = pair.student if role == "student" else pair.teacher
    return int(model.get_output_embeddings().weight.shape[0])


def shown(tokenizer: Any, token: int) -> str:
    """A token as text, its leading space kept; by name where it is no text of its own."""
    name = str(tokenizer.convert_ids_to_tokens(token))
    text = str(tokenizer.decode([token], skip_special_tokens=False))
    if name[:1] in {"▁", "Ġ"} and text and not text.startswith(" "):
        text = " " + text
    return name if not text or "\ufffd" in text else text
