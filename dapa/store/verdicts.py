"""One verdict per (mask, prompt), kept in the run store: a search's memory.

A verdict is committed when it is known, so a kill loses at most the question in flight. Its context
is the digest of everything else that it depends on; another context is another memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dapa.core.records import Label, Manner, Mask, Verdict
from dapa.store.database import digest
from dapa.store.runs import Store


class VerdictMemory:
    """A search's memory: prompts are indices into the list it was made with."""

    def __init__(self, store: Store, context: str, prompts: Sequence[str]) -> None:
        """Args: the store, the digest of all that a verdict depends on, the rendered prompts."""
        self._store, self._context = store, context
        self._keys = [digest(prompt) for prompt in prompts]
        self._places: dict[str, list[int]] = {}
        for i, key in enumerate(self._keys):
            self._places.setdefault(key, []).append(i)  # equal prompts share one verdict

    def recall(self, mode: str, mask: Mask) -> dict[int, tuple[Verdict, int]]:
        """What is known of a mask: prompt index -> (verdict, tokens decoded for it)."""
        with self._store.plainly() as connection:
            rows = connection.execute(
                "select prompt, label, judge, start, stop, reason, manner, tokens, cut "
                "from verdicts where context = ? and mode = ? and mask = ?",
                (self._context, mode, mask.key),
            ).fetchall()
        return {
            place: (
                Verdict(
                    Label(label),
                    judge,
                    None if start is None else (start, stop),
                    reason,
                    manner=manner and Manner(manner),
                    cut=None if cut is None else bool(cut),
                ),
                tokens,
            )
            for key, label, judge, start, stop, reason, manner, tokens, cut in rows
            for place in self._places.get(key, ())
        }

    def commit(
        self, mode: str, mask: Mask, prompt: int, verdict: Verdict, reply: str, tokens: int
    ) -> None:
        """Keep one verdict for good, before anything else is done with it."""
        start, stop = verdict.span or (None, None)
        reply = reply.encode("utf-8", "replace").decode("utf-8")
        judged = (verdict.label.value, verdict.judge, start, stop, verdict.reason, verdict.manner)
        with self._store.plainly() as connection:
            connection.execute(
                "insert or ignore into verdicts (context, mode, mask, prompt, label, judge, start, "
                "stop, reason, manner, reply, tokens, cut) "
                "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self._context,
                    mode,
                    mask.key,
                    self._keys[prompt],
                    *judged,
                    reply,
                    tokens,
                    verdict.cut,
                ),
            )

    def reply(self, mode: str, mask: Mask, prompt: int) -> str | None:
        """The stored reply of a mask to a prompt, if it is known."""
        with self._store.plainly() as connection:
            row = connection.execute(
                "select reply from verdicts where context = ? and mode = ? and mask = ? "
                "and prompt = ?",
                (self._context, mode, mask.key, self._keys[prompt]),
            ).fetchone()
        return row and str(row[0])


def verdicts_of(store: Store, context: str, mask: str) -> list[dict[str, Any]]:
    """Every verdict of one context on one mask, with its reply, in a fixed order.

    Args:
        store: Where they are kept.
        context: The digest of all that they depend on besides.
        mask: The mask's key.
    """
    names = ("mode", "prompt", "label", "judge", "start", "stop", "manner", "tokens", "cut")
    with store.plainly() as connection:
        rows = connection.execute(
            f"select {', '.join(names)}, reply from verdicts where context = ? and mask = ? "
            "order by mode, prompt",
            (context, mask),
        ).fetchall()
    return [dict(zip((*names, "reply"), row, strict=True)) for row in rows]
