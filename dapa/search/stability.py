"""How sure is a found set? The same search again in other orders, on other prompts, to other goals.

A 1-minimal set need not be the only one: the order of the units decides which one is met first, and
the prompts decide what satisfies. An algorithm may lean to one of two sets whatever the order
(ddmin keeps the smaller one), so the units that the commonest set leaves are searched too: what
satisfies there is a second way to refuse. Every repetition draws on one memory, so each verdict is
paid for once. Nothing here knows a model.

Orders and resamples ask two questions: how much hangs on the order, and how much on the prompts.
Each is counted by itself, never both in one interval. An algorithm that follows a prior sorts the
units anew, so that most orders are one and the same search: those are not run and not counted.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from random import Random
from typing import Any, Literal

from dapa.core.records import Mask, NothingToLocalize, Rate, SettingError, Unit
from dapa.core.statistics import wilson
from dapa.search.algorithms.limited import Kl
from dapa.search.algorithms.questions import NEED_ONE, algorithms, without
from dapa.search.algorithms.windows import ranked
from dapa.search.engine.checked import Smaller
from dapa.search.engine.contract import Workload
from dapa.search.engine.driver import Driver
from dapa.search.engine.inquiry import StoppedBy
from dapa.search.engine.resample import resampled
from dapa.search.settings import SearchRules

SORTED_AWAY = "the prior sorts this order away: the same search again"
"""Why a repetition in another order was not run."""
RETAINS = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""The sweep of targets, each a share of the full mask's gain."""
Kind = Literal["order", "bootstrap", "retain", "rest"]
_DOING: dict[Kind, str] = {
    "order": "another order", "bootstrap": "resampled prompts", "retain": "another target",
    "rest": "the rest",
}  # fmt: skip
"""What is told while one of them runs."""
REPEATS: tuple[Kind, Kind] = ("order", "bootstrap")
"""The kinds that repeat the search as it was; counted apart."""
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Repetition:
    """One search of the many."""

    kind: Kind
    """What was changed: the units' order, the prompts, the target, or `rest`: the units themselves,
    less those of the commonest set and of the `rest` before."""
    number: int
    """Which of its kind; the seed of the permutation or of the resample."""
    retain: float
    units: tuple[Unit, ...]
    """The found set, in the pair's order; empty where there was none."""
    one_minimal: bool
    tests: int
    dsr: float | None
    """Of the found set, on this repetition's own prompts."""
    target: float | None
    """The DSR that satisfied; None where there was nothing to find."""
    reason: str = "done"
    """Why it ended, or why there was nothing to find."""
    chosen: bool = False
    """Is it the choosing of a confidence search alone? Then the set claims nothing."""

    @property
    def counts(self) -> bool:
        """Did it end with a set?"""
        return self.one_minimal or self.chosen

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "kind": self.kind,
            "number": self.number,
            "retain": self.retain,
            "units": [str(unit) for unit in self.units],
            "layers": list(Mask.of(self.units).layers),
            "one_minimal": self.one_minimal,
            "tests": self.tests,
            "dsr": self.dsr,
            "target": self.target,
            "reason": self.reason,
            **({"chosen": True} if self.chosen else {}),
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
    smaller: tuple[Smaller, ...] = ()
    """Sets of fewer units than the search's that reach its target too, measured held out."""

    def ended(self, *kinds: Kind) -> tuple[Repetition, ...]:
        """The repetitions of these kinds (orders and bootstraps by default) with a set."""
        wanted = kinds or REPEATS
        return tuple(r for r in self.repetitions if r.kind in wanted and r.counts)

    @property
    def always(self) -> tuple[Unit, ...]:
        """Units of every set that was found, whatever was repeated."""
        ended = self.ended()
        return tuple(u for u in self.units if ended and all(u in r.units for r in ended))

    @property
    def never(self) -> tuple[Unit, ...]:
        """Units of none of them."""
        return tuple(u for u in self.units if not any(u in r.units for r in self.ended()))

    @property
    def sometimes(self) -> tuple[Unit, ...]:
        """The others."""
        sure = {*self.always, *self.never}
        return tuple(u for u in self.units if u not in sure)

    @property
    def counted(self) -> Kind:
        """The kind that `inclusion` and `jaccard` mean: orders, else resamples where none ended."""
        return "order" if self.ended("order") else "bootstrap"

    @property
    def sorted_away(self) -> int:
        """Orders that were not run, since a prior makes the same search of them."""
        return sum(r.kind == "order" and r.reason == SORTED_AWAY for r in self.repetitions)

    def inclusion(self, kind: Kind | None = None) -> dict[Unit, Rate]:
        """How often each unit was found by one kind of repetition, with Wilson's interval.

        Args:
            kind: `counted` by default; two kinds are never pooled.
        """
        ended = self.ended(kind or self.counted)
        return {u: wilson(sum(u in r.units for r in ended), len(ended)) for u in self.units}

    def sets(self, *kinds: Kind) -> dict[tuple[Unit, ...], int]:
        """The distinct 1-minimal sets with how often each was found, commonest first."""
        return dict(Counter(r.units for r in self.ended(*kinds)).most_common())

    def jaccard(self, kind: Kind | None = None) -> float | None:
        """Mean overlap of two sets of one kind, |both| / |either|; None for fewer than two."""
        sets = [set(r.units) for r in self.ended(kind or self.counted)]
        pairs = [len(a & b) / len(a | b) if a | b else 1.0 for a, b in combinations(sets, 2)]
        return sum(pairs) / len(pairs) if pairs else None

    def seen(self) -> tuple[tuple[str, Mask], ...]:
        """Every set that was found on the search's own prompts, and by which repetition."""
        own = self.ended("order", "retain", "rest")
        return tuple((f"stability, {r.kind} {r.number + 1}", Mask.of(r.units)) for r in own)

    @property
    def alternatives(self) -> tuple[tuple[Unit, ...], ...]:
        """Disjoint sets that satisfy without any unit of the commonest set."""
        return tuple(r.units for r in self.ended("rest"))

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
            "alternatives": [[str(unit) for unit in units] for units in self.alternatives],
            "agreed": {
                name: [str(unit) for unit in getattr(self, name)]
                for name in ("always", "sometimes", "never")
            },
            "jaccard": self.jaccard(),
            "counted": self.counted,
            "apart": {kind: self._apart(kind) for kind in REPEATS},
            "sorted_away": self.sorted_away,
            "smaller": [one.as_dict() for one in self.smaller],
            "sweep": [r.as_dict() for r in self.repetitions if r.kind == "retain"],
            "repetitions": [r.as_dict() for r in self.repetitions],
            "complete": self.complete,
            "seconds": self.seconds,
            "tokens": self.tokens,
        }

    def _apart(self, kind: Kind) -> dict[str, Any]:
        """One kind's counts by itself."""
        return {
            "n": len(self.ended(kind)),
            "inclusion": {str(unit): rate.as_dict() for unit, rate in self.inclusion(kind).items()},
            "jaccard": self.jaccard(kind),
        }


