"""Where the found set lies among random sets of its size: the null distribution of its DSR.

A transplant may raise refusals wherever it is put (arXiv 2502.11447 finds that random places can
work as well), so a found set's DSR says little by itself. Here as many units, drawn at random from
those that were searched, are judged by the same oracle on prompts that chose nothing, all at the
same strength. The found set is one more draw under the null, hence p = (1 + b) / (1 + m) for b of
m random sets that refuse at least as much: exact, whatever m is.

Every set is judged in full. Curtailment would spare replies and give the same p, but no histogram.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil, comb
from random import Random
from typing import Any

from dapa.core.records import EMPTY, Label, Mask, Prompt, PromptError, Rate, SettingError, Unit
from dapa.core.statistics import wilson
from dapa.model.decode.serving import row_capacity
from dapa.search.engine.control import Halted
from dapa.search.engine.inquiry import Inquiry
from dapa.search.engine.oracle import oracle
from dapa.search.engine.report import SearchReport
from dapa.search.job import SearchJob

SETS = 100
"""Random sets, unless said otherwise."""
_WHOLE = ("full-length", "held-out")
"""The phases of a search that judge whole replies, as is done here."""


@dataclass(frozen=True)
class Drawn:
    """One random set."""

    mask: Mask
    dsr: Rate
    incoherent: Rate

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "units": [str(unit) for unit in self.mask],
            "dsr": self.dsr.as_dict(),
            "incoherent": self.incoherent.as_dict(),
        }


@dataclass(frozen=True)
class Chance:
    """The found set beside random sets of its size, on the same prompts."""

    mask: Mask
    found: Rate
    student: Rate
    full: Rate
    """Every searched unit."""
    sets: tuple[Drawn, ...]
    """In the order in which they were drawn."""
    possible: int
    """Sets of this size that there are, the found one left out."""
    units: int
    """How many units were searched."""
    complete: bool
    """False where it was stopped before the end."""

    @property
    def at_least(self) -> int:
        """b: random sets that refuse at least as much as the found set."""
        return sum(drawn.dsr.value >= self.found.value for drawn in self.sets)

    @property
    def share(self) -> Rate:
        """The same as a share of the sets drawn."""
        return wilson(self.at_least, len(self.sets))

    @property
    def p_value(self) -> float:
        """(1 + b) / (1 + m); 1 where no set was drawn."""
        return (1 + self.at_least) / (1 + len(self.sets))

    @property
    def least(self) -> float:
        """The smallest p that so many sets can give."""
        return 1 / (1 + len(self.sets))

    @property
    def every(self) -> bool:
        """Is every set of this size among those drawn?"""
        return len(self.sets) == self.possible

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "mask": self.mask.key,
            "layers": list(self.mask.layers),
            "found": self.found.as_dict(),
            "student": self.student.as_dict(),
            "full": self.full.as_dict(),
            "sets": [drawn.as_dict() for drawn in self.sets],
            "at_least": self.at_least,
            "m": len(self.sets),
            "p_value": self.p_value,
            "possible": self.possible,
            "searched": self.units,
            "complete": self.complete,
        }


@dataclass(frozen=True)
class Price:
    """What it costs at most: what memory knows is not asked again."""

    sets: int
    """Random sets; student, found set and full mask come on top."""
    prompts: int
    replies: int
    seconds: float | None
    """By the pace of the search's own whole replies; None where it measured none."""


