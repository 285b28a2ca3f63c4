"""What a judge is: a name with a version, a closure, and when an opening settles it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dapa.records import Verdict
from dapa.registry import Registry


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

    def __call__(self, prompt: str, reply: str) -> Verdict:
        """Judge a finished reply."""
        return self.judge(prompt, reply)


judges: Registry[Callable[..., Judge]] = Registry("judge")
"""Name -> factory() -> Judge."""
