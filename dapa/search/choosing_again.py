"""A confidence search's choosing, again and again: in other orders, on resampled prompts.

Nothing is certified here: a second certification on the same prompts would be a look, and choosing
is where two runs part. Every repetition draws on one memory, so that each verdict is paid for once.
"""

from __future__ import annotations

import threading
import time
from random import Random

from dapa.core.records import Unit
from dapa.search.confidence.choose import Choosing
from dapa.search.confidence.questions import Prior
from dapa.search.engine.confident import ConfidenceDriver
from dapa.search.engine.control import Halted
from dapa.search.stability import Kind, Progress, Repetition, Stability

AGAIN = "choosing again"
"""Kind of note in the store."""


def choosing_again(
    driver: ConfidenceDriver,
    prior: Prior,
    orders: int = 10,
    bootstraps: int = 10,
    seed: int = 0,
    stop: threading.Event | None = None,
    progress: Progress | None = None,
) -> Stability:
    """Choose again; the smallest set of each chain counts.

    Args:
        driver: Answers readings and verdicts; not run.
        prior: The search's own ranking, which the resamples follow.
        orders: Random orders in its place.
        bootstraps: Resamples of the choose prompts.
        seed: Of both.
        stop: Set it, and the repetitions that ended are returned.
        progress: Told before every repetition.
    """
    began, done = time.monotonic(), list[Repetition]()
    todo: list[tuple[Kind, int]] = [("order", i) for i in range(orders)]
    todo += [("bootstrap", i) for i in range(bootstraps)]
    driver.begin()

    def told(complete: bool) -> Stability:
        return Stability(
            driver.units,
            tuple(done),
            complete,
            driver.given.plan.claim,
            time.monotonic() - began,
            driver.meter.tokens,
        )

    for at, (kind, number) in enumerate(todo):
        if stop is not None and stop.is_set():
            return told(False)
        if progress:
            progress(f"{kind} {number + 1}", at / len(todo))
        values, choose = _changed(driver, prior, kind, Random(f"{kind}/{seed}/{number}"))
        before = driver.meter.tests
        try:
            found = driver.choose(values, choose)
        except Halted:
            return told(False)
        done.append(_repetition(found, kind, number, driver.meter.tests - before))
    return told(True)


def _changed(
    driver: ConfidenceDriver, prior: Prior, kind: Kind, random: Random
) -> tuple[Prior, tuple[int, ...]]:
    """Another order of the units, or other prompts."""
    choose = driver.given.choose
    if kind == "bootstrap":
        return prior, tuple(random.choices(choose, k=len(choose)))
    row: list[Unit] = random.sample(driver.units, len(driver.units))
    return {unit: float(place) for place, unit in enumerate(row)}, choose


def _repetition(found: Choosing, kind: Kind, number: int, tests: int) -> Repetition:
    last = found.taken[-1]
    target = found.taken[0].rate - found.margin
    return Repetition(
        kind, number, 1.0, last.units, False, tests, last.rate, target, "chosen", chosen=True
    )
