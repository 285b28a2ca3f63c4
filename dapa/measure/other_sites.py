"""Where else to look: other kinds of site that differ, by their share of the gap budget."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dapa.localize.causes.flips import Effect
from dapa.localize.gap import gap_budget
from dapa.model.decode.openers import NoOpeners
from dapa.model.families import kinds_of
from dapa.model.pair import Pair
from dapa.prompts.format import PromptFormat

_PARTS = {"mlp": "mlp", "gate": "gate", "attention": "attention", "norms": "norms",
          "embeddings": "ends"}  # fmt: skip
"""Kind of unit -> the row of the gap budget that moves the same."""


@dataclass(frozen=True)
class Site:
    """One other kind of site."""

    kind: str
    alone: Effect | None = None
    """What it brings alone, in refusal log-odds; None where that was not measured."""
    share: float | None = None
    """The same as a share of the whole gap between the models; kinds do not add up."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        alone = None if self.alone is None else self.alone.as_dict()
        return {"kind": self.kind, "alone": alone, "share": self.share}


def other_sites(
    pair: Pair,
    kind: str,
    prompts: Sequence[str],
    how: PromptFormat,
    stop: threading.Event | None = None,
) -> tuple[Site, ...]:
    """Other kinds that differ, the largest share of the gap first, unmeasured ones last.

    Args:
        pair: The two models. Without the whole teacher, or an opener of refusals, nothing is
            measured, and the kinds stand in their own order.
        kind: What was asked about, and is left out.
        prompts: Search prompts; a few do.
        how: Their format.
        stop: When set, shares are those of the prompts read by then.
    """
    here = set(kinds_of(kind))
    names = [name for name in _PARTS if name not in here and pair.differs.get(name)]
    if not names or not pair.whole or not prompts:
        return tuple(Site(name) for name in names)
    try:
        found = gap_budget(pair, prompts, how, stop=stop)
    except NoOpeners:
        return tuple(Site(name) for name in names)
    if not found.whole.n:
        return tuple(Site(name) for name in names)
    rows, told = {row.name: row.alone for row in found.rows}, []
    for name in names:
        alone = rows.get(_PARTS[name])
        share = None
        if alone is not None and found.whole.low > 0:
            share = alone.value / found.whole.value
        told.append(Site(name, alone, share))
    return tuple(sorted(told, key=lambda one: -one.alone.value if one.alone else 0.0))
