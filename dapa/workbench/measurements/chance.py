"""Chance: do random sets of the same size refuse as much as the found set?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapa.core.measurement import Call, Dots, Measurement, Shown, Table, measurements
from dapa.core.settings import Settings, setting
from dapa.prompts.settings import OFFERED
from dapa.workbench.measurements.beside import Beside, Sheet, ends, listed, numbers
from dapa.writing.numbers import duration, p_text, rate_text
from dapa.writing.unit_names import units_text

if TYPE_CHECKING:
    from dapa.core.records import Prompt
    from dapa.measure.chance import Chance

_ALPHA = 0.05
_ROWS = 5
"""Random sets that are listed, the best ones; the CSV has all."""


@dataclass(frozen=True, kw_only=True)
class ChanceSettings(Settings):
    """How many random sets, on how many prompts."""

    sets: int = setting(
        100,
        "random sets",
        "Random sets of the same size; all of them where there are fewer.",
        low=100,
        high=100_000,
        told=lambda sets: f"{sets:,} random sets",
    )
    most: int | None = setting(
        None,
        "prompts at most",
        "At most so many held-out prompts, evenly spread.",
        low=1,
        high=1_000_000,
        preset=OFFERED,
        flag="--chance-prompts",
        told=lambda most: f"{most:,} held-out prompts at most" if most else "all held-out prompts",
    )


@dataclass(frozen=True, eq=False)
class Placed(Beside["Chance"]):
    """The found set among random ones."""

    def table(self) -> Sheet:
        """Headers and rows of the CSV: a row a set, the found one first."""
        found = self.found
        head = ("role", "units", *ends("dsr"), *ends("incoherent"))
        rows: list[tuple[Any, ...]] = [
            (role, listed(units), *numbers(rate), *numbers(None))
            for role, units, rate in (
                ("found", found.mask.units, found.found),
                ("student", (), found.student),
                ("full", (), found.full),
            )
        ]
        rows += [
            ("random", listed(d.mask.units), *numbers(d.dsr), *numbers(d.incoherent))
            for d in found.sets
        ]
        return head, rows


def _prompts(job: Any, settings: ChanceSettings) -> list[Prompt]:
    from dapa.search.priors import few

    return few(job.held_out, settings.most or len(job.held_out)) if job.held_out else []


def _measure(call: Call) -> Placed:
    from dapa.measure.chance import chance

    job, settings = call.job, call.settings
    found = chance(
        job,
        _prompts(job, settings),
        settings.sets,
        job.settings.seed,
        progress=call.progress,
        stop=call.stop,
    )
    return Placed.of(call, found)


def cost(job: Any, settings: ChanceSettings) -> str:
    """What it takes, before it starts."""
    from dapa.measure.chance import price

    told = price(job, len(_prompts(job, settings)), settings.sets)
    takes = (
        "this search measured no pace, since its replies came from the store"
        if told.seconds is None
        else f"about {duration(told.seconds)} at this search's pace"
    )
    every = told.sets < settings.sets
    sets = f"All {told.sets:,} other sets" if every else f"{told.sets:,} random sets"
    return (
        f"{sets} x {told.prompts:,} held-out prompts = {told.replies:,} whole "
        f"replies; {takes}. It can be stopped at any time, and goes on from there."
    )


def _describe(record: Placed) -> Shown:
    found = record.found
    if not found.sets:
        return Shown("No random set was judged before it was stopped.")
    best = sorted(found.sets, key=lambda drawn: -drawn.dsr.value)[:_ROWS]
    lines: list[tuple[str, Any, str]] = [
        ("student", found.student, "grey"),
        (f"found set: {units_text(found.mask.units)}", found.found, "blue"),
        ("every searched unit", found.full, "blue"),
        *((f"random: {units_text(drawn.mask.units)}", drawn.dsr, "open") for drawn in best),
    ]
    rows = [(name, Dots(((rate, look, ""),)), rate) for name, rate, look in lines]
    head = ("set", "DSR, 0 to 100 %", "DSR")
    sets = f"{len(found.sets):,} random sets, each different,"
    if found.every:
        sets = f"All {len(found.sets):,} other sets"
    return Shown(
        finding(found),
        (Table(head, rows, strong=frozenset({1})),),
        (
            f"{sets} of {len(found.mask)} of the {found.units} searched units, at full strength "
            f"like the found one, on {found.found.n} held-out prompts, "
            "whole replies. p = (1 + b) / (1 + m): b of m random sets refuse at least as much. "
            f"The table lists the best {len(best)} of them.",
        ),
        warnings=() if found.complete else ("Stopped early: p rests on the sets judged by then.",),
    )


def finding(found: Chance) -> str:
    """Where the found set lies, and what that means."""
    b, m, p = found.at_least, len(found.sets), found.p_value
    start = (
        f"{b} of {m} random sets of {len(found.mask)} units refuse at least as much as the found "
        f"set ({rate_text(found.found)}): p = {p_text(p)}."
    )
    if p <= _ALPHA:
        return f"{start} Where the transplant sits matters: chance seldom finds a set as good."
    if b == 0:
        return (
            f"{start} None does as well, but {m} sets can show no p below {found.least:.3f}: too "
            "few to tell."
        )
    return (
        f"{start} The place is not shown to matter: random sets of this size may do as well, so "
        "nothing here says that refusal sits in the found units (arXiv 2502.11447 finds the same "
        "of other methods)."
    )


def _figures(record: Placed, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures.chance import chance_chart

    return [("DSR of random sets of equal size", chance_chart(record.found, dark))]


def _refuses(job: Any) -> str:
    from dapa.measure.chance import refusal

    return refusal(job)


measurements.add("chance")(
    Measurement(
        "Chance",
        "Would a random set do as well?",
        "Judge random sets of the found set's size by the same oracle: where does it lie among "
        "them?",
        "What chance would give: as many units, drawn at random from the searched ones, on prompts "
        "that chose nothing.",
        "search",
        ChanceSettings,
        _measure,
        _describe,
        _figures,
        refuses=_refuses,
        cost=cost,
    )
)
