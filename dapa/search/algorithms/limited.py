"""A search that keeps a utility limit: 1-minimal sets, one after the other, until one is cheap.

Large masks miss the limit and small ones miss the target, so a search that asked for both at once
would be led astray. Here every search is for the target alone; a set that costs too much is set
aside, one of its units is barred, and the rest is searched again if it still satisfies (Reiter's
hitting-set tree, Artificial Intelligence 32(1), 1987, best first: the unit is barred whose removal
lowers the KL most).
"""

from __future__ import annotations

from collections.abc import Callable

from dapa.core.records import Mask, SearchResult, Unit
from dapa.search.algorithms.questions import First, Search, Steps, without

Kl = Callable[[Mask], float]
"""KL(student || patched) on harmless prompts, bits per token."""
TRIES = 8
"""1-minimal sets that are weighed at most."""


def within(search: Search, kl: Kl, limit: float, tries: int = TRIES) -> Search:
    """`search`, again and again, until its result's KL is at most `limit`.

    Where no set of those tried keeps the limit, the one of the lowest KL is returned, and the
    reason says so.
    """

    def limited(units: tuple[Unit, ...]) -> Steps:
        todo: list[frozenset[Unit]] = [frozenset()]
        barred, tried = set(todo), 0
        best: tuple[float, SearchResult] | None = None
        while todo and tried < tries:
            bar = todo.pop(0)
            rest = without(units, bar)
            if bar and (not rest or (yield First((Mask.of(rest),))) is None):
                continue
            result: SearchResult = yield from search(rest)
            cost, tried = kl(result.mask), tried + 1
            if best is None or cost < best[0]:
                best = (cost, result)
            if cost <= limit:
                return result
            less = {u: kl(Mask.of(without(result.units, (u,)))) for u in result.units}
            new = [bar | {unit} for unit in sorted(result.units, key=less.__getitem__)]
            todo += [more for more in new if more not in barred]
            barred.update(new)
        assert best is not None, "the first search always ends"
        reason = f"{best[1].reason}; KL {best[0]:.3g} is above the limit {limit:g}"
        return SearchResult(
            best[1].units, best[1].one_minimal, f"{reason} in all {tried} sets tried"
        )

    return limited
