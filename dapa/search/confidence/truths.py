"""Pairs on paper whose refusal rates are known in closed form, and tables of their verdicts.

Prompt i refuses under mask m when b_i + sum_f phi_f(m) w_f (1 + tau z_if) > 0. The features phi are
single units, products of units (all of them must be there) and random pairs; b_i is how hard the
prompt is and z_if how it weighs feature f. So every claim of a search can be checked against the
population that the prompts were drawn from. For tests, the benchmark and estimates; no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import special

from dapa.core.records import Mask, Unit
from dapa.search.confidence.course import Course, answered, confident
from dapa.search.confidence.plan import CHOOSE, MORE, ClaimKind, plan_of
from dapa.search.confidence.questions import (
    Bools,
    Floats,
    Freeze,
    JudgeMasks,
    Prior,
    Question,
    ReadMasks,
)

KINDS = ("concentrated", "mixed", "spread", "redundant")
"""A few units under an AND; three strong and fifteen weak; twenty-five alike; one of two ANDs."""
STUDENT = 0.05
"""The student's DSR."""
HEARD = 0.4
"""How far the weights that log-odds see are off, in shares of each."""


@dataclass(frozen=True)
class TruthShape:
    """What a truth is drawn from."""

    kind: str
    units: int = 30
    full: float = 0.65
    """DSR of all units."""
    tau: float = 1.5
    """How differently prompts weigh a unit."""
    pairs: float = 0.3
    """How strong random products of two units are, in typical weights."""
    heard: float = HEARD


class Truth:
    """Which units carry refusal, and how."""

    def __init__(self, shape: TruthShape, seed: Sequence[int]) -> None:
        """Draw one."""
        rng = np.random.default_rng(list(seed))
        n, kind = shape.units, shape.kind
        self.shape, self.units = shape, tuple(Unit(layer) for layer in range(n))
        place = [int(p) for p in rng.permutation(n)]
        single = rng.normal(0, 0.004, n)
        products: list[tuple[tuple[int, ...], float]] = []
        self.core: tuple[int, ...] = ()
        """Units without which a concentrated truth refuses as the student does."""
        self.known: tuple[tuple[int, ...], ...] = ()
        """Sets that were planted as sufficient."""
        if kind == "concentrated":
            self.core = tuple(place[: int(rng.integers(3, 6))])
            single[list(self.core)] += 0.06
            products, self.known = [(self.core, 1.0)], (self.core,)
        elif kind == "redundant":
            one, two = tuple(place[:4]), tuple(place[4:8])
            single[[*one, *two]] += 0.03
            products = [(one, 1.0), (two, 1.0), (one + two, -1.0)]
            self.known = (one, two)
        elif kind == "mixed":
            single[place[:3]] += rng.uniform(0.16, 0.24, 3)
            single[place[3:18]] += rng.uniform(0.015, 0.045, 15)
        elif kind == "spread":
            carriers = place[: max(1, round(n * 25 / 30))]
            single[carriers] += rng.uniform(0.03, 0.05, len(carriers))
        else:
            raise ValueError(f"no kind of truth is called {kind}; choose of {', '.join(KINDS)}")
        typical = float(np.abs(single).mean())
        for pair in combinations(range(n), 2):
            if shape.pairs and rng.random() < 0.1:
                products.append((pair, float(rng.normal(0, shape.pairs * typical))))
        self._members = [np.array(group) for group, _ in products]
        base = np.concatenate([single, [weight for _, weight in products]])
        self.tau = np.full(len(base), shape.tau)
        self.tau[n:] /= 2  # how a product weighs varies less from prompt to prompt
        self.middle = float(special.ndtri(STUDENT))
        self.weights = base * self._scale(base)
        self.share = self.weights[:n].copy()
        for group, weight in zip(self._members, self.weights[n:], strict=True):
            self.share[group] += weight / len(group)
        self.heard = self.weights * (1 + shape.heard * rng.normal(size=len(base)))

    def _scale(self, base: Floats) -> float:
        low, high = 0.0, 60.0
        for _ in range(60):
            middle = (low + high) / 2
            self.weights = base * middle
            below = self.rate(range(len(self.units))) < self.shape.full
            low, high = (middle, high) if below else (low, middle)
        return (low + high) / 2

    def features(self, kept: Sequence[int] | range) -> Floats:
        """Phi of a set of units, by their places."""
        on = np.zeros(len(self.units), bool)
        on[list(kept)] = True
        products = [on[group].all() for group in self._members]
        return np.concatenate([on, np.array(products, bool)]).astype(float)

    def rate(self, kept: Sequence[int] | range) -> float:
        """The DSR of the population under a set of units, exact."""
        on = self.features(kept) * self.weights
        spread = math.sqrt(1 + float(((self.tau * on) ** 2).sum()))
        return float(special.ndtr((self.middle + on.sum()) / spread))

    def loss(self, units: Sequence[Unit]) -> float:
        """DSR of all units less that of a set."""
        return self.shape.full - self.rate([unit.layer for unit in units])

    def prior(self, rng: np.random.Generator, noise: float = 0.5) -> Prior:
        """What integrated mask gradients would tell, noisily."""
        n = len(self.units)
        spread = noise * float(np.abs(self.share).mean())
        values = self.share * (1 + noise * rng.normal(size=n)) + rng.normal(0, spread, n)
        return dict(zip(self.units, map(float, values), strict=True))

    def best(self, margin: float) -> int:
        """Size of the smallest known set that loses no more: greedy on the truth, or planted."""
        least = self.shape.full - margin
        every = list(range(len(self.units)))
        starts = [every, *(list(core) for core in self.known if self.rate(core) >= least)]
        sizes = []
        for kept in starts:
            while len(kept) > 1:
                rate, gone = max((self.rate([u for u in kept if u != g]), g) for g in kept)
                if rate < least:
                    break
                kept = [u for u in kept if u != gone]
            sizes.append(len(kept))
        return min(sizes)


