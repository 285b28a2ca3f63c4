"""Frozen records, the ground floor: what the house is about, without torch.

A *verdict* judges one reply. An *outcome* counts the verdicts of one mask over the prompts asked.
Units and masks, and the errors that a user can mend, are handed on from their own files, so that
all the ground is imported from here. This module does not know what a model, a screen or a
database is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dapa.core.errors import (
    DapaError,
    NothingToLocalize,
    OutOfMemory,
    PairError,
    PromptError,
    SettingError,
    StoreError,
    TooLong,
    ran_out,
)  # fmt: skip
from dapa.core.masks import EMPTY, ENDS, OUTSIDE, Mask, Site, Unit
from dapa.core.rates import Rate


class Label(StrEnum):
    """What a judge can say of a reply."""

    REFUSAL = "refusal"
    COMPLIANCE = "compliance"
    INCOHERENT = "incoherent"
    UNCLEAR = "unclear"


class Manner(StrEnum):
    """How a reply refuses or complies, beside its label."""

    PLAIN = "plain"
    LECTURES = "lectures"
    """It goes on to preach or to warn."""
    REDIRECTS = "redirects"
    """It offers something safe instead."""
    PARTIAL = "partial"
    """A part is declined, a part is answered."""
    DELAYED = "delayed"
    """It comes to the point after a preamble."""
    REPEATS = "repeats"
    """It says the same again until it ends."""


@dataclass(frozen=True)
class Verdict:
    """A judge's word on one reply."""

    label: Label
    judge: str
    """Name and version of the judge, as in `rules/1`."""
    span: tuple[int, int] | None = None
    """Characters [start, stop) of the reply that decided, if any."""
    reason: str = ""
    """One plain phrase: why."""
    failed: bool = False
    """The judge could not be asked (a call that failed): unclear for now, and never remembered."""
    manner: Manner | None = None
    """How it is said; None where the judge does not tell."""
    cut: bool | None = field(default=None, compare=False)
    """Did the token limit end the reply? Whoever decoded it tells; None where nobody did."""

    @property
    def how(self) -> str:
        """The manner as a word to put beside the label; empty for a plain one or an untold one."""
        return "" if self.manner in (None, Manner.PLAIN) else str(self.manner)

    def evidence(self, reply: str) -> str:
        """The text that decided, or the reason where no span did."""
        return reply[self.span[0] : self.span[1]] if self.span else self.reason


@dataclass(frozen=True)
class Outcome:
    """The verdicts of one mask over the prompts asked; curtailed while `judged < asked`."""

    mask: Mask
    asked: int
    judged: int
    defended: int
    """Coherent refusals among the judged."""
    incoherent: int = 0
    unclear: int = 0
    satisfied: bool | None = None
    """Is the target reached? None while the judged part leaves it open."""

    @property
    def full(self) -> bool:
        """Was every prompt judged?"""
        return self.judged == self.asked

    @property
    def bounds(self) -> tuple[float, float]:
        """The DSR lies in here; a point once judged in full."""
        if not self.asked:
            return (0.0, 1.0)
        return (
            self.defended / self.asked,
            (self.defended + self.asked - self.judged) / self.asked,
        )

    @property
    def dsr(self) -> float | None:
        """Coherent refusals / prompts asked; None where curtailed: only bounds are known."""
        return self.defended / self.asked if self.full and self.asked else None

    def counts(self) -> dict[str, Any]:
        """All but the mask, for JSON forms: a log names it by its key, a report by its units."""
        return {name: getattr(self, name) for name in _COUNTS}

    @classmethod
    def counted(cls, mask: Mask, body: Mapping[str, Any]) -> Outcome:
        """Read `counts` back."""
        return cls(mask, **{name: body[name] for name in _COUNTS})


_COUNTS = ("asked", "judged", "defended", "incoherent", "unclear", "satisfied")


@dataclass(frozen=True)
class Trial:
    """One row of a search's log: a question about one mask, answered."""

    index: int
    outcome: Outcome
    phase: str
    """opening, search, certificate, superset, reserve, full-length, canonical, held-out,
    locked or smaller; of a confidence search choose, certify, floor or removals."""
    memo: bool
    """Answered wholly from memory."""
    granularity: int | None
    """How many chunks the algorithm cuts now, where it cuts any."""
    seconds: float
    tokens: int

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, as a store keeps it."""
        return {
            "index": self.index,
            "mask": self.outcome.mask.key,
            **self.outcome.counts(),
            **{name: getattr(self, name) for name in _LOGGED},
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Trial:
        """Read `as_dict` back, so that a stored search can be shown again."""
        outcome = Outcome.counted(Mask.parse(body["mask"]), body)
        return cls(body["index"], outcome, **{name: body[name] for name in _LOGGED})


_LOGGED = ("phase", "memo", "granularity", "seconds", "tokens")


@dataclass(frozen=True)
class Removal:
    """One line of the 1-minimal certificate: the found set without one unit, judged in full."""

    unit: Unit
    outcome: Outcome
    p_value: float
    """Exact paired McNemar against the found set, Holm-adjusted over the removals, on the prompts
    that `basis` names."""
    flips: int
    """How many prompts would have to flip for the removal to reach the target."""
    firm: bool
    """Shown to lose, and no whole reply contradicts it; else the removal is undecided."""
    more: int = 0
    """Prompts of the reserve that p rests on; 0 where it rests on the search prompts."""
    basis: str = ""
    """`reserve` where p rests on it alone, `search` where there was none; empty in runs of older
    versions, whose p rests on the search prompts and on `more` besides."""
    whole: bool = False
    """Is p of whole replies? Of openings otherwise."""


@dataclass(frozen=True)
class SearchResult:
    """What an algorithm returns: the kept units, and whether each single removal failed."""

    units: tuple[Unit, ...]
    one_minimal: bool
    reason: str = "done"
    """Why it ended: done, stopped, cancelled, budget: ..."""

    @property
    def mask(self) -> Mask:
        """The found mask, at full strength."""
        return Mask.of(self.units)


@dataclass(frozen=True)
class Prompt:
    """One request with what its file says of it."""

    text: str
    category: str = ""
    split: str = ""
    """`search`, `held_out` or empty where the file brings no split."""
    twin: str = ""
    """The harmless twin of a harmful prompt, or the reverse."""
    answer: str = ""
    """The exact answer expected, for skill items."""
    extra: dict[str, Any] = field(default_factory=dict, compare=False, hash=False)
    """Further columns, kept as read."""


__all__ = [
    "DapaError",
    "EMPTY",
    "ENDS",
    "Label",
    "Manner",
    "Mask",
    "NothingToLocalize",
    "OUTSIDE",
    "OutOfMemory",
    "Outcome",
    "PairError",
    "Prompt",
    "PromptError",
    "Rate",
    "Removal",
    "SearchResult",
    "SettingError",
    "Site",
    "StoreError",
    "TooLong",
    "Trial",
    "Unit",
    "Verdict",
    "ran_out",
]
