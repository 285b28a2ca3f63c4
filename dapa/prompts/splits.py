"""Splits of a prompt set without leaks: near-duplicates stay on one side."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from dapa.core.records import Prompt

NEAR = 0.5
"""Prompts whose content words overlap this much (Jaccard) are near-duplicates."""
HELD_OUT_SHARE = 0.5
LOCKED_SHARE = 0.2
LEFT_OPEN = 50
"""Prompts that a locked part must leave to the others; else there is none."""

_STOP_WORDS = """
a about after again all am an and any are as at be because been before being but by can could did do
does doing down each for from further get give had has have having he her here him his how i if in
into is it its just let make me more most my no not now of off on once only or other our out over
own please same she should so some such tell than thanks thank that the their them then there these
they this those to too under until up very was way we were what when where which while who whom why
will with would write you your
"""
_STOP = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True)
class Split:
    """A prompt set in parts: what a search may look at, and what it may never."""

    search: tuple[Prompt, ...]
    held_out: tuple[Prompt, ...]
    overlap: int
    """Held-out and locked prompts that have a near-duplicate in the search part."""
    note: str
    """How it was split, in a plain sentence."""
    locked: tuple[Prompt, ...] = ()
    """Measured once per result and never shown one by one; empty unless asked for."""


def split(
    prompts: Sequence[Prompt],
    seed: int = 0,
    share: float = HELD_OUT_SHARE,
    lock: bool = False,
    locked_share: float = LOCKED_SHARE,
    clusters: Sequence[int] | None = None,
) -> Split:
    """Search, held-out and, where asked for, locked part.

    The set's own split column serves if it fills both parts (prompts without a split join the
    search part); what is locked is then taken from its held-out part, at most half of it.
    Else near-duplicates stay together, unless one cluster would hold over half.

    Args:
        prompts: Of one set.
        seed: The order in which clusters are dealt out.
        share: The held-out share aimed at of what is not locked, between 0 and 1.
        lock: Is a part to be locked? Only where at least `LEFT_OPEN` prompts are left.
        locked_share: The share of all prompts aimed at for it, between 0 and 1.
        clusters: What `near_duplicates` says of them, where it was asked already.
    """
    wanted = round(locked_share * len(prompts)) if lock else 0
    if len(prompts) - wanted < LEFT_OPEN:
        wanted = 0
    own = [p for p in prompts if p.split == "held_out"]
    if own and len(own) < len(prompts):
        return _own_split(prompts, own, seed, min(wanted, len(own) // 2))
    if clusters is None:
        clusters = near_duplicates([p.text for p in prompts])
    largest = max(Counter(clusters).values(), default=0)
    together = largest * 2 <= len(prompts)
    groups = _groups(clusters if together else range(len(clusters)))
    random.Random(seed).shuffle(groups)
    locked = _dealt(groups, wanted)
    left = [members for members in groups if not locked.issuperset(members)]
    chosen = _dealt(left, round(share * (len(prompts) - len(locked))))
    note = f"seed {seed}, near-duplicates kept together"
    if not together:
        note = (
            f"plain, seed {seed}: one cluster of near-duplicates holds {largest} of "
            f"{len(prompts)} prompts, so they could not be kept together"
        )
    return _parts(
        [p for i, p in enumerate(prompts) if i not in chosen and i not in locked],
        [p for i, p in enumerate(prompts) if i in chosen],
        note,
        [p for i, p in enumerate(prompts) if i in locked],
    )


def _own_split(
    prompts: Sequence[Prompt], held_out: Sequence[Prompt], seed: int, wanted: int
) -> Split:
    """As the set's own column says; what is locked is taken from its held-out part."""
    rest = [p for p in prompts if p.split != "held_out"]
    groups = _groups(near_duplicates([p.text for p in held_out]))
    random.Random(seed).shuffle(groups)
    locked = _dealt(groups, wanted)
    note = "by the set's own split column"
    return _parts(
        rest,
        [p for i, p in enumerate(held_out) if i not in locked],
        f"{note}, the locked part out of its held-out one (seed {seed})" if locked else note,
        [p for i, p in enumerate(held_out) if i in locked],
    )


def _groups(clusters: Sequence[int]) -> list[list[int]]:
    """The members of each cluster, in the order of their first."""
    groups: dict[int, list[int]] = defaultdict(list)
    for index, cluster in enumerate(clusters):
        groups[cluster].append(index)
    return list(groups.values())


