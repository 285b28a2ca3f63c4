"""What would a search cost? Known before it starts, from a short timing and a search on paper.

A few prompts are decoded under the empty and the full mask, which tells how long replies are and
how fast this pair decodes on this machine (the search finds those verdicts in the store). Then the
same driver with the same settings searches simulated pairs, in which refusal needs 1 to 8 units
drawn at random, with replies as long as the measured ones. The range is that of the simulations: a
pair in which more units are needed, or in which refusals fade bit by bit, costs more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import mean
from typing import Any

from dapa.core.records import EMPTY, Mask, Prompt, Unit, Verdict
from dapa.model.pair import Pair
from dapa.model.template import render
from dapa.prompts.format import Turn
from dapa.prompts.sets import PromptSet
from dapa.search.algorithms.best_of import smallest
from dapa.search.algorithms.questions import Search, algorithms
from dapa.search.engine.contract import Job, JobQueue, Memory, Mode, Notebook, Workload
from dapa.search.engine.driver import Driver
from dapa.search.engine.inquiry import Inquiry
from dapa.search.engine.oracle import oracle
from dapa.search.engine.pair_runner import PairRunner
from dapa.search.engine.predicate import PredicateRunner
from dapa.search.estimate_confident import on_paper, reading_pace
from dapa.search.priors import few
from dapa.search.settings import CONFIDENT, SearchRules, SearchSettings
from dapa.search.setup import dealt, divided, gpus, odds_of, searched_units
from dapa.store.runs import Store
from dapa.writing.confidence import exact_sentence, plan_sentence

NEEDED = (1, 2, 3, 5, 8)
"""How many units are needed in the simulated pairs, as far as half of all units allow."""
DRAWS = 3
"""Simulated pairs of each."""
PROBED = 24
"""Prompts that are decoded to time them, at most."""
LEAST, SIMULATED = 12, 32
"""Prompts of a simulated search; others are scaled."""


@dataclass(frozen=True)
class Range:
    """A figure in every simulation."""

    low: float
    middle: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """The JSON form."""
        return {"low": self.low, "middle": self.middle, "high": self.high}

    def times(self, factor: float) -> Range:
        """All of it, so many times."""
        return Range(self.low * factor, self.middle * factor, self.high * factor)


@dataclass(frozen=True)
class ReplyPace:
    """What the short timing told."""

    compliance: float
    """Tokens of a reply of the student, on average."""
    opening: float
    """Tokens of a reply under the full mask until its verdict is settled."""
    whole: float
    """The same to its end."""
    seconds: float
    """Of a token of one row."""
    cost: float
    """Seconds that the timing took."""


@dataclass(frozen=True)
class Estimate:
    """The costs that a search would bring, in ranges."""

    algorithm: str
    units: int
    prompts: int
    held_out: int
    tests: Range
    tokens: Range
    seconds: Range
    pace: ReplyPace
    devices: int = 0
    shows: str = ""
    """What the search can show with the prompts at hand."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "algorithm": self.algorithm,
            "units": self.units,
            "prompts": self.prompts,
            "held_out": self.held_out,
            "tests": self.tests.as_dict(),
            "tokens": self.tokens.as_dict(),
            "seconds": self.seconds.as_dict(),
            "gpu_seconds": self.seconds.times(self.devices).as_dict(),
            "reply_tokens": {
                "student": self.pace.compliance,
                "full_opening": self.pace.opening,
                "full": self.pace.whole,
            },
            "seconds_per_token": self.pace.seconds,
            "timing_seconds": self.pace.cost,
            "shows": self.shows,
        }


class _Noted:
    """A memory that recalls nothing, so that work is really done; it notes lengths, and keeps."""

    def __init__(self, base: Memory) -> None:
        self._base = base
        self.lengths: dict[Mask, list[int]] = {}

    def recall(self, mode: Mode, mask: Mask) -> Mapping[int, tuple[Verdict, int]]:
        return {}

    def commit(self, mode: Mode, job: Job, verdict: Verdict, reply: str, tokens: int) -> None:
        self._base.commit(mode, job, verdict, reply, tokens)
        if tokens:  # an opening that ran to its end is kept once more, at full length
            self.lengths.setdefault(job.mask, []).append(tokens)