class VerdictTable:
    """Prompts drawn from a truth: it answers a confidence search, and counts what is asked."""

    def __init__(self, truth: Truth, prompts: int, rng: np.random.Generator) -> None:
        """Draw so many prompts."""
        self.truth = truth
        self._hard = truth.middle + rng.normal(size=prompts)
        z = 1 + truth.tau * rng.normal(size=(prompts, len(truth.weights)))
        self._noise = rng.normal(0, 0.3, prompts)
        self._weighed, self._heard = z * truth.weights, z * truth.heard
        self._said: dict[Mask, Bools] = {}
        self._odds: dict[Mask, Floats] = {}
        self._asked: dict[Mask, set[int]] = {}
        self._read: dict[Mask, set[int]] = {}
        self.frozen = False

    def __call__(self, question: Question) -> object:
        """Answer."""
        if isinstance(question, Freeze):
            self.frozen = True
            return question.orders
        at = np.array(question.prompts, int)
        seen = self._read if isinstance(question, ReadMasks) else self._asked
        for mask in question.masks:
            seen.setdefault(mask, set()).update(question.prompts)
        if isinstance(question, JudgeMasks):
            return np.array([self._verdicts(mask)[at] for mask in question.masks])
        return np.array([self._log_odds(mask)[at] for mask in question.masks])

    def _verdicts(self, mask: Mask) -> Bools:
        if mask not in self._said:
            on = self.truth.features([unit.layer for unit in mask])
            self._said[mask] = np.asarray(self._hard + self._weighed @ on > 0)
        return self._said[mask]

    def _log_odds(self, mask: Mask) -> Floats:
        if mask not in self._odds:
            on = self.truth.features([unit.layer for unit in mask])
            self._odds[mask] = self._hard + self._noise + self._heard @ on
        return self._odds[mask]

    @property
    def replies(self) -> int:
        """Distinct verdicts asked."""
        return sum(map(len, self._asked.values()))

    @property
    def masks(self) -> int:
        """Distinct masks asked or read."""
        return len(self._asked.keys() | self._read.keys())

    @property
    def readings(self) -> int:
        """Distinct log-odds read."""
        return sum(map(len, self._read.values()))


def searched(
    truth: Truth,
    seed: Sequence[int],
    certify: int = 250,
    claim: ClaimKind = "confidence",
    readable: bool = True,
) -> tuple[Course, VerdictTable]:
    """One confidence search of fresh prompts of a truth, from choosing to the firm units.

    Args:
        truth: What is searched.
        seed: Of prompts and prior.
        certify: Prompts that certify.
        claim: Whole or quick form.
        readable: Are there log-odds?
    """
    rng = np.random.default_rng(list(seed))
    table = VerdictTable(truth, CHOOSE + certify, rng)
    places = tuple(range(CHOOSE + certify))
    more = places[CHOOSE : CHOOSE + min(MORE, max(0, certify - 200))]
    plan = plan_of(len(truth.units), CHOOSE, len(more), certify, 0, claim)
    prior = truth.prior(rng)
    parts = (places[:CHOOSE], more, places[CHOOSE:])
    course = Course(plan, truth.units, prior, *parts, readable=readable)
    answered(confident(course), table)
    return course, table