def chance(
    job: SearchJob,
    prompts: Sequence[Prompt],
    sets: int = SETS,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
    stop: threading.Event | None = None,
) -> Chance:
    """Judge random sets of the found set's size, and say where the found set lies.

    Args:
        job: A finished search, whose pair, format, token limit and store serve.
        prompts: Harmful prompts that chose nothing.
        sets: Random sets; all of them where there are no more.
        seed: Of the draw.
        progress: Told (what, share done).
        stop: Set it, and the sets judged by then are told; what was judged stays in the store.

    Raises:
        SettingError: Nothing was found, or no other set has its size.
        PromptError: No prompt.
        Halted: It was stopped before the found set itself was judged.
    """
    if why := refusal(job):
        raise SettingError(why)
    if not prompts:
        raise PromptError("random sets need harmful prompts that chose nothing; give some")
    assert job.report is not None
    mask, settings = Mask.of(job.report.units), job.settings
    drawn = draw(job.units, mask, sets, seed)
    how, limit = settings.format(), settings.max_new_tokens
    split = oracle(job.pair, prompts, how, limit, job.store, crew=job.crew)
    asked = Inquiry(split, "full", stop=stop)
    asked.judge([EMPTY, mask, job.full])
    # two batches' worth at a time: few enough to stop soon, enough to keep the batch filled
    together = ceil(2 * row_capacity(job.pair) / len(prompts))
    done: list[Drawn] = []
    try:
        for start in range(0, len(drawn), together):
            if progress:
                progress(f"random set {start + 1:,} of {len(drawn):,}", start / len(drawn))
            some = drawn[start : start + together]
            asked.judge(some)
            done += [Drawn(m, asked.rate(m), asked.rate(m, Label.INCOHERENT)) for m in some]
    except Halted:
        pass
    return Chance(
        mask,
        asked.rate(mask),
        asked.rate(EMPTY),
        asked.rate(job.full),
        tuple(done),
        _others(job.units, mask),
        len(job.units),
        len(done) == len(drawn),
    )


def refusal(job: SearchJob) -> str:
    """Why a search has no null distribution, and what to do; empty where it has one."""
    if job.report is None or not job.report.units:
        return "nothing was found that random sets could stand beside; run a search to its end"
    if not set(job.report.units) <= set(job.units):
        return "the found units are not among the searched ones; search them first"
    if _others(job.units, Mask.of(job.report.units)) < 1:
        return (
            f"all {len(job.units)} searched units were found, so no other set is as large; "
            "search more units, such as those of another kind of site"
        )
    if not job.held_out:
        return (
            "no prompt is held out, and on the prompts that chose it the found set stands out by "
            "that choice alone; search a larger prompt set"
        )
    return ""


def price(job: SearchJob, prompts: int, sets: int = SETS) -> Price:
    """What `chance` would cost, before it starts.

    Args:
        job: The finished search.
        prompts: How many are asked.
        sets: How many random sets are wanted.
    """
    assert job.report is not None, "the cost follows from a result"
    count = min(sets, _others(job.units, job.report.mask))
    pace = pace_of(job.report)
    replies = count * prompts
    return Price(count, prompts, replies, None if pace is None else pace * replies)


def pace_of(report: SearchReport) -> float | None:
    """Seconds a whole reply took in this search; None where all were answered from memory."""
    fresh = [t for t in report.trials if t.phase in _WHOLE and t.tokens and not t.memo]
    judged = sum(trial.outcome.judged for trial in fresh)
    if judged:
        return sum(trial.seconds for trial in fresh) / judged
    costs = report.costs
    return costs.seconds / costs.prompts_judged if costs.prompts_judged else None


def _others(units: Sequence[Unit], mask: Mask) -> int:
    return comb(len(units), len(mask)) - 1


def draw(units: Sequence[Unit], mask: Mask, sets: int, seed: int) -> tuple[Mask, ...]:
    """Distinct random sets of `mask`'s size, itself left out; all of them where they are few.

    Shuffled, so that those judged before a stop are a fair draw too.
    """
    random, size = Random(seed), len(mask)
    if _others(units, mask) <= 2 * sets:  # drawing until enough differ would take long
        every = [Mask.of(chosen) for chosen in combinations(units, size)]
        every.remove(mask)
        random.shuffle(every)
        return tuple(every[:sets])
    found: dict[Mask, None] = {}
    while len(found) < sets:
        drawn = Mask.of(random.sample(list(units), size))
        if drawn != mask:
            found[drawn] = None
    return tuple(found)
