"""How sure is a found set? The same search again in other orders, on other prompts, to other goals.

A 1-minimal set need not be the only one: the order of the units decides which one is met first, and
the prompts decide what satisfies. Every repetition draws on one memory, so each verdict is paid for
once. Bootstraps resample prompts with replacement (Efron, 1979). Nothing here knows a model.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from random import Random
from typing import Any, Literal

from dapa.records import Mask, NothingToLocalize, Rate, SettingError, Unit, Verdict
from dapa.search.driver import Driver
from dapa.search.feed import Feed, Job, Memory, Mode, Split
from dapa.search.inquiry import StoppedBy
from dapa.search.questions import algorithms
from dapa.search.settings import Settings
from dapa.statistics import wilson

RETAINS = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""The sweep of targets, each a share of the full mask's gain."""
Kind = Literal["order", "bootstrap", "retain"]
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Repetition:
    """One search of the many."""

    kind: Kind
    """What was changed: the units' order, the prompts, or the target."""
    number: int
    """Which of its kind; the seed of the permutation or of the resample."""
    retain: float
    units: tuple[Unit, ...]
    """The found set, in the pair's order; empty where there was none."""
    one_minimal: bool
    tests: int
    dsr: float | None
    """Of the found set, on this repetition's own prompts."""
    reason: str = "done"
    """Why it ended, or why there was nothing to find."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "kind": self.kind,
            "number": self.number,
            "retain": self.retain,
            "units": [str(unit) for unit in self.units],
            "layers": sorted({unit.layer for unit in self.units}),
            "one_minimal": self.one_minimal,
            "tests": self.tests,
            "dsr": self.dsr,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Stability:
    """What the repetitions agree on; only those that ended 1-minimal count."""

    units: tuple[Unit, ...]
    """Every unit that could be found, in order."""
    repetitions: tuple[Repetition, ...]
    complete: bool
    """False where it was stopped before the end."""
    algorithm: str = ""
    seconds: float = 0.0
    tokens: int = field(default=0)
    """Decoded for verdicts that no earlier search had."""

    def ended(self, *kinds: Kind) -> tuple[Repetition, ...]:
        """The repetitions of these kinds (orders and bootstraps by default) with a set."""
        wanted = kinds or ("order", "bootstrap")
        return tuple(r for r in self.repetitions if r.kind in wanted and r.one_minimal)

    def inclusion(self, *kinds: Kind) -> dict[Unit, Rate]:
        """How often each unit was in the found set, with Wilson's interval over repetitions."""
        ended = self.ended(*kinds)
        return {u: wilson(sum(u in r.units for r in ended), len(ended)) for u in self.units}

    def sets(self, *kinds: Kind) -> dict[tuple[Unit, ...], int]:
        """The distinct 1-minimal sets with how often each was found, commonest first."""
        return dict(Counter(r.units for r in self.ended(*kinds)).most_common())

    def jaccard(self, *kinds: Kind) -> float | None:
        """Mean overlap of two repetitions' sets, |both| / |either|; None for fewer than two."""
        sets = [set(r.units) for r in self.ended(*kinds)]
        pairs = [len(a & b) / len(a | b) if a | b else 1.0 for a, b in combinations(sets, 2)]
        return sum(pairs) / len(pairs) if pairs else None

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "algorithm": self.algorithm,
            "inclusion": {str(unit): rate.as_dict() for unit, rate in self.inclusion().items()},
            "by_order": {str(unit): rate.value for unit, rate in self.inclusion("order").items()},
            "by_bootstrap": {
                str(unit): rate.value for unit, rate in self.inclusion("bootstrap").items()
            },
            "sets": [
                {"units": [str(unit) for unit in units], "count": count}
                for units, count in self.sets().items()
            ],
            "jaccard": self.jaccard(),
            "sweep": [r.as_dict() for r in self.repetitions if r.kind == "retain"],
            "repetitions": [r.as_dict() for r in self.repetitions],
            "complete": self.complete,
            "seconds": self.seconds,
            "tokens": self.tokens,
        }


