"""Sets of fewer units that other searches found, held against the result's own target.

They are offered, never chosen: which of them is best on held-out prompts would be a choice on
held-out prompts, so each interval pays for how many were tried.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from threading import Event

from dapa.core.records import Mask
from dapa.core.statistics import wilson
from dapa.search.engine.checked import Smaller
from dapa.search.engine.confirmation import ALPHA, MOST_SMALLER
from dapa.search.engine.contract import Workload
from dapa.search.engine.inquiry import Inquiry


def smaller_sets(
    split: Workload,
    held_out: Workload | None,
    need: int,
    found: Mask,
    seen: Iterable[tuple[str, Mask]],
    offered: Iterable[Smaller] = (),
    stop: Event | None = None,
) -> tuple[Smaller, ...]:
    """Those with fewer units that reach the target, three at most, measured held out.

    Args:
        split: The search prompts; what memory knows costs nothing.
        held_out: Prompts that chose nothing; None where there are none.
        need: Defended search prompts that reach the target.
        found: The result.
        seen: Where a set was seen, and the set.
        offered: What stands beside the result already: not measured again, but tried.
        stop: Set it, and Halted is raised.

    Raises:
        Halted: It was stopped.
    """
    known = tuple(offered)
    before = {one.outcome.mask for one in known}
    fewer = {m: source for source, m in seen if 0 < len(m) < len(found) and m not in before}
    chosen = sorted(fewer, key=lambda mask: (len(mask), mask.key))[:MOST_SMALLER]
    if not chosen:
        return ()
    outcomes = Inquiry(split, "opening", need, stop).judge(chosen)
    kept = [outcome for outcome in outcomes if outcome.satisfied]
    if not kept:
        return ()
    tried, rates = len(kept) + len(known), {}
    if held_out is not None:
        asked = Inquiry(held_out, "full", stop=stop)
        asked.judge([outcome.mask for outcome in kept])
        rates = {
            o.mask: replace(
                wilson(sum(asked.refused(o.mask)), held_out.prompts, 1 - ALPHA / tried),
                cut=asked.rate(o.mask).cut,
            )
            for o in kept
        }
    return tuple(Smaller(o, fewer[o.mask], rates.get(o.mask), tried) for o in kept)
