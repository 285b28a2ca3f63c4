"""Stability: would the search find it again?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapa.core.measurement import Call, Dots, Measurement, Shown, Table, measurements
from dapa.core.settings import Settings, setting
from dapa.workbench.measurements.beside import Beside, Sheet, listed
from dapa.writing.claims import smaller_text
from dapa.writing.numbers import percent
from dapa.writing.unit_names import unit_name, units_text

if TYPE_CHECKING:
    from dapa.search.stability import Kind, Repetition, Stability

_NAMES: dict[Kind, str] = {"order": "other orders", "bootstrap": "resampled prompt sets"}
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
        away = f" {_sorted_away(found)}" if found.sorted_away else ""
        return Shown(
            f"No repetition ended with a 1-minimal set, so there is nothing to count.{away}",
            tuple(tables),
        )
    counts = {kind: len(found.ended(kind)) for kind in _NAMES}
    shares = {kind: found.inclusion(kind) for kind, n in counts.items() if n}
    often = [u for u in found.units if any(rates[u].value for rates in shares.values())]
    included = Table(
        (
            "unit",
            "how often it is found, 0 to 100 %\nfilled: other orders, hollow: resampled prompts",
            *(f"{_NAMES[kind]}\nn = {counts[kind]}" for kind in shares),
            "in the found set",
        ),
        [
            (
                unit_name(unit),
                Dots(tuple((rates[unit], _look(kind, unit in mine), _NAMES[kind])
                           for kind, rates in shares.items())),
                *(rates[unit] for rates in shares.values()),
                unit in mine,
            )
            for unit in often[:_MOST_ROWS]
        ],
    )  # fmt: skip
    sets = list(found.sets().items())
    distinct = Table(
        ("set", *(f"times found\n{_NAMES[kind]}" for kind in shares)),
        [
            (units_text(units), *(found.sets(kind).get(units, 0) for kind in shares))
            for units, _ in sets[:_MOST_SETS]
        ],
        "Distinct chosen sets" if any(r.chosen for r in ended) else "Distinct 1-minimal sets",
    )
    notes = [also] if (also := smaller_text(found.smaller)) else []
    notes.append(f"n = {len(ended)} searches: {_counts(counts)}, never counted as one.")
    if found.sorted_away:
        notes.append(_sorted_away(found))
    if never := len(found.units) - len(often):
        notes.append(
            f"{never} other units were never found." if never > 1 else "One was never found."
        )
    if (more := len(sets) - _MOST_SETS) > 0:
        notes.append(f"Of {len(sets)} sets the {_MOST_SETS} commonest are listed, {more} are not.")
    return Shown(finding(found), (included, distinct, *tables), tuple(notes))


def finding(found: Stability) -> str:
    """What the repetitions agree on, in words."""
    if any(r.chosen for r in found.ended()):
        return chosen(found)
    kinds = [kind for kind in _NAMES if found.ended(kind)]
    sets = found.sets()
    names = [f"{len(found.ended(kind))} {_NAMES[kind]}" for kind in kinds]
    if len(sets) == 1:
        head = f"All {' and all '.join(names)} end with the same set."
    else:
        head = " ".join(map(_of_kind, [found] * len(kinds), kinds, names))
    cores = [{u for u, rate in found.inclusion(kind).items() if rate.value == 1} for kind in kinds]
    core = [unit for unit in found.units if all(unit in one for one in cores)]
    inner = f" In all of them: {units_text(core)}." if core and len(sets) > 1 else ""
    away = f" {_sorted_away(found)}" if found.sorted_away else ""
    other = found.alternatives
    ways = ""
    if other:
        ways = (
            f" Without the commonest set, {units_text(other[0])} would do too: refusal sits in "
            "more than one place."
        )
    elif any(r.kind == "rest" for r in found.repetitions):
        ways = " Without the commonest set, nothing that is left satisfies."
    return head + inner + away + ways


def chosen(found: Stability) -> str:
    """What repeated choosing agrees on: it claims nothing, since nothing was certified."""
    kinds = [kind for kind in _NAMES if found.ended(kind)]
    many = " and ".join(f"{len(found.ended(kind))} {_NAMES[kind]}" for kind in kinds)
    parts = [
        f"{word} {units_text(units)}"
        for word, units in (("always", found.always), ("sometimes", found.sometimes))
        if units
    ]
    never = f"never the other {len(found.never)}" if found.never else ""
    sets = len(found.sets())
    ways = "one set" if sets == 1 else f"{sets} different sets"
    return (
        f"Chosen again in {many}: {'; '.join(filter(None, (*parts, never)))}. They end with {ways}"
        f"{''.join(map(_shared, [found] * len(kinds), kinds))}; nothing was certified anew."
    )


def _shared(found: Stability, kind: Kind) -> str:
    overlap = found.jaccard(kind)
    shown = "" if overlap is None else f"; two {_NAMES[kind]} share {percent(overlap)} on average"
    return shown


def _of_kind(found: Stability, kind: Kind, name: str) -> str:
    """How one kind of repetition ended."""
    count, overlap = len(found.sets(kind)), found.jaccard(kind)
    if count == 1:
        return f"{name} end with one set."
    shared = "" if overlap is None else f"; two of them share {percent(overlap)} on average"
    return f"{name} end with {count} different 1-minimal sets{shared}."


def _counts(counts: Mapping[Kind, int]) -> str:
    return ", ".join(f"{count} {_NAMES[kind]}" for kind, count in counts.items())


def _look(kind: Kind, found: bool) -> str:
    return "open" if kind == "bootstrap" else "blue" if found else "grey"


def _sorted_away(found: Stability) -> str:
    """Orders that are no repetition, said."""
    return (
        f"{found.sorted_away} other orders are not counted: {found.algorithm} sorts the units by "
        "its prior, so they are the same search again."
    )


def _sweep(swept: list[Repetition]) -> Table:
    rows: list[tuple[Any, ...]] = [
        (
            percent(r.retain),
            units_text(r.units) if r.units else None,
            None if r.dsr is None else percent(r.dsr),
            None if r.target is None else percent(r.target),
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
