"""Layers in pairs: do two units of a searched pair do more together than apart?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from dapa.core.masks import Unit
from dapa.core.measurement import Call, Interval, Measurement, Shown, Table, measurements
from dapa.workbench.measurements.beside import Beside, MostSettings, Sheet
from dapa.writing.unit_names import units_text

if TYPE_CHECKING:
    from dapa.localize.causes.interaction import Interactions

_MOST_UNITS = 16
"""Pairs grow with the square: beyond this many units only the found ones."""
_ROWS = 8


@dataclass(frozen=True, eq=False)
class Paired(Beside["Interactions"]):
    """Each two units' effect beyond the sum of each alone."""

    fewer: bool = False
    """Were only the found units paired?"""

    def table(self) -> Sheet:
        """Headers and rows of the CSV: a row a pair of units."""
        return self.found.table()


def _measure(call: Call) -> Paired:
    from dapa.localize.causes.interaction import interactions
    from dapa.search.priors import few, opening_ids

    job, most = call.job, call.settings.most
    units, texts = paired_units(job), [prompt.text for prompt in job.prompts]
    texts = few(texts, most or len(texts))
    ids = opening_ids(job.pair, texts, job.settings.format(), units)
    found = interactions(job.pair, ids, units, progress=call.counted("prefills"), stop=call.stop)
    return Paired.of(call, found, fewer=job.units != units)


def paired_units(job: Any) -> tuple[Unit, ...]:
    """Every unit where there are few, else the found ones (at most 16)."""
    every: tuple[Unit, ...] = job.units
    if len(every) <= _MOST_UNITS:
        return every
    found = job.report.units if job.report is not None else ()
    return tuple(found[:_MOST_UNITS])


def _describe(record: Paired) -> Shown:
    found = record.found
    places = sorted(
        combinations(range(len(found.units)), 2), key=lambda ij: -abs(float(found.values[ij]))
    )
    rows = [
        (
            units_text([found.units[i], found.units[j]]),
            Interval(float(found.values[i, j]), float(found.low[i, j]), float(found.high[i, j])),
            _reading(found, i, j),
        )
        for i, j in places[:_ROWS]
    ]
    some = " Only the found units, since pairs grow with the square." if record.fewer else ""
    return Shown(
        finding(found),
        (Table(("pair", "beyond the sum, 95 % interval", "reading"), rows),),
        (
            f"In refusal log-odds (natural units), n = {found.n} prompts.{some} Dots in the "
            "picture: the interval includes zero.",
        ),
    )


def _reading(found: Interactions, i: int, j: int) -> str:
    if not (found.low[i, j] > 0 or found.high[i, j] < 0):
        return "no clear interaction"
    return "more together than apart" if found.values[i, j] > 0 else "less together than apart"


def finding(found: Interactions) -> str:
    """How many pairs do not add up."""
    places = list(combinations(range(len(found.units)), 2))
    more = sum(bool(found.low[place] > 0) for place in places)
    less = sum(bool(found.high[place] < 0) for place in places)
    total = len(places)
    if not total:
        return "One unit has nobody to work with."
    if not more + less:
        return f"None of {total} pairs is shown to do more or less together than apart."
    return (
        f"Of {total} pairs, {more} bring clearly more refusal together than apart and {less} "
        f"clearly less; for {total - more - less} the interval includes zero."
    )


def _figures(record: Paired, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures import interaction_heatmap

    return [
        (
            "Two units together, beyond the sum of each alone",
            interaction_heatmap(record.found, dark),
        )
    ]


def _lonely(job: Any) -> str:
    return "" if len(paired_units(job)) > 1 else "one unit alone makes no pair; search more units"


measurements.add("found-pairs")(
    Measurement(
        "Layers in pairs",
        "Do layers work together?",
        "Pair the units that a search could move: which two do more together than apart?",
        "Two layers' effect on refusal log-odds beyond the sum of each alone; blue: more "
        "together, orange: less.",
        "search",
        MostSettings,
        _measure,
        _describe,
        _figures,
        refuses=_lonely,
        command="-",  # `interaction` measures the pair's units, or any that are named
    )
)
