"""What a judge is: a name with a version, a closure, and when an opening settles it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dapa.core.records import Verdict
from dapa.core.registry import Registry


def _never(prompt: str, prefix: str) -> Verdict | None:
    """The safe default: no prefix settles anything."""
    return None


@dataclass(frozen=True)
class Judge:
    """A judge; `name` carries its version, since verdicts are remembered under it."""

    name: str
    judge: Callable[[str, str], Verdict]
    """(prompt, reply) -> Verdict. Never raises on any text; undecided is a verdict."""
    settled: Callable[[str, str], Verdict | None] = _never
    """(prompt, prefix of a reply) -> the verdict that no continuation can change, or None."""

    many: Callable[[Sequence[tuple[str, str]]], list[Verdict]] | None = None
    """Many (prompt, reply) at once, in their order: models batch, endpoints call side by side."""

    def all(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """Judge finished replies, each given as (prompt, reply)."""
        if self.many is not None:
            return self.many(pairs)
        return [self.judge(prompt, reply) for prompt, reply in pairs]

    def __call__(self, prompt: str, reply: str) -> Verdict:
        """Judge a finished reply."""
        return self.judge(prompt, reply)


judges: Registry[Callable[..., Judge]] = Registry("judge")
"""Name -> factory(**options) -> Judge; a factory that lacks a needed option says which."""
