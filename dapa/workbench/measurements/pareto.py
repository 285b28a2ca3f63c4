"""Pareto: what each size buys, over every set that the search judged in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapa.core.masks import Mask
from dapa.core.measurement import Call, Measurement, Shown, Table, measurements
from dapa.core.settings import Settings, setting
from dapa.workbench.measurements.beside import Beside, Sheet, ends, listed, numbers
from dapa.writing.numbers import percent, plain
from dapa.writing.unit_names import units_text

if TYPE_CHECKING:
    from dapa.search.pareto import Point


@dataclass(frozen=True, kw_only=True)
class ParetoSettings(Settings):
    """Which sets are told."""

    every: bool = setting(
        False,
        "sets off the front too",
        "Show masks off the front too.",
        flag="--all",
        told=lambda every: "every set judged in full" if every else "sets on the front",
    )


@dataclass(frozen=True, eq=False)
class Weighed(Beside["tuple[Point, ...]"]):
    """Every mask that was judged in full."""

    every: bool = False
    """Are those off the front told too?"""

    @property
    def mask(self) -> Mask:
        """The found one."""
        return Mask.of(self.units)

    def body(self) -> dict[str, Any]:
        """The points, smallest first."""
        return {"points": [point.as_dict() for point in self.found]}

    def table(self) -> Sheet:
        """Headers and rows of the CSV: a row a mask, smallest first."""
        head = ("units", "mask", "share", *ends("dsr"), "kl", "phase", "on_front")
        rows = [
            (
                listed(p.mask.units), p.mask.key, p.size, *numbers(p.dsr), p.utility, p.phase,
                p.on_front,
            )
            for p in self.found
        ]  # fmt: skip
        return head, rows


def _measure(call: Call) -> Weighed:
    call.progress("KL on harmless prompts, set by set", 0.0)
    harmless = call.job.settings.harmless
    found = call.bench.pareto(call.job, utility=True, harmless=harmless, stop=call.stop)
    return Weighed.of(call, found, every=call.settings.every)


def _describe(record: Weighed) -> Shown:
    points, every = record.found, record.every
    rows = [
        (
            ("■ " if p.mask == record.mask else "")
            + (units_text(p.mask.units) if p.mask.entries else "the student"),
            percent(p.size, 1),
            p.dsr,
            None if p.utility is None else plain(p.utility),
            p.phase,
            *(["yes" if p.on_front else None] if every else []),
        )
        for p in points
        if every or p.on_front
    ]
    head = (
        "transplanted" if every else "on the front", "share of the parameters", "DSR",
        "KL, bits a token", "judged in", *(["on the front"] if every else []),
    )  # fmt: skip
    n = points[0].dsr.n if points else 0
    front = sum(p.on_front for p in points)
    return Shown(
        finding(points, record.mask),
        (Table(head, rows),),
        (
            f"{len(points)} sets were judged in full on the {n} search prompts that chose them; "
            f"{front} of them are on the front, where nothing beats a set in DSR, size and KL (on "
            "harmless prompts) at once. Curtailed tests have only bounds and do not stand here. "
            "■ the found set.",
        ),
    )


def finding(points: Sequence[Point], mine: Mask) -> str:
    """Where the found set stands."""
    found = next((p for p in points if p.mask == mine), None)
    if found is None:
        return "The found set was not judged in full, so it has no place on the front."
    ahead = [
        p
        for p in points
        if p.size <= found.size and p.dsr.value >= found.dsr.value
        if (p.size, p.dsr.value) != (found.size, found.dsr.value)
    ]
    cost = "" if found.utility is None else f", at a KL of {plain(found.utility)} bits a token"
    if not ahead:
        return (
            f"No set that was judged in full refuses as much ({percent(found.dsr.value)}) with "
            f"fewer parameters than the found one ({percent(found.size, 1)}){cost}."
        )
    best = max(ahead, key=lambda p: (p.dsr.value, -p.size))
    hedge = " (the intervals overlap)" if best.dsr.low <= found.dsr.high else ""
    both = (f"{percent(p.dsr.value)} with {percent(p.size, 1)}" for p in (best, found))
    return (
        f"{units_text(best.mask.units)} refuses as much or more with as little: "
        f"{' against '.join(both)}{hedge}."
    )


def _figures(record: Weighed, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures import pareto_chart

    return [("Share of the parameters against DSR", pareto_chart(record.found, record.mask, dark))]


measurements.add("pareto")(
    Measurement(
        "Size against refusals",
        "What each size buys",
        "Weigh every mask that was judged in full: refusals, size, and KL on harmless prompts.",
        "Every set that was judged in full: share of the parameters against DSR, with intervals; "
        "the shade is what it costs on harmless prompts (KL).",
        "search",
        ParetoSettings,
        _measure,
        _describe,
        _figures,
    )
)
