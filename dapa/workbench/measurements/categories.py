"""Categories: which layer of the found set carries which kind of harm?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapa.core.measurement import Call, Measurement, Shown, Table, measurements
from dapa.core.records import Unit
from dapa.core.settings import Settings
from dapa.workbench.measurements.beside import Beside, Sheet, ends, numbers
from dapa.writing.unit_names import unit_name, units_text

if TYPE_CHECKING:
    from dapa.measure.categories import CategoryMap


@dataclass(frozen=True, eq=False)
class HarmByLayer(Beside["CategoryMap"]):
    """The found set's units against the prompts' categories."""

    def table(self) -> Sheet:
        """Headers and rows of the CSV: a row a unit left out and a category."""
        head = ("without", "category", *ends("dsr"), *ends("lost"), "p_value")
        rows: list[tuple[Any, ...]] = [
            ("", name, *numbers(rate), *numbers(None), None)
            for name, rate in self.found.found.items()
        ]
        rows += [
            (str(c.unit), c.category, *numbers(c.dsr), *numbers(c.lost), c.p_value)
            for c in self.found.cells
        ]
        return head, rows


def _measure(call: Call) -> HarmByLayer:
    call.progress("the found set without each unit", 0.0)
    return HarmByLayer.of(call, call.bench.categories(call.job, call.stop))


def _describe(record: HarmByLayer) -> Shown:
    found = record.found
    rows: list[tuple[Any, ...]] = [
        ("the found set", *(found.found[name] for name in found.categories), None)
    ]
    for unit in found.units:
        cells = (found.cell(unit, name).dsr for name in found.categories)
        carried = ", ".join(found.carried(unit)) or "none"
        rows.append((f"without {unit_name(unit)}", *cells, carried))
    table = Table(
        ("", *found.categories, "clearly lost"),
        rows,
        "DSR of the found set, and of what is left without each unit",
        strong=frozenset([0]),
    )
    return Shown(
        finding(found),
        (table,),
        (
            "On the search prompts, whole replies. Clearly lost: fewer refusals than the found set "
            "(exact paired McNemar, Holm-adjusted over all cells).",
        ),
    )


def finding(found: CategoryMap) -> str:
    """Do layers specialise?"""
    carried = [found.carried(unit) for unit in found.units]
    n = sum(rate.n for rate in found.found.values())
    if not any(carried):
        return (
            f"With {n} prompts in {len(found.categories)} categories, no layer is shown to carry "
            "one kind of harm: no loss is clear after Holm's correction. More prompts would tell."
        )
    alike: dict[tuple[str, ...], list[Unit]] = {}
    for unit, what in zip(found.units, carried, strict=True):
        if what:
            alike.setdefault(tuple(what), []).append(unit)
    some = "; ".join(
        f"{units_text(units)} {'carry' if len(units) > 1 else 'carries'} {', '.join(what)}"
        for what, units in alike.items()
    )
    return f"{some[0].upper()}{some[1:]} (clear after Holm's correction, n = {n} prompts in all)."


def _figures(record: HarmByLayer, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures import category_heatmap

    return [("Refusals lost without each unit, by category", category_heatmap(record.found, dark))]


def _refuses(job: Any) -> str:
    if job.report is not None and job.report.one_minimal:
        return ""
    return "only a 1-minimal result has removals to read; search to the end, without a budget"


measurements.add("categories")(
    Measurement(
        "Harm by layer",
        "Which layer carries which kind of harm",
        "Show which layer carries which kind of harm: what each category loses without it.",
        "A row is the found set without one layer, a column one kind of harm; orange: refusals "
        "lost, with a dot where the loss is not clear.",
        "search",
        Settings,
        _measure,
        _describe,
        _figures,
        refuses=_refuses,
    )
)
