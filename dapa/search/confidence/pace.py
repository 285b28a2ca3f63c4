"""How long a confidence search will go on: a guess from the stages left and the pace so far."""

from __future__ import annotations

from collections.abc import Sequence

from dapa.core.records import Trial
from dapa.search.confidence.record import ConfidenceRecord, chose_more

LINKS = 12
"""Sets of a chain that is not frozen yet, at most."""
SHARE, LOOKED = 0.6, 0.75
"""Of the sets left, how many are asked before one ends it; of the prompts, how many each takes."""
FLOOR, REMOVAL = 1.2, 0.6
"""Replies of the floor, in certify prompts, and of each removal likewise."""
WHOLE = 200
"""Replies that are judged again by their whole length at the end, at most."""
UNTIMED = ("prior", "screen", "choose")
"""Phases that read prompts too, so that their seconds tell no reply's."""


def replies_left(record: ConfidenceRecord) -> float:
    """Replies to come, as far as the record goes."""
    plan = record.plan
    n = plan.certify - (plan.more if record.step and chose_more(record) else 0)
    if plan.margin is None:
        return float(2 * n)
    links = record.chain[1:]
    over = any(link.state in ("failed", "gave up") for link in links)
    open_ = LINKS if not record.chain else 0 if over else sum(
        link.state == "not asked" for link in links
    )  # fmt: skip
    left = SHARE * open_ * LOOKED * n
    if not record.floors:
        left += FLOOR * n
    if not record.standings:
        left += REMOVAL * n * _size(record)
    return left + n + min(WHOLE, 2 * n)


def _size(record: ConfidenceRecord) -> float:
    """Units of the set at the end: between what passed and what choosing has left."""
    if not record.chain or not record.chosen:
        return record.total / 2
    over = bool(record.floors) or any(link.state in ("failed", "gave up") for link in record.chain)
    passed, left = len(record.units), len(record.chosen[-1].units)
    return passed if over else (passed + left) / 2


def seconds_left(record: ConfidenceRecord, trials: Sequence[Trial]) -> float | None:
    """Seconds to come by the pace of the replies so far; None before any was timed."""
    timed = [one for one in trials if one.phase not in UNTIMED and not one.memo]
    judged = sum(one.outcome.judged for one in timed)
    if not judged:
        return None
    return replies_left(record) * sum(one.seconds for one in timed) / judged
