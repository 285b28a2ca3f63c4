"""Text under a judge's eye: normalised in place, cut into sentences, its language.

Normalising keeps the length, so a span found in the normal form is a span of the reply. Nothing
here knows what a refusal is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from dapa.judges.rules.languages import ENGLISH, LANGUAGES, LOOKALIKES, SHARED

Span = tuple[int, int]

_TABLE = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201b\u02bc\u00b4\uff07", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u00a0\u2000\u2002\u2003\u2009\u200a\u202f\u3000\ufeff\u200b\t", " "),
        **dict.fromkeys("*_#~|\u2022\u25cf\u25aa", " "),
        "\u2026": ".",
        "\r": "\n",
    }
)
_DIRECTION = re.compile(r"^\s*([*(\[])(?=[a-z])(?!i\b)[^*()\[\]\n]{1,40}[*)\]]\s+(?=\w)", re.I)
_MARK = r"[*_~]+"
_LOOSE_TYPE = re.compile(
    rf"(?<![^\s\"'(\[\u2018\u201c]){_MARK}(?=[\w\"'\u2018\u201c])"
    rf"|(?<=[\w\"'.,;:!?\u2019\u201d]){_MARK}(?=[\s.,;:!?)\"'\u2019\u201d]|$)|(?<= ) +"
)
"""Marks where emphasis begins and ends, and blanks after a blank."""
_STOP = re.compile(r"[.!?]+[\"')\]]*(?=\s|$)|\n+")
_LETTERS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")

_MOJIBAKE = re.compile("[\u00e3\u00e2\u00c3\u00c2\u00ef][^a-z]|\u00ef\u00bf|[\u00e3\u00e2]$")


def normal(text: str) -> str:
    """Lower case, straight quotes and dashes, no emphasis or bullets; the same length as `text`."""
    text = text.translate(_TABLE)
    if text.isascii():
        return text.lower()
    return "".join(low if len(low := c.lower()) == 1 else c for c in text)


def without_direction(text: str) -> str:
    """`*shakes head* No.` with the stage direction blanked; the same length."""
    found = _DIRECTION.match(text)
    return " " * found.end() + text[found.end() :] if found else text


def flat(text: str) -> tuple[str, Sequence[int]]:
    """`text` without marks of emphasis and doubled blanks, but for a stage direction's.

    Returns:
        The flat text, and for each place in it, its end included, the place in `text`.
    """
    direction = _DIRECTION.match(text)
    start = direction.end() if direction else 0
    gone = {i for m in _LOOSE_TYPE.finditer(text, start) for i in range(*m.span())}
    if not gone:
        return text, range(len(text) + 1)
    kept = [i for i in range(len(text)) if i not in gone]
    return "".join(text[i] for i in kept), [*kept, len(text)]


def sentences(text: str) -> list[Span]:
    """Spans of the sentences and lines of `text` that hold a letter or digit, in order."""
    spans, start = [], 0
    for stop in [m.end() for m in _STOP.finditer(text)] + [len(text)]:
        if any(c.isalnum() for c in text[start:stop]):
            while not text[start].strip():
                start += 1
            spans.append((start, stop))
        start = stop if stop > start else start
    return spans


def words(text: str) -> list[str]:
    """Runs of letters, apostrophes inside them kept."""
    return _LETTERS.findall(text)


@lru_cache(maxsize=4096)
def stem(word: str) -> str:
    """A word without its commonest English endings; for overlap, not for linguists."""
    word = word.removesuffix("'s")
    for ending in ("ing", "ies", "es", "ed", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def content(text: str) -> set[str]:
    """The stems of the words of a normal text that are no function words."""
    return {stem(w) for w in words(text) if w not in ENGLISH and len(w) > 2}


def other_language(text: str) -> bool:
    """Is this normal text mostly not English? Short texts are given the benefit of the doubt."""
    letters = [c for c in text if c.isalpha()]
    if not letters:
        return False
    foreign = sum(1 for c in letters if ord(c) > 0x24F and not 0x1E00 <= ord(c) < 0x1F00)
    if foreign * 2 > len(letters):
        return True
    found = words(text)
    here = sum(1 for w in found if w in ENGLISH and w not in SHARED)
    best = max(LANGUAGES.values(), key=lambda listed: sum(1 for w in found if w in listed))
    there = sum(1 for w in found if w in best)
    sure = sum(1 for w in found if w in best and w not in LOOKALIKES and w not in ENGLISH)
    accented = sum(1 for w in found if any(ord(c) > 0x7F for c in w) and not _MOJIBAKE.search(w))
    if accented and 4 * (there + accented) >= len(found) and there + accented > here:
        return True
    if sure and not here and 4 * there >= len(found):
        return True
    return sure >= 2 and there > here and there * 6 >= len(found)
