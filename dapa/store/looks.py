"""How often a held-out set was looked at: every look lets the next choice lean on it a little.

A look is one job that told figures of these prompts on this pair; the same job again is no new one.
"""

from __future__ import annotations

from collections.abc import Sequence

from dapa.store.database import Store, digest


def look(store: Store, pair: str, prompts: Sequence[str], who: str) -> int:
    """Count one look and return how many there are by now.

    Args:
        store: Where looks are kept.
        pair: The pair's digest.
        prompts: The held-out prompts' texts, in any order.
        who: Which job looks, such as `search ID`; it counts once.
    """
    store.rate(_kind(pair, prompts), who, {})
    return looks(store, pair, prompts)


def looks(store: Store, pair: str, prompts: Sequence[str]) -> int:
    """How many jobs have told figures of these prompts on this pair."""
    return len(store.ratings(_kind(pair, prompts)))


def _kind(pair: str, prompts: Sequence[str]) -> str:
    return f"look {digest(pair, sorted(set(prompts)))}"