@dataclass(frozen=True, kw_only=True)
class Repeating:
    """How often a search is repeated, and how."""

    orders: int = 10
    """Permutations of the units."""
    bootstraps: int = 10
    """Resamples of the prompts."""
    retains: Sequence[float] = RETAINS
    """Relative targets to sweep, in the units' own order; none where the target is absolute."""
    seed: int = 0
    """Of permutations and resamples."""
    prior: Mapping[Unit, float] | None = None
    """For algorithms that want one."""
    progress: Progress | None = None
    """Told before every repetition."""
    stop: threading.Event | None = None
    """Set it, and the repetitions that ended are returned."""
    kl: Kl | None = None
    """What a mask costs on harmless prompts; needed where the settings limit it."""


def stability(
    split: Workload,
    units: Sequence[Unit],
    algorithm: str,
    settings: SearchRules | None = None,
    **options: Any,
) -> Stability:
    """Search again and again over one memory.

    Args:
        split: The search prompts, with their runner and memory.
        units: What may be transplanted.
        algorithm: A name in `algorithms`.
        settings: The search's own rules; closing checks are left out.
        options: Of `Repeating`.

    Raises:
        SettingError: Nothing to repeat.
    """
    asked = Repeating(**options)
    orders, bootstraps, retains, seed = asked.orders, asked.bootstraps, asked.retains, asked.seed
    prior, progress, stop, kl = asked.prior, asked.progress, asked.stop, asked.kl
    if min(orders, bootstraps) < 0 or not orders + bootstraps + len(retains):
        raise SettingError(f"{orders} orders and {bootstraps} bootstraps; choose 1 or more of one")
    base = settings or SearchRules()
    todo: list[tuple[Kind, int, float]] = [("order", i, base.retain) for i in range(orders)]
    todo += [("bootstrap", i, base.retain) for i in range(bootstraps)]
    if base.target is None:
        todo += [("retain", i, retain) for i, retain in enumerate(retains)]
    many = _Many(split, tuple(units), algorithm, base, seed, prior, stop, kl)
    for at, (kind, number, retain) in enumerate(todo):
        if progress:
            progress(f"{_DOING[kind]}, {at + 1} of {len(todo)} searches", at / len(todo))
        if not many.repeat(kind, number, retain):
            return many.told(complete=False)
    return many.told(complete=many.rest())


