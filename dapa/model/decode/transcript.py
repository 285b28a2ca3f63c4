"""The text of a reply that grows token by token, decoded from its tail only.

Decoding the whole reply after every token costs the square of its length. Here the text up to a
clean cut is kept and only what follows is decoded again, so that the text still equals the decoding
of all tokens, letter by letter (tests hold that for four kinds of tokenizer).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_WINDOW = 16  # tokens decoded afresh before a cut is tried
UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class Words:
    """What transcripts must know of a tokenizer, looked up once for many replies."""

    def __init__(self, tokenizer: Any) -> None:
        """Find the tokenizer's special tokens, and whether it edits across token borders."""
        self.tokenizer = tokenizer
        self.special = set(tokenizer.all_special_ids)
        self.local = bool(tokenizer.is_fast)  # slow tokenizers follow rules of their own
        if self.local:
            added = tokenizer.added_tokens_decoder
            self.special |= {token for token, entry in added.items() if entry.special}
        if getattr(tokenizer, "clean_up_tokenization_spaces", False):
            model = type(getattr(tokenizer.backend_tokenizer, "model", None)).__name__
            self.local = self.local and model == "BPE"  # transformers cleans up no BPE text

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these tokens, special ones skipped."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def ends_cleanly(self, token: int) -> bool:
        """Can no later token change how this one is written?"""
        name = None if token in self.special else self.tokenizer.convert_ids_to_tokens(token)
        return name is not None and not name.startswith("<0x")  # single bytes are decoded in runs


class Transcript:
    """Token ids in, text out; text is decoded when it is asked for, never before."""

    def __init__(self, words: Words) -> None:
        """An empty reply in the words of one tokenizer."""
        self._words = words
        self._local = words.local
        self._ids: list[int] = []
        self._anchor = 0
        """Decoding starts here, one window before the cut, so that no first-token rule applies."""
        self._cut = 0
        self._before_cut = ""
        self._anchored = ""
        """Text of the tokens from the anchor to the cut."""
        self._read = 0
        self._text = ""

    def push(self, token: int) -> None:
        """Append one token; costs next to nothing."""
        self._ids.append(token)

    @property
    def text(self) -> str:
        """The decoding of all tokens so far, special ones skipped."""
        if self._read == len(self._ids):
            return self._text
        self._read = len(self._ids)
        tail = self._words.decode(self._ids[self._anchor :])
        if not tail.startswith(self._anchored):  # the cut was not clean after all
            self._local, self._anchor, self._cut = False, 0, 0
            self._before_cut = self._anchored = ""
            tail = self._words.decode(self._ids)
        self._text = self._before_cut + tail[len(self._anchored) :]
        if self._local and self._read - self._cut >= _WINDOW:
            self._try_cut()
        return self._text

    def finish(self) -> str:
        """The text of the whole reply, decoded once more as one piece."""
        self._text, self._read = self._words.decode(self._ids), len(self._ids)
        return self._text

    def _try_cut(self) -> None:
        """Cut here if neither a half character nor a run of single bytes stands open."""
        if self._text.endswith(UNFINISHED) or not self._words.ends_cleanly(self._ids[-1]):
            return
        anchored = self._words.decode(self._ids[self._cut :])
        if anchored.strip():
            self._anchor, self._cut = self._cut, self._read
            self._before_cut, self._anchored = self._text, anchored


def visible(text: str) -> str:
    """The text without a character whose bytes have not all arrived yet."""
    return text.rstrip(UNFINISHED)
