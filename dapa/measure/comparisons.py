"""One row of the table of rivals and shams, and where such rows are measured.

Every contender is judged by whole replies on the search split, the held-out split and the harmless
prompts, through the search's own memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from dapa.core.records import Label, Mask, Prompt, PromptError, Rate
from dapa.core.statistics import holm, mcnemar_exact, paired_gain
from dapa.measure.matching import Match
from dapa.measure.utility import Utility
from dapa.model.substitution import Substituted
from dapa.prompts.format import PromptFormat
from dapa.search.engine.inquiry import Inquiry, Spent
from dapa.search.engine.oracle import oracle
from dapa.search.job import SearchJob

Progress = Callable[[str, float], None]
"""(what is being done, share done in [0, 1])."""
Role = Literal["reference", "found", "baseline", "placebo"]


@dataclass(frozen=True)
class Comparison:
    """One contender, measured; what could not be measured is None."""

    name: str
    """Short and stable, such as `random-k`."""
    title: str
    """For people."""
    role: Role
    mask: Mask
    """What it transplants; for a placebo, the mask whose place the sham takes."""
    share: float | None
    """Share of the student's parameters that it changes."""
    search: Rate | None = None
    """Coherent DSR on the search split, which chose it; None where the row could not be run."""
    held_out: Rate | None = None
    """The same on prompts that chose nothing."""
    over_refusal: Rate | None = None
    incoherent: Rate | None = None
    """Over the held-out harmful prompts, or the search ones where none are held out."""
    kl: Rate | None = None
    """KL(student || patched) on harmless prompts, bits per token behind the first."""
    kl_first: Rate | None = None
    """The same at the first position."""
    gain: Rate | None = None
    """DSR over the student's, paired over the prompts of `incoherent`, with Tango's interval."""
    p_value: float | None = None
    """Exact paired McNemar against the found set on those prompts, Holm-adjusted over the rows."""
    spent: Spent = Spent()
    """What choosing it cost; measuring it, which every row pays alike, is not counted."""
    note: str = ""
    """What to know about it, in a plain phrase."""
    match: Match | None = None
    """Of a placebo: how its change of activations compares to the found set's."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        rates = ("search", "held_out", "over_refusal", "incoherent", "kl", "kl_first", "gain")
        return {
            "name": self.name,
            "title": self.title,
            "role": self.role,
            "units": [str(unit) for unit in self.mask.units],
            "mask": self.mask.key,
            "layers": list(self.mask.layers),
            "share": self.share,
            **{name: _told(getattr(self, name)) for name in rates},
            "p_value": self.p_value,
            "tests": self.spent.tests,
            "tokens": self.spent.tokens,
            "seconds": self.spent.seconds,
            "note": self.note,
            "match": self.match and self.match.as_dict(),
        }


def _told(rate: Rate | None) -> dict[str, float | int | None] | None:
    """The JSON form; one prompt has no interval of a mean."""
    if rate is None:
        return None
    body: dict[str, float | int | None] = dict(rate.as_dict())
    return {key: None if value != value else value for key, value in body.items()}


class Bench:
    """A pair, or a view of it, on the three sets of prompts; judges whole replies."""

    def __init__(
        self,
        job: SearchJob,
        harmless: Sequence[Prompt] = (),
        how: PromptFormat | None = None,
        on: Substituted | None = None,
        stop: threading.Event | None = None,
        utility: Utility | None = None,
    ) -> None:
        """Render the prompts; nothing is decoded yet.

        Args:
            job: Whose pair, splits, settings and store serve.
            harmless: Prompts for over-refusal.
            how: Another format than the job's.
            on: A view with substitutes.
            stop: Set it, and the next question raises Halted.
            utility: Measures KL on harmless prompts; the column stays empty without.

        Raises:
            PromptError: A prompt that cannot be rendered in this format.
        """
        self._utility, self._view, self._how = utility, on, how
        how = how or job.settings.format()
        self.inquiries: dict[str, Inquiry] = {}
        for name, prompts in (
            ("search", job.prompts), ("held_out", job.held_out), ("over_refusal", harmless)
        ):  # fmt: skip
            if prompts:
                limit = job.settings.max_new_tokens
                split = oracle(job.pair, prompts, how, limit, job.store, on, crew=job.crew)
                self.inquiries[name] = Inquiry(split, "full", stop=stop)

    @property
    def telling(self) -> Inquiry:
        """The held-out prompts, or the search ones where none are held out."""
        return self.inquiries.get("held_out") or self.inquiries["search"]

    def measured(self, rival: Comparison, mask: Mask | None = None) -> Comparison:
        """Fill a row's rates in; `mask` where another than the row's own is decoded."""
        mask = rival.mask if mask is None else mask
        rates: dict[str, Any] = {}
        for name, inquiry in self.inquiries.items():
            inquiry.judge([mask])
            rates[name] = inquiry.rate(mask)
        rates["incoherent"] = self.telling.rate(mask, Label.INCOHERENT)
        if self._utility is not None:
            try:
                drift = self._utility.drift(mask, self._view, self._how)
            except PromptError:  # a teacher that has not the student's tokens, or a longer prompt
                return replace(rival, **rates)
            rates["kl"], rates["kl_first"] = drift.kl, drift.first
        return replace(rival, **rates)

    def refused(self, mask: Mask) -> list[bool]:
        """Which of the telling prompts a mask defends."""
        self.telling.judge([mask])
        return self.telling.refused(mask)


def gain_of(before: Sequence[bool], after: Sequence[bool]) -> Rate:
    """The paired gain as a rate, which may be below zero."""
    return Rate(*paired_gain(before, after), len(before))


def compared(
    rivals: Sequence[Comparison], refused: Sequence[Sequence[bool] | None]
) -> tuple[Comparison, ...]:
    """Set each row beside the student (gain) and the found set (p).

    Args:
        rivals: The rows, student and found set among them.
        refused: Which telling prompts each row defends, in the rows' order; None is unknown.
    """
    named = {rival.name: said for rival, said in zip(rivals, refused, strict=True)}
    student, found = named["student"], named["found"]
    assert student is not None and found is not None, "student and found set are always measured"
    rows = list(zip(rivals, refused, strict=True))
    lost = [
        mcnemar_exact(
            sum(a and not b for a, b in zip(found, said, strict=True)),
            sum(b and not a for a, b in zip(found, said, strict=True)),
        )
        for rival, said in rows
        if said is not None and rival.name != "found"
    ]
    adjusted = iter(holm(lost))
    return tuple(
        rival
        if said is None
        else replace(
            rival,
            gain=None if rival.name == "student" else gain_of(student, said),
            p_value=None if rival.name == "found" else next(adjusted),
        )
        for rival, said in rows
    )