class _Many:
    """The repetitions so far."""

    def __init__(
        self,
        split: Workload,
        units: tuple[Unit, ...],
        algorithm: str,
        base: SearchRules,
        seed: int,
        prior: Mapping[Unit, float] | None,
        stop: threading.Event | None,
        kl: Kl | None,
    ) -> None:
        self.kl = kl
        self.split, self.units, self.algorithm, self.base = split, units, algorithm, base
        self.seed, self.prior, self.stop = seed, prior, stop
        self.done: list[Repetition] = []
        self.seen = {self._followed(units)}
        self.seconds, self.tokens = 0.0, 0

    def told(self, complete: bool) -> Stability:
        """The record of what was done."""
        return Stability(
            self.units, tuple(self.done), complete, self.algorithm, self.seconds, self.tokens
        )

    def repeat(self, kind: Kind, number: int, retain: float) -> bool:
        """One more search; False where it was stopped."""
        random, row, asked = Random(f"{kind}/{self.seed}/{number}"), self.units, self.split
        if kind == "order":
            row = tuple(random.sample(row, len(row)))
            if self._sorted_away(row):
                self.done.append(
                    Repetition(kind, number, retain, (), False, 0, None, None, SORTED_AWAY)
                )
                return not (self.stop is not None and self.stop.is_set())
        elif kind == "bootstrap":
            asked = resampled(asked, random.choices(range(asked.prompts), k=asked.prompts))
        return self._search(kind, number, row, asked, _bare(self.base, retain=retain))

    def _followed(self, row: tuple[Unit, ...]) -> tuple[Unit, ...]:
        """The order in which the algorithm takes a row: by its prior, where it follows one."""
        if not self.prior or self.algorithm not in NEED_ONE:
            return row
        return tuple(ranked(row, self.prior))

    def _sorted_away(self, row: tuple[Unit, ...]) -> bool:
        """Is this order, once the prior has sorted it, one that was searched already?"""
        if not self.prior or self.algorithm not in NEED_ONE:
            return False
        followed = self._followed(row)
        known, self.seen = followed in self.seen, self.seen | {followed}
        return known

    def rest(self) -> bool:
        """Search what is left without the commonest set, while it satisfies; False if stopped."""
        told = self.told(complete=True)
        known = told.sets() or told.sets("retain")
        targets = [r.target for r in told.ended("order", "retain") if r.target is not None]
        if not known or not targets:  # a resample's target is its own
            return True
        left, number = without(self.units, next(iter(known))), 0
        while left:
            rules = _bare(self.base, target=targets[0])
            if not self._search("rest", number, left, self.split, rules):
                return False
            if not self.done[-1].one_minimal:
                break
            left, number = without(left, self.done[-1].units), number + 1
        return True

    def _search(
        self, kind: Kind, number: int, row: tuple[Unit, ...], asked: Workload, rules: SearchRules
    ) -> bool:
        if self.stop is not None and self.stop.is_set():
            return False
        driver = Driver(
            algorithms[self.algorithm](seed=self.seed + number, prior=self.prior),
            row,
            asked,
            settings=rules,
            control=StoppedBy(self.stop),
            algorithm=self.algorithm,
            kl=self.kl,
        )
        try:
            report = driver.run()
        except NothingToLocalize as error:  # a resample may hold too few prompts that tell
            empty = Repetition(kind, number, rules.retain, (), False, 0, None, None, str(error))
            self.done.append(empty)
            return True
        finally:
            self.seconds += driver.meter.seconds
            self.tokens += driver.meter.tokens
        if report.stop_reason == "stopped":
            return False
        found, best = set(report.units), report.rates.get("best")
        self.done.append(
            Repetition(
                kind,
                number,
                rules.retain,
                tuple(unit for unit in self.units if unit in found),
                report.one_minimal,
                report.costs.tests,
                best.value if best is not None else None,
                report.target,
                report.stop_reason,
            )
        )
        return True


def _bare(base: SearchRules, **chosen: float) -> SearchRules:
    """The search's rules without the closing checks, which would not change the set."""
    return replace(base, check_supersets=False, full_length=False, **chosen)  # type: ignore[arg-type]