def stability(
    split: Split,
    units: Sequence[Unit],
    algorithm: str,
    settings: Settings | None = None,
    orders: int = 10,
    bootstraps: int = 10,
    retains: Sequence[float] = RETAINS,
    seed: int = 0,
    prior: Mapping[Unit, float] | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Stability:
    """Search again and again over one memory.

    Args:
        split: The search prompts, with their runner and memory.
        units: What may be transplanted.
        algorithm: A name in `algorithms`.
        settings: The search's own rules; closing checks are left out.
        orders: Permutations of the units.
        bootstraps: Resamples of the prompts.
        retains: Relative targets to sweep, in the units' own order; none where the settings'
            target is absolute.
        seed: Of permutations and resamples.
        prior: For algorithms that want one.
        progress: Told before every repetition.
        stop: Set it, and the repetitions that ended are returned.

    Raises:
        SettingError: Nothing to repeat.
    """
    if min(orders, bootstraps) < 0 or not orders + bootstraps + len(retains):
        raise SettingError(f"{orders} orders and {bootstraps} bootstraps; choose 1 or more of one")
    base = settings or Settings()
    todo: list[tuple[Kind, int, float]] = [("order", i, base.retain) for i in range(orders)]
    todo += [("bootstrap", i, base.retain) for i in range(bootstraps)]
    if base.target is None:
        todo += [("retain", i, retain) for i, retain in enumerate(retains)]
    done: list[Repetition] = []
    seconds, tokens = 0.0, 0
    for at, (kind, number, retain) in enumerate(todo):
        if stop is not None and stop.is_set():
            break
        if progress:
            progress(f"{kind} {number + 1}", at / len(todo))
        random = Random(f"{kind}/{seed}/{number}")
        row, asked = tuple(units), split
        if kind == "order":
            row = tuple(random.sample(row, len(row)))
        elif kind == "bootstrap":
            asked = resampled(split, random.choices(range(split.prompts), k=split.prompts))
        driver = Driver(
            algorithms[algorithm](seed=seed + number, prior=prior),
            row,
            asked,
            settings=_bare(base, retain),
            control=StoppedBy(stop),
            algorithm=algorithm,
        )
        repetition = _repeat(driver, kind, number, retain, units)
        seconds, tokens = seconds + driver.meter.seconds, tokens + driver.meter.tokens
        if repetition.reason == "stopped":
            break
        done.append(repetition)
    complete = len(done) == len(todo)
    return Stability(tuple(units), tuple(done), complete, algorithm, seconds, tokens)


def _bare(base: Settings, retain: float) -> Settings:
    """The search's rules without the closing checks, which would not change the set."""
    kept = {**base.as_dict(), "retain": retain, "check_supersets": False, "full_length": False}
    return Settings(**kept)  # type: ignore[arg-type]


def _repeat(
    driver: Driver, kind: Kind, number: int, retain: float, units: Sequence[Unit]
) -> Repetition:
    try:
        report = driver.run()
    except NothingToLocalize as error:  # a resample may hold too few prompts that tell
        return Repetition(kind, number, retain, (), False, 0, None, str(error))
    found = set(report.units)
    best = report.rates.get("best")
    return Repetition(
        kind,
        number,
        retain,
        tuple(unit for unit in units if unit in found),
        report.one_minimal,
        report.costs.tests,
        best.value if best is not None else None,
        report.stop_reason,
    )


# -- a resample of a split ------------------------------------------------------------------


def resampled(split: Split, drawn: Sequence[int]) -> Split:
    """A split whose prompt i is the base split's `drawn[i]`; a prompt drawn twice decodes once."""
    places: dict[int, list[int]] = defaultdict(list)
    for place, prompt in enumerate(drawn):
        places[prompt].append(place)

    def runner(feed: Feed, mode: Mode) -> None:
        split.runner(_Folded(feed, drawn, places), mode)

    return Split(len(drawn), runner, _Drawn(split.memory, drawn, places))


class _Drawn:
    """The base split's memory under the resample's indices."""

    def __init__(
        self, base: Memory, drawn: Sequence[int], places: Mapping[int, Sequence[int]]
    ) -> None:
        self._base, self._drawn, self._places = base, drawn, places

    def recall(self, mode: Mode, mask: Mask) -> Mapping[int, tuple[Verdict, int]]:
        known = self._base.recall(mode, mask)
        return {
            place: (verdict, tokens if place == self._places[prompt][0] else 0)
            for prompt, (verdict, tokens) in known.items()
            for place in self._places.get(prompt, ())
        }

    def commit(self, mode: Mode, job: Job, verdict: Verdict, reply: str, tokens: int) -> None:
        prompt = self._drawn[job.prompt]
        if job.prompt == self._places[prompt][0]:
            self._base.commit(mode, Job(job.mask, prompt), verdict, reply, tokens)


class _Folded:
    """A feed in the base split's indices: one row answers every place of its prompt."""

    def __init__(
        self, feed: Feed, drawn: Sequence[int], places: Mapping[int, Sequence[int]]
    ) -> None:
        self._feed, self._drawn, self._places = feed, drawn, places
        self._flying: set[Job] = set()

    def take(self, room: int) -> list[Job]:
        jobs = {Job(job.mask, self._drawn[job.prompt]): None for job in self._feed.take(room)}
        new = [job for job in jobs if job not in self._flying]
        self._flying.update(new)
        return new

    def wanted(self, job: Job) -> bool:
        asked = [self._feed.wanted(place) for place in self._every(job)]
        if not any(asked):
            self._flying.discard(job)
        return any(asked)

    def done(
        self, job: Job, verdict: Verdict, reply: str, tokens: int, whole: Verdict | None = None
    ) -> None:
        self._flying.discard(job)
        for place in self._every(job):
            self._feed.done(place, verdict, reply, tokens, whole)
            tokens = 0  # decoded once

    def _every(self, job: Job) -> list[Job]:
        return [Job(job.mask, place) for place in self._places[job.prompt]]
