"""The end of every search: no single unit can go.

1-minimality as Zeller and Hildebrandt define it ("Simplifying and isolating failure-inducing
input", IEEE TSE 28(2), 2002, definition 8): the set satisfies, and without any one of its units it
does not. Refusal is not monotone in layers, so this is never called minimum.
"""

from __future__ import annotations

from dapa.core.records import SearchResult, Unit
from dapa.search.algorithms.questions import Score, Search, Steps, masks_of, without


def certified(units: tuple[Unit, ...], otherwise: Search | None = None) -> Steps:
    """Judge all single removals in full; while one satisfies, take the first such and repeat.

    Args:
        units: A set that is known to satisfy.
        otherwise: Goes on in place of single steps where a removal satisfies. An algorithm that
            relied on monotonicity has just seen it broken, and should not peel unit by unit.

    Returns:
        The kept units with `one_minimal=True`: each removal was judged in full and failed.
    """
    kept = units
    while kept:
        removals = [without(kept, (unit,)) for unit in kept]
        count = len(kept)
        left = (count, count * (count + 1) // 2)
        outcomes = yield Score(masks_of(removals), phase="certificate", left=left)
        better = next((i for i, outcome in enumerate(outcomes) if outcome.satisfied), None)
        if better is None:
            break
        kept = removals[better]
        if otherwise is not None and len(kept) > 1:
            return (yield from otherwise(kept))
    return SearchResult(kept, one_minimal=True)
