"""How often held-out prompts were looked at: every look lets the next choice lean on them a little.

A look is one job that told figures of any of these prompts on this pair: a sample of a set, or the
set dealt out anew, is no fresh set. The same job again is no new look.
"""

from __future__ import annotations

from collections.abc import Sequence

from dapa.store.database import digest
from dapa.store.runs import Store


def look(store: Store, pair: str, prompts: Sequence[str], who: str) -> int:
    """Count one look and return how many there are by now.

    Args:
        store: Where looks are kept.
        pair: The pair's digest.
        prompts: The held-out prompts' texts, in any order.
        who: Which job looks, such as `search ID`; it counts once.
    """
    store.rate(f"look at {pair}", who, {"prompts": sorted(_marks(prompts))})
    return looks(store, pair, prompts)


def looks(store: Store, pair: str, prompts: Sequence[str]) -> int:
    """How many jobs have told figures of any of these prompts on this pair."""
    marks = _marks(prompts)
    told = store.ratings(f"look at {pair}").items()
    jobs = {who for who, body in told if not marks.isdisjoint(map(str, body.get("prompts") or ()))}
    # stores of older versions know the very set alone
    return len(jobs | store.ratings(f"look {digest(pair, sorted(set(prompts)))}").keys())


def _marks(prompts: Sequence[str]) -> set[str]:
    return {digest(prompt)[:16] for prompt in prompts}
