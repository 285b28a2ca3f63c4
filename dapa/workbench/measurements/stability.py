"""Stability: would the search find it again?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapa.core.measurement import Call, Dots, Measurement, Shown, Table, measurements
from dapa.core.settings import Settings, setting
from dapa.workbench.measurements.beside import Beside, Sheet, listed
from dapa.writing.sentences import percent, two, unit_name, units_text

if TYPE_CHECKING:
    from dapa.search.stability import Repetition, Stability

_MOST_ROWS = 40
_MOST_SETS = 12


@dataclass(frozen=True, kw_only=True)
class StabilitySettings(Settings):
    """How often the search is repeated."""

    orders: int = setting(
        10,
        "other orders",
        "Permutations of the units.",
        low=0,
        high=10_000,
        told=lambda orders: f"{orders:,} other orders",
    )
    bootstraps: int = setting(
        10,
        "resampled prompt sets",
        "Resamples of the prompts.",
        low=0,
        high=10_000,
        told=lambda bootstraps: f"{bootstraps:,} resampled prompt sets",
    )


@dataclass(frozen=True, eq=False)
class Repeated(Beside["Stability"]):
    """The same search, many times."""

    def table(self) -> Sheet:
        """Headers and rows of the CSV: a row a search."""
        head = ("kind", "number", "retain", "units", "one_minimal", "tests", "dsr", "target", "end")
        rows = [
            (
                r.kind, r.number, r.retain, listed(r.units), r.one_minimal, r.tests, r.dsr,
                r.target, r.reason,
            )
            for r in self.found.repetitions
        ]  # fmt: skip
        return head, rows


def _measure(call: Call) -> Repeated:
    found = call.bench.stability(
        call.job,
        orders=call.settings.orders,
        bootstraps=call.settings.bootstraps,
        progress=call.progress,
        stop=call.stop,
    )
    return Repeated.of(call, found)


def _describe(record: Repeated) -> Shown:
    found, mine = record.found, set(record.units)
    ended, swept = found.ended(), [r for r in found.repetitions if r.kind == "retain"]
    tables = [_sweep(swept)] if swept else []
    if not ended:
        return Shown(
            "No repetition ended with a 1-minimal set, so there is nothing to count.",
            tuple(tables),
        )
    often = [(unit, rate) for unit, rate in found.inclusion().items() if rate.value]
    included = Table(
        ("unit", f"how often it is found, 0 to 1, n = {len(ended)} searches", "share", ""),
        [
            (
                unit_name(unit),
                Dots(((rate, "blue" if unit in mine else "grey", "included"),)),
                rate,
                "■ in the found set" if unit in mine else None,
            )
            for unit, rate in often[:_MOST_ROWS]
        ],
    )
    sets = list(found.sets().items())
    distinct = Table(
        ("set", "times found"),
        [(units_text(units), count) for units, count in sets[:_MOST_SETS]],
        "Distinct 1-minimal sets",
    )
    notes = []
    if never := len(found.units) - len(often):
        notes.append(f"{never} other units were never found.")
    if more := len(sets) - _MOST_SETS if len(sets) > _MOST_SETS else 0:
        notes.append(f"{more} more sets were found, each once or so.")
    return Shown(finding(found), (included, distinct, *tables), tuple(notes))


def finding(found: Stability) -> str:
    """What the repetitions agree on, in words."""
    ended, sets = found.ended(), found.sets()
    orders, boots = len(found.ended("order")), len(found.ended("bootstrap"))
    n = f"{len(ended)} searches ({orders} other orders, {boots} resampled prompt sets)"
    overlap = found.jaccard()
    if len(sets) == 1:
        head = f"All {n} end with the same set."
    else:
        shared = "" if overlap is None else f"; two of them share {percent(overlap)} on average"
        head = f"{n} end with {len(sets)} different 1-minimal sets{shared}."
    core = [unit for unit, value in found.inclusion().items() if value.value == 1.0]
    inner = f" In all of them: {units_text(core)}." if core and len(sets) > 1 else ""
    other = found.alternatives
    ways = ""
    if other:
        ways = (
            f" Without the commonest set, {units_text(other[0])} would do too: refusal sits in "
            "more than one place."
        )
    elif any(r.kind == "rest" for r in found.repetitions):
        ways = " Without the commonest set, nothing that is left satisfies."
    return head + inner + ways


def _sweep(swept: list[Repetition]) -> Table:
    rows: list[tuple[Any, ...]] = [
        (
            percent(r.retain),
            units_text(r.units) if r.units else None,
            None if r.dsr is None else two(r.dsr),
            None if r.target is None else two(r.target),
            r.tests,
            "1-minimal" if r.one_minimal else r.reason,
        )
        for r in swept
    ]
    return Table(
        ("gain kept", "set", "DSR", "target", "tests", "ended"),
        rows,
        "The same search to other targets: which set keeps how much of the gain?",
    )


measurements.add("stability")(
    Measurement(
        "Stability",
        "Would the search find it again?",
        "Search again in other orders, on other prompts, to other targets: how often is each "
        "found?",
        "The same search in other orders, on resampled prompts, to other targets; only searches "
        "that ended 1-minimal count.",
        "search",
        StabilitySettings,
        _measure,
        _describe,
    )
)