def timed(
    split: Workload,
    full: Mask,
    clock: Callable[[], float] = time.monotonic,
    stop: threading.Event | None = None,
) -> ReplyPace:
    """Decode a few prompts under the empty and the full mask.

    Args:
        split: A few of the search prompts; their verdicts are kept in its memory.
        full: The mask of all units.
        clock: In seconds.
        stop: Set it, and Halted is raised.
    """
    began, decoded, lengths = clock(), 0, dict[tuple[Mode, Mask], float]()
    asked: tuple[tuple[Mode, tuple[Mask, ...]], ...] = (
        ("opening", (EMPTY, full)),
        ("full", (full,)),
    )
    for mode, masks in asked:
        noted = _Noted(split.memory)
        Inquiry(Workload(split.prompts, split.runner, noted), mode, stop=stop).judge(masks)
        for mask in masks:
            lengths[mode, mask] = mean(noted.lengths[mask])
            decoded += sum(noted.lengths[mask])
    cost = clock() - began
    return ReplyPace(
        lengths["opening", EMPTY],
        lengths["opening", full],
        lengths["full", full],
        cost / max(decoded, 1),
        cost,
    )


def simulated(
    algorithm: str,
    make: Callable[[Mapping[Unit, float]], Search],
    units: Sequence[Unit],
    prompts: int,
    held_out: int,
    rules: SearchRules,
    pace: ReplyPace,
    rows: int,
) -> Estimate:
    """Search on paper, with replies as long as the timed ones.

    Args:
        algorithm: Its name.
        make: A prior -> the search; half of the simulated priors are right, half say nothing.
        units: What may be transplanted.
        prompts: How many search prompts.
        held_out: How many held-out ones.
        rules: The driver's.
        pace: Of `timed`.
        rows: Rows of a batch.
    """
    return _simulated(algorithm, make, units, prompts, held_out, rules, pace, rows)


def _simulated(
    algorithm: str,
    make: Callable[[Mapping[Unit, float]], Search],
    units: Sequence[Unit],
    prompts: int,
    held_out: int,
    rules: SearchRules,
    pace: ReplyPace,
    rows: int,
    reserve: int = 0,
) -> Estimate:
    """The same with a reserve, whose prompts show which removals are firm."""
    few = min(max(prompts, LEAST), SIMULATED)
    rules = replace(rules, max_kl=None, max_tokens=None, max_seconds=None)
    grain = max(1.0, min(pace.compliance, pace.opening) / 2)  # tokens of one simulated step
    tests, tokens, work = list[float](), list[float](), list[float]()
    for count in [n for n in NEEDED if n == 1 or 2 * n <= len(units)]:
        for draw in range(DRAWS if len(units) <= 64 else 1):
            random = Random(f"{count}/{draw}")
            need = frozenset(random.sample(list(units), count))
            right = draw % 2 == 0
            prior = {u: (u in need) * right + random.gauss(0, 0.5) for u in units}
            paper = _Simulation(need, pace, grain, rows)
            kept, left = (round(n * few / prompts) for n in (held_out, reserve))
            report = Driver(
                make(prior),
                units,
                paper.split(few),
                held_out=paper.split(kept) if kept else None,
                reserve=paper.split(left) if left else None,
                settings=rules,
            ).run()
            tests.append(report.costs.tests)
            tokens.append(report.costs.tokens * grain * prompts / few)
            work.append(paper.row_steps * grain * prompts / few)
    return Estimate(
        algorithm,
        len(units),
        prompts,
        held_out,
        _range(tests),
        _range(tokens),
        _range(work).times(pace.seconds),
        pace,
    )


