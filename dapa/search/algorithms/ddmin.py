"""Delta debugging: cut into chunks, keep what still satisfies, cut finer.

Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", IEEE TSE 28(2), 2002,
figure 5, with `satisfied` in the place of their "test fails". It does not know what a unit is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dapa.core.records import Unit
from dapa.search.algorithms.certificate import certified
from dapa.search.algorithms.questions import First, Search, Steps, algorithms, masks_of, without


def chunks(units: Sequence[Unit], count: int) -> list[tuple[Unit, ...]]:
    """Cut into `count` runs whose lengths differ by at most one, in order."""
    size, rest = divmod(len(units), count)
    starts = [i * size + min(i, rest) for i in range(count + 1)]
    return [tuple(units[a:b]) for a, b in zip(starts, starts[1:], strict=False)]


def _left(count: int) -> tuple[int, int]:
    """Bounds on the tests to come: the certificate at best, |c|^2 + 3|c| at worst (op. cit.)."""
    return count, count * count + 3 * count


def _ask(groups: Sequence[Sequence[Unit]], count: int, granularity: int) -> First:
    return First(masks_of(groups), granularity=granularity, left=_left(count))


def ddmin(units: tuple[Unit, ...]) -> Steps:
    """Classic order: the chunks themselves, then their complements, then twice as many chunks."""
    kept, count = units, 2
    while len(kept) >= 2:
        parts = chunks(kept, count)
        found = yield _ask(parts, len(kept), count)
        if found is not None:
            kept, count = parts[found], 2
            continue
        rests = [without(kept, part) for part in parts]
        # Two chunks are each other's complements: both were asked just now.
        found = (yield _ask(rests, len(kept), count)) if count > 2 else None
        if found is not None:
            kept, count = rests[found], max(count - 1, 2)
        elif count < len(kept):
            count = min(len(kept), 2 * count)
        else:
            break
    return (yield from certified(kept))


def ddmin_complement(units: tuple[Unit, ...]) -> Steps:
    """Complements alone, each round going on behind the chunk that fell.

    A chunk of a few layers hardly ever refuses by itself, so the subset step mostly pays for
    nothing (arXiv 2408.04735 says the same of programs); and a chunk that could not go from more
    cannot go from less if the oracle is monotone, so it waits until the others were tried.
    """
    kept, count, start = units, 2, 0
    while len(kept) >= 2:
        parts = chunks(kept, count)
        order = [*range(start, count), *range(start)]
        rests = [without(kept, parts[i]) for i in order]
        found = yield _ask(rests, len(kept), count)
        if found is not None:
            kept, count = rests[found], max(count - 1, 2)
            start = order[found] % count
        elif count < len(kept):
            count, start = min(len(kept), 2 * count), 0
        else:
            break
    return (yield from certified(kept))


@algorithms.add("ddmin", "Delta debugging (ddmin)")
def _classic(**_: Any) -> Search:
    return ddmin


@algorithms.add("ddmin-complement", "Delta debugging, complements first")
def _complement(**_: Any) -> Search:
    return ddmin_complement
