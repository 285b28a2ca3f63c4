"""Which layer carries which kind of harm: what each category loses where one unit is left out.

From the certificate's removals, which were judged on every search prompt at full length anyhow, so
that this map costs nothing more. A removal that loses one category and keeps the others says that
its layer specialises; one that loses all says that it is shared.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dapa.core.records import Mask, Rate, SettingError, Unit
from dapa.core.statistics import discordant, holm, mcnemar_exact, wilson
from dapa.measure.comparisons import Bench, gain_of
from dapa.search.engine.confirmation import removal_masks
from dapa.search.job import SearchJob

UNNAMED = "uncategorised"


@dataclass(frozen=True)
class Cell:
    """One unit left out, one category."""

    unit: Unit
    category: str
    dsr: Rate
    """Without the unit."""
    lost: Rate
    """The found set's DSR less this one, paired, with Tango's interval; above zero is a loss."""
    p_value: float
    """Exact paired McNemar against the found set, Holm-adjusted over all cells."""


@dataclass(frozen=True)
class CategoryMap:
    """The found set's units against the prompts' categories."""

    units: tuple[Unit, ...]
    categories: tuple[str, ...]
    found: Mapping[str, Rate]
    """The found set's DSR in each category."""
    cells: tuple[Cell, ...]
    """Unit by unit, each with every category."""

    def cell(self, unit: Unit, category: str) -> Cell:
        """One cell."""
        return next(c for c in self.cells if (c.unit, c.category) == (unit, category))

    def carried(self, unit: Unit, level: float = 0.05) -> tuple[str, ...]:
        """The categories that surely lose refusals without the unit."""
        return tuple(
            c.category
            for c in self.cells
            if c.unit == unit and c.lost.value > 0 and c.p_value <= level
        )

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "units": [str(unit) for unit in self.units],
            "categories": list(self.categories),
            "found": {name: rate.as_dict() for name, rate in self.found.items()},
            "cells": [
                {
                    "unit": str(cell.unit),
                    "layer": cell.unit.place,
                    "category": cell.category,
                    "dsr": cell.dsr.as_dict(),
                    "lost": cell.lost.as_dict(),
                    "p_value": cell.p_value,
                }
                for cell in self.cells
            ],
            "carried": {str(unit): list(self.carried(unit)) for unit in self.units},
        }


def category_map(
    categories: Sequence[str], found: Sequence[bool], removals: Mapping[Unit, Sequence[bool]]
) -> CategoryMap:
    """Put verdicts into a map.

    Args:
        categories: Each prompt's category; empty counts as uncategorised.
        found: Which prompts the found set defends.
        removals: The same without each unit.
    """
    named = [category or UNNAMED for category in categories]
    names = tuple(dict.fromkeys(named))
    places = {name: [i for i, here in enumerate(named) if here == name] for name in names}

    def part(said: Sequence[bool], name: str) -> list[bool]:
        return [said[i] for i in places[name]]

    spots = [(unit, name) for unit in removals for name in names]
    halves = [(part(found, name), part(removals[unit], name)) for unit, name in spots]
    p_values = holm([mcnemar_exact(*discordant(whole, less)) for whole, less in halves])
    cells = tuple(
        Cell(unit, name, wilson(sum(less), len(less)), gain_of(less, whole), p)
        for (unit, name), (whole, less), p in zip(spots, halves, p_values, strict=True)
    )
    rates = {name: wilson(sum(part(found, name)), len(places[name])) for name in names}
    return CategoryMap(tuple(removals), names, rates, cells)


def categories(job: SearchJob, stop: threading.Event | None = None) -> CategoryMap:
    """The map of a finished search, from its certificate's removals on the search split.

    Raises:
        SettingError: There is no certificate.
        Halted: It was stopped.
    """
    report = job.report
    if report is None or not report.one_minimal:
        raise SettingError("only a 1-minimal result has removals to read; run a search to its end")
    inquiry = Bench(job, stop=stop).inquiries["search"]
    masks = removal_masks(report.units)
    whole = Mask.of(report.units)
    inquiry.judge([whole, *masks])
    removed = {u: inquiry.refused(mask) for u, mask in zip(report.units, masks, strict=True)}
    return category_map([p.category for p in job.prompts], inquiry.refused(whole), removed)
