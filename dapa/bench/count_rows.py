"""f: how many tests a search of 32 units makes, against a plain predicate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from statistics import mean

from dapa.bench.extras import picire_tests, there
from dapa.bench.row import BenchRow, absent, alone, share
from dapa.bench.scene import count_tests, draws
from dapa.core.records import Unit
from dapa.search.algorithms import algorithms
from dapa.search.settings import DEFAULT_ALGORITHM

UNITS = tuple(Unit(layer) for layer in range(32))
GOALS = {2: "<= 13.5", 4: "<= 22", 8: "<= 35.5"}
TRIALS = 200
Prior = Callable[[Random, bool], float]
"""(random numbers, is this unit needed?) -> what the prior says of it."""
PRIORS: dict[str, Prior] = {
    "good": lambda random, needed: needed + random.gauss(0, 0.5),
    "misleading": lambda random, needed: -float(needed),
}


def count(name: str, needed: int, *, memo: bool = True, trials: int | None = None) -> float:
    """Mean tests of an algorithm over seeded draws of `needed` units, certificate included."""
    every = draws(UNITS, needed, trials or TRIALS)
    return mean(
        count_tests(algorithms[name](seed=i), UNITS, need, memo) for i, need in enumerate(every)
    )


def count_with_prior(prior: Prior, needed: int, trials: int | None = None) -> float:
    """The same for the weighted search, given what a prior says of each unit."""
    counts = []
    for seed, need in enumerate(draws(UNITS, needed, trials or TRIALS)):
        random = Random(100 * seed + needed + 1)
        told = {unit: prior(random, unit in need) for unit in UNITS}
        counts.append(count_tests(algorithms["weighted"](seed=seed, prior=told), UNITS, need, True))
    return mean(counts)


def rows() -> Iterator[BenchRow]:
    """f1 to f3, then the weighted search by a good and by a misleading prior."""
    for i, (needed, goal) in enumerate(GOALS.items(), start=1):
        plain, kept, complement = (
            count("ddmin", needed, memo=False),
            count("ddmin", needed),
            count("ddmin-complement", needed),
        )
        ours = count(DEFAULT_ALGORITHM, needed)
        what = (
            f"tests of a 32-unit search, {needed} needed, mean of {TRIALS} monotone oracles, "
            f"certificate included ({DEFAULT_ALGORITHM}); ddmin {plain:.0f}, with memo {kept:.0f}, "
            f"complement-first {complement:.0f}"
        )
        row = alone(f"f{i}", what, ours, goal, "tests")
        yield BenchRow(**{**row.as_dict(), "rival": "plain ddmin", "rival_value": plain})
    what = f"tests of a 32-unit search, 4 needed, mean of {TRIALS} monotone oracles"
    if there("picire"):
        every = [picire_tests(UNITS, need) for need in draws(UNITS, 4, TRIALS)]
        ours = count(DEFAULT_ALGORITHM, 4)
        yield share("f-picire", what, ours, "picire, ddmin with cache", mean(every), None, "tests")
    else:
        reason = "picire is not installed"
        yield absent("f-picire", what, "tests", "picire, ddmin with cache", None, reason)
    for needed in GOALS:
        plain = count("bisect", needed)
        good, bad = (count_with_prior(PRIORS[name], needed) for name in ("good", "misleading"))
        what = f"tests of the weighted search, {needed} of 32 needed, by a "
        noisy = "good prior (needed or not, with noise of 0.5), 1-minimal all the same"
        yield share(f"f-good-{needed}", what + noisy, good, "bisect", plain, "<= 0.8", "tests")
        worst = "misleading prior (the needed units last)"
        yield share(f"f-bad-{needed}", what + worst, bad, "bisect", plain, "<= 1.2", "tests")


__all__ = ["GOALS", "count", "count_with_prior", "rows"]
