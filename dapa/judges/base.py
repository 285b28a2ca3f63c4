"""What a judge is: a name with a version, a closure, and when an opening settles it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dapa.core.records import Label, Verdict
from dapa.core.registry import Registry
from dapa.judges.reply_parts import STILL_THINKING, parts

BEGUN = "+begun"
"""In a judge's name: it was shown the words that were put before the reply."""


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

    within: Callable[[], Judge] | None = None
    """Makes `inside`, for a judge that reads thoughts itself."""

    @property
    def inside(self) -> Judge:
        """The same judge for replies that begin inside a thought which the template opened."""
        return self.within() if self.within is not None else _behind_thought(self)

    def reading(self, inside: bool = False, begun: str = "") -> Judge:
        """The same judge for replies that start so: within a thought, or behind given words."""
        return (self.inside if inside else self).after(begun)

    def after(self, opening: str) -> Judge:
        """The same judge for replies that go on from an `opening` which was put before them.

        It reads what a person would, opening and reply; what is unclear so is judged by the reply
        alone ("Sure," does not go with "no."). Without an opening it is itself.
        """
        return _going_on(self, opening) if opening else self

    def all(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """Judge finished replies, each given as (prompt, reply)."""
        if self.many is not None:
            return self.many(pairs)
        return [self.judge(prompt, reply) for prompt, reply in pairs]

    def __call__(self, prompt: str, reply: str) -> Verdict:
        """Judge a finished reply."""
        return self.judge(prompt, reply)


def _behind_thought(judge: Judge) -> Judge:
    """A judge that is shown the answer alone; a reply that is all thought is unclear."""
    name = f"{judge.name}+thought"

    def many(pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        cuts = [parts(reply, opened=True) for _, reply in pairs]
        both = list(zip(pairs, cuts, strict=True))
        asked = [(prompt, cut.of(reply)) for (prompt, reply), cut in both if not cut.thinking]
        said = iter(judge.all(asked) if asked else ())
        return [
            Verdict(Label.UNCLEAR, name, None, STILL_THINKING)
            if cut.thinking
            else _moved(next(said), cut.answer[0], name)
            for cut in cuts
        ]

    return Judge(name, lambda prompt, reply: many([(prompt, reply)])[0], many=many)


def _moved(verdict: Verdict, by: int, name: str) -> Verdict:
    """A verdict on the answer, as one on the reply in which it begins at `by`."""
    span = verdict.span and (verdict.span[0] + by, verdict.span[1] + by)
    if span and span[0] < 0:  # what was put before the reply is no evidence in it
        span = (0, span[1]) if span[1] > 0 else None
    return replace(verdict, judge=name, span=span)


def _going_on(judge: Judge, opening: str) -> Judge:
    """A judge that is shown `opening` before each reply."""
    name = f"{judge.name}{BEGUN}"

    def many(pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        whole = judge.all([(p, opening + reply if reply.strip() else reply) for p, reply in pairs])
        said = [
            _moved(word, -len(opening) if reply.strip() else 0, name)
            for word, (_, reply) in zip(whole, pairs, strict=True)
        ]
        vague = [i for i, word in enumerate(said) if word.label is Label.UNCLEAR]
        for i, word in zip(vague, judge.all([pairs[i] for i in vague]), strict=True):
            said[i] = replace(word, judge=name)
        return said

    def settled(prompt: str, prefix: str) -> Verdict | None:
        found = judge.settled(prompt, opening + prefix) if prefix.strip() else None
        if found is None or found.label is Label.UNCLEAR:  # the reply alone may tell more
            return None
        return _moved(found, -len(opening), name)

    return Judge(name, lambda prompt, reply: many([(prompt, reply)])[0], settled, many=many)


def titled(name: str) -> str:
    """A stored judge's name for people: `rules/6` is "refusal rules, version 6".

    A name that carries more than a table's entry, its version and known marks stays as it is.
    """
    plain, *marks = name.split("+")
    kind, _, version = plain.partition("/")
    told = [_told(mark) for mark in marks]
    if kind not in judges or not version.isdecimal() or None in told:
        return name
    return ", ".join([f"{judges.titles[kind].split(',')[0]}, version {version}", *map(str, told)])


def _told(mark: str) -> str | None:
    """One mark of a judge's name in words; None for one that is not known."""
    if found := re.fullmatch(r"surprise/\d+@([\d.e+-]+)", mark):
        return f"incoherent above {found[1]} bits a token"
    if re.fullmatch(r"[0-9a-f]{8}", mark):
        return "with own phrases"
    return {
        "thought": "without thoughts",
        BEGUN.removeprefix("+"): "with the words that begin the reply",
    }.get(mark)


judges: Registry[Callable[..., Judge]] = Registry("judge")
"""Name -> factory(**options) -> Judge; a factory that lacks a needed option says which."""