def _dealt(groups: Sequence[Sequence[int]], wanted: int) -> set[int]:
    """Whole groups, in order, as long as they fit."""
    chosen = set[int]()
    for members in groups:
        if len(chosen) + len(members) <= wanted:
            chosen.update(members)
    return chosen


def _parts(
    search: Sequence[Prompt], held_out: Sequence[Prompt], note: str, locked: Sequence[Prompt] = ()
) -> Split:
    """Put the parts together with their overlap."""
    shared = overlap([p.text for p in (*held_out, *locked)], [p.text for p in search])
    return Split(tuple(search), tuple(held_out), shared, note, tuple(locked))


def content_words(text: str) -> frozenset[str]:
    """The words of a prompt that are no stop words; the whole text where there are none."""
    found = frozenset(re.findall(r"\w+(?:'\w+)*", text.lower())) - _STOP
    return found or frozenset([text.lower()])


def _neighbours(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Every pair of near-duplicates, found through their rarest words.

    Two sets with Jaccard >= t share a word among the first |s| - ceil(t |s|) + 1 of each, in any
    one order (prefix filtering, Chaudhuri et al. 2006); rarest first keeps the lists short. What
    two sets share is bounded by their sizes and by 64-bit signatures before it is counted.
    """
    import numpy as np  # here, since a command line's help must not wait for it

    sets = [content_words(text) for text in texts]
    often = Counter(word for words in sets for word in words)
    rank = {word: at for at, word in enumerate(sorted(often, key=lambda word: (often[word], word)))}
    rows = [sorted(map(rank.__getitem__, words)) for words in sets]
    heads = [row[: len(row) - -(-len(row) // 2) + 1] for row in rows]
    words = np.fromiter(chain.from_iterable(heads), np.int64)
    docs = np.repeat(np.arange(len(rows)), [len(head) for head in heads])
    lists = np.argsort(words, kind="stable")  # a word's prompts side by side, in their order
    words, docs = words[lists], docs[lists]
    size = np.array([len(row) for row in rows], np.int64)
    signs = _signatures(rows, size)
    most = max(20, 4_000_000 // max(len(rows), 1))  # keeps huge sets to seconds; exact below 2,000
    close, at = list[tuple[int, int]](), np.arange(len(words))
    for step in range(1, most + 1):
        at = at[at + step < len(words)]
        at = at[words[at] == words[at + step]]
        if not len(at):
            break
        a, b = docs[at], docs[at + step]
        # Every bit of one that the other lacks is at least one word that they do not share.
        alone = np.bitwise_count(signs[a] & ~signs[b]), np.bitwise_count(signs[b] & ~signs[a])
        shared = np.minimum(size[a] - alone[0], size[b] - alone[1])
        may = _near(shared, size[a], size[b])
        close += zip(a[may].tolist(), b[may].tolist(), strict=True)
    return [
        (a, b)
        for a, b in sorted(set(close), key=lambda pair: (pair[1], pair[0]))
        if _near(len(sets[a] & sets[b]), len(sets[a]), len(sets[b]))
    ]


def _near(shared: Any, one: Any, other: Any) -> Any:
    """Is the Jaccard of two sets, or of many, at least `NEAR`? By the sizes of both."""
    return shared >= NEAR * (one + other - shared)


def _signatures(rows: Sequence[Sequence[int]], size: Any) -> Any:
    """64 bits a set, one for each of its words; words may share a bit. (sets,) uint64."""
    import numpy as np

    bits = np.left_shift(
        np.uint64(1), np.fromiter(chain.from_iterable(rows), np.uint64) % np.uint64(64)
    )
    starts = np.cumsum(size) - size
    return np.bitwise_or.reduceat(bits, starts) if len(rows) else bits


def near_duplicates(texts: Sequence[str]) -> list[int]:
    """A cluster number for each text; near-duplicates, and theirs in turn, share one."""
    parent = list(range(len(texts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in _neighbours(texts):
        parent[root(b)] = root(a)
    return [root(i) for i in range(len(texts))]


def overlap(texts: Sequence[str], others: Sequence[str]) -> int:
    """How many of `texts` have a near-duplicate among `others`, which may be another file's."""
    edge = len(texts)
    crossing = [(a, b) for a, b in _neighbours([*texts, *others]) if a < edge <= b]
    return len({a for a, _ in crossing})
