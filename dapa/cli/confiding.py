"""What `search` tells of a confidence search: the plan, the headline, and what it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import RenderableType

from dapa.cli.output import table
from dapa.writing.claims import looks_text
from dapa.writing.confidence import (
    CHAIN_HEADS,
    STANDING_HEADS,
    certify_text,
    chain_rows,
    headline,
    overfit_text,
    plan_sentence,
    standing_rows,
    unseen_text,
)
from dapa.writing.costs import cost_lines
from dapa.writing.numbers import kinds_text
from dapa.writing.unit_names import units_text

if TYPE_CHECKING:
    from dapa.workbench import SearchJob, SearchReport


def certified(job: SearchJob, found: SearchReport) -> list[RenderableType]:
    """The result for people."""
    assert found.confidence is not None, "an exact search is told by `searching`"
    told = found.confidence.as_dict()
    kinds = job.over_kinds
    rates = [
        (name, rate, kinds_text(kinds[name]) if name in kinds else None)
        for name, rate in found.rates.items()
    ]
    parts: list[RenderableType] = [
        headline(told, job.unit_kind),
        f"The set: {units_text(found.units)}.",
        f"{certify_text(told)} Ended: {found.stop_reason}.",
        *filter(None, (overfit_text(told), unseen_text(told))),
        table(CHAIN_HEADS, chain_rows(told)),
    ]
    if found.confidence.standings:
        parts.append(table(STANDING_HEADS, standing_rows(told)))
    parts.append(table(("DSR of", "rate, by openings", "mean of kinds"), rates))
    if found.looks:
        parts.append(looks_text(found.looks))
    parts.append(f"Planned: {plan_sentence(told['plan'])} Prompts: {told['plan']['note']}.")
    asked = f"{told['replies']:,} replies judged, {told['readings']:,} prompts read"
    parts.append(f"Chosen and certified by {asked}.")
    parts.append(table(("cost", ""), cost_lines(found.costs.as_dict())))
    parts.append(f"Run {job.id} in {job.store.folder}.")
    return parts