class _Simulation:
    """A pair on paper: all of some units make it refuse."""

    def __init__(self, need: frozenset[Unit], pace: ReplyPace, grain: float, rows: int) -> None:
        self.need, self.rows, self.row_steps = need, rows, 0
        self._lengths: dict[tuple[Mode, bool], int] = {
            ("opening", True): max(1, round(pace.opening / grain)),
            ("full", True): max(1, round(pace.whole / grain)),
            ("opening", False): max(1, round(pace.compliance / grain)),
            ("full", False): max(1, round(pace.compliance / grain)),
        }

    def split(self, prompts: int) -> Workload:
        """So many prompts of it."""

        def runner(queue: JobQueue, mode: Mode) -> None:
            made = PredicateRunner(
                lambda mask, prompt, mode: self.need <= set(mask),
                rows=self.rows,
                steps=lambda job: self._lengths[mode, self.need <= set(job.mask)],
            )
            try:
                made(queue, mode)
            finally:
                self.row_steps += made.row_steps

        return Workload(prompts, runner, Notebook())


def _range(values: Sequence[float]) -> Range:
    ordered = sorted(values)
    return Range(ordered[0], ordered[len(ordered) // 2], ordered[-1])


def estimate(
    pair: Pair,
    harmful: PromptSet,
    settings: SearchSettings,
    store: Store,
    stop: threading.Event | None = None,
) -> Estimate:
    """What a search of this pair with these settings would cost on this machine; none is begun.

    Raises:
        DapaError: Units, prompts or settings that make no search.
        Halted: It was stopped.
    """
    settings = replace(settings, claim=settings.resolved(bool(pair.spec.planted)))
    if settings.claim in CONFIDENT:
        return _confident(pair, harmful, settings, store, stop)
    units = searched_units(pair, *settings.cut)
    asked = divided(harmful, settings.seed, settings.prompt_limit, settings.lock, settings.certify)
    search = asked.search
    count = min(PROBED, len(search))
    probed = [search[i * len(search) // count] for i in range(count)]
    split = oracle(pair, probed, settings.format(), settings.max_new_tokens, store)
    assert isinstance(split.runner, PairRunner), "a pair itself is decoded, not a view of it"
    found = _simulated(
        settings.algorithm,
        lambda prior: smallest(
            algorithms[settings.algorithm](seed=settings.seed, prior=prior),
            settings.best_of,
            settings.seed,
        ),
        units,
        len(search),
        len(asked.held_out) + len(asked.locked),
        settings,
        timed(split, Mask.of(units), stop=stop),
        split.runner.capacity,
        len(asked.reserve),
    )
    return replace(found, devices=gpus(pair), shows=exact_sentence(len(search)))


def _confident(
    pair: Pair,
    harmful: PromptSet,
    settings: SearchSettings,
    store: Store,
    stop: threading.Event | None,
) -> Estimate:
    """The same for a confidence search."""
    units = searched_units(pair, *settings.cut)
    how = settings.format()

    def rendered(prompts: Sequence[Prompt]) -> list[str]:
        return [render(pair, [Turn("user", prompt.text)], how) for prompt in prompts]

    parts = dealt(harmful, rendered, len(units), settings)
    probed = [parts.asked[i] for i in few(parts.choose, PROBED)]
    pace = timed(
        oracle(pair, probed, how, settings.max_new_tokens, store), Mask.of(units), stop=stop
    )
    odds = odds_of(pair, probed, how, units)
    places = list(range(len(probed)))
    read = (
        0.0 if odds is None else reading_pace(lambda: odds([Mask.of(units)], places), len(probed))
    )
    paper = on_paper(parts, len(units), odds is not None)
    length = (pace.compliance + pace.opening) / 2
    replies, readings = _range(paper.replies), _range(paper.readings)
    spent = [
        r * length * pace.seconds + n * read
        for r, n in zip(paper.replies, paper.readings, strict=True)
    ]
    told = f"{replies.low:,.0f} to {replies.high:,.0f} replies, {readings.low:,.0f} to "
    return Estimate(
        settings.claim,
        len(units),
        len(parts.choose),
        len(parts.certify) + len(parts.locked),
        _range(paper.tests),
        replies.times(length),
        _range(spent),
        pace,
        gpus(pair),
        f"{told}{readings.high:,.0f} readings. {plan_sentence(parts.plan.as_dict())}",
    )
