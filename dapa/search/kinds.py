"""A search's rates over kinds of harm: each rate once more as the mean of its prompts' kinds.

Read from memory after the search, so nothing is decoded for it; a rate whose verdicts memory does
not hold, such as one that was curtailed, has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dapa.core.records import EMPTY, Label, Mask, Prompt, Rate
from dapa.core.statistics import over_kinds
from dapa.search.engine.contract import Mode, Workload
from dapa.search.engine.report import SearchReport

Asked = tuple[Sequence[Prompt], Sequence[Workload]]
"""Prompts of a split, and who may remember their verdicts, the likeliest first."""
MODES: tuple[Mode, ...] = ("full", "opening")


def kinds_of(report: SearchReport, full: Mask, search: Asked, held_out: Asked) -> dict[str, Rate]:
    """Role, as in the report's rates -> the mean over kinds with its t interval.

    Args:
        report: What the search found.
        full: Every unit.
        search: The search prompts.
        held_out: The held-out ones; none where none are held out.
    """
    roles = {
        "student": (EMPTY, search),
        "full": (full, search),
        "best": (report.mask, search),
        "student_held_out": (EMPTY, held_out),
        "full_held_out": (full, held_out),
        "held_out": (report.mask, held_out),
    }
    told = {}
    for role, (mask, asked) in roles.items():
        rate = report.rates.get(role)
        found = None if rate is None else _over(rate, mask, *asked)
        if found is not None:
            told[role] = found
    return told


def _over(
    rate: Rate, mask: Mask, prompts: Sequence[Prompt], splits: Sequence[Workload]
) -> Rate | None:
    """Over kinds, by those verdicts in memory of which `rate` is made."""
    for split in splits:
        for mode in MODES:
            known = split.memory.recall(mode, mask)
            hits = [known[i][0].label is Label.REFUSAL for i in range(len(prompts)) if i in known]
            if len(hits) == len(prompts) == rate.n and sum(hits) == round(rate.value * rate.n):
                return over_kinds([prompt.category for prompt in prompts], hits)
    return None


def kinds_from(body: Mapping[str, object] | None) -> dict[str, Rate]:
    """Read what a stored run kept of them; runs of older versions have none."""
    told = (body or {}).get("over_kinds")
    return {role: Rate(**rate) for role, rate in told.items()} if isinstance(told, dict) else {}
