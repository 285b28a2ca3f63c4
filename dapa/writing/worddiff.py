"""Which words of one text are not in another: for replies that stand side by side."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

Span = tuple[int, int]
_WORD = re.compile(r"\S+")
_MOST = 2_000
"""Words compared at most: the comparison is quadratic where texts have nothing in common."""


def changed_words(text: str, against: str) -> tuple[Span, ...]:
    """Characters [start, stop) of the runs of words in `text` that `against` does not have there.

    Words are compared as they are written, punctuation included (difflib's longest matching runs).
    Behind the first 2,000 words nothing is compared.
    """
    ours = list(_WORD.finditer(text))[:_MOST]
    theirs = [match.group() for match in _WORD.finditer(against)][:_MOST]
    matcher = SequenceMatcher(None, [match.group() for match in ours], theirs, autojunk=False)
    return tuple(
        (ours[first].start(), ours[last - 1].end())
        for what, first, last, _, _ in matcher.get_opcodes()
        if what != "equal" and last > first
    )
