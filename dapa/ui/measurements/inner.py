"""Inside the found set: harm by layer, layers in pairs, and every set by its size."""

from __future__ import annotations

import threading
from itertools import combinations
from typing import Any

import numpy as np

from dapa.core.records import Unit
from dapa.figures import category_heatmap, interaction_heatmap, pareto_chart
from dapa.localize.causes.interaction import Interactions, interactions
from dapa.measure.categories import CategoryMap
from dapa.search.job import SearchJob
from dapa.search.pareto import Point
from dapa.search.priors import few, opening_ids
from dapa.ui.measurements.look import Look, counted, looks
from dapa.ui.parts import esc, names, note, percent, rate, table, two
from dapa.ui.tasks import Progress
from dapa.workbench import Workbench
from dapa.writing.sentences import unit_name

_MOST_UNITS = 16
"""Pairs grow with the square: beyond this many units only the found ones and a few beside them."""
_MOST_PROMPTS = 32


# -- layer x category ---------------------------------------------------------------------------


def _categories(
    bench: Workbench, job: SearchJob, told: Progress, stop: threading.Event
) -> CategoryMap:
    told("the found set without each unit", 0.0)
    return bench.categories(job, stop)


def _draw_categories(found: CategoryMap, job: SearchJob) -> str:
    carried = {unit: found.carried(unit) for unit in found.units}
    rows = [
        (unit_name(unit), esc(", ".join(what)) if what else "no category clearly")
        for unit, what in carried.items()
    ]
    rates = [(esc(name), rate(value)) for name, value in found.found.items()]
    return (
        f'<p class="finding">{esc(told_categories(found))}</p><div class="two">'
        f"{table(('without', 'these lose refusals clearly'), rows)}"
        f"{table(('category', 'DSR of the found set'), rates)}</div>"
    )


def told_categories(found: CategoryMap) -> str:
    """Do layers specialise?"""
    carried = [found.carried(unit) for unit in found.units]
    n = sum(rate.n for rate in found.found.values())
    if not any(carried):
        return (
            f"With {n} prompts in {len(found.categories)} categories, no layer is shown to carry "
            "one kind of harm: no loss is clear after Holm's correction. More prompts would tell."
        )
    some = [
        f"{unit_name(unit)} carries {', '.join(what)}"
        for unit, what in zip(found.units, carried, strict=True)
        if what
    ]
    return f"{'; '.join(some)} (clear after Holm's correction, n = {n} prompts in all)."


def _uncertified(job: SearchJob) -> str:
    if job.report is not None and job.report.one_minimal:
        return ""
    return "only a 1-minimal result has removals to read; search to the end, without a budget"


# -- pairs of units -----------------------------------------------------------------------------


def _interact(
    bench: Workbench, job: SearchJob, told: Progress, stop: threading.Event
) -> Interactions:
    units, texts = paired_units(job), few([p.text for p in job.prompts], _MOST_PROMPTS)
    ids = opening_ids(job.pair, texts, job.settings.format(), units)
    return interactions(job.pair, ids, units, progress=counted(told), stop=stop)


def paired_units(job: SearchJob) -> tuple[Unit, ...]:
    """Every unit where there are few, else the found ones (at most 16)."""
    every = job.units
    if len(every) <= _MOST_UNITS:
        return every
    found = job.report.units if job.report is not None else ()
    return tuple(found[:_MOST_UNITS])


def _draw_interactions(found: Interactions, job: SearchJob) -> str:
    rows = [
        (
            names([found.units[i], found.units[j]]),
            signed(found.values[i, j]),
            f"[{signed(found.low[i, j])}, {signed(found.high[i, j])}]",
            word,
        )
        for i, j, word in _strongest(found)
    ]
    fewer = job.units != found.units
    some = " Only the found units, since pairs grow with the square." if fewer else ""
    return (
        f'<p class="finding">{esc(told_interactions(found))}</p>'
        + table(("pair", "beyond the sum", "95 % interval", "reading"), rows, numeric=[1])
        + note(
            f"In refusal log-odds (natural units), n = {found.n} prompts.{some} Dots in the "
            "picture: the interval includes zero."
        )
    )


def _strongest(found: Interactions, most: int = 8) -> list[tuple[int, int, str]]:
    pairs = sorted(
        combinations(range(len(found.units)), 2), key=lambda ij: -abs(float(found.values[ij]))
    )
    return [(i, j, _reading(found, i, j)) for i, j in pairs[:most]]


def _reading(found: Interactions, i: int, j: int) -> str:
    if not (found.low[i, j] > 0 or found.high[i, j] < 0):
        return "no clear interaction"
    return "more together than apart" if found.values[i, j] > 0 else "less together than apart"


def told_interactions(found: Interactions) -> str:
    """How many pairs do not add up."""
    upper = np.triu_indices(len(found.units), 1)
    low, high = found.low[upper], found.high[upper]
    more, less = int((low > 0).sum()), int((high < 0).sum())
    total = len(low)
    if not total:
        return "One unit has nobody to work with."
    if not more + less:
        return f"None of {total} pairs is shown to do more or less together than apart."
    return (
        f"Of {total} pairs, {more} bring clearly more refusal together than apart and {less} "
        f"clearly less; for {total - more - less} the interval includes zero."
    )


def _lonely(job: SearchJob) -> str:
    return "" if len(paired_units(job)) > 1 else "one unit alone makes no pair; search more units"


# -- size against refusals ----------------------------------------------------------------------


def _front(
    bench: Workbench, job: SearchJob, told: Progress, stop: threading.Event
) -> tuple[Point, ...]:
    told("KL on harmless prompts, set by set", 0.0)
    return bench.pareto(job, utility=True, stop=stop)


def _draw_front(points: tuple[Point, ...], job: SearchJob) -> str:
    front = [point for point in points if point.on_front]
    mine = job.report.mask if job.report is not None else None
    rows = [
        (
            names(p.mask.units) if p.mask.entries else "the student",
            ("■ " if p.mask == mine else "") + percent(p.size),
            rate(p.dsr),
            "–" if p.utility is None else f"{p.utility:.3g}",
        )
        for p in front
    ]
    n = points[0].dsr.n if points else 0
    return (
        f'<p class="finding">{esc(told_front(points, mine))}</p>'
        + table(
            ("on the front", "share of the parameters", "DSR", "KL, bits a token"), rows, [1, 3]
        )
        + note(
            f"{len(points)} sets were judged in full on the {n} search prompts that chose them. "
            "On the front nothing beats a set in DSR, size and KL (on harmless prompts) at once. "
            "Curtailed tests have only bounds and do not stand here. ■ the found set."
        )
    )


def told_front(points: tuple[Point, ...], mine: Any) -> str:
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
    cost = "" if found.utility is None else f", at a KL of {found.utility:.3g} bits a token"
    if not ahead:
        return (
            f"No set that was judged in full refuses as much ({two(found.dsr.value)}) with fewer "
            f"parameters than the found one ({percent(found.size)}){cost}."
        )
    best = max(ahead, key=lambda p: (p.dsr.value, -p.size))
    hedge = " (the intervals overlap)" if best.dsr.low <= found.dsr.high else ""
    both = (f"{two(p.dsr.value)} with {percent(p.size)}" for p in (best, found))
    return (
        f"{names(best.mask.units)} refuses as much or more with as little: "
        f"{' against '.join(both)}{hedge}."
    )


def signed(value: float) -> str:
    """A signed number with a true minus."""
    return f"{value:+.2f}".replace("-", "−")


looks.add("categories", "Harm by layer")(
    Look(
        "Harm by layer",
        "Which layer carries which kind of harm",
        "A row is the found set without one layer, a column one kind of harm; orange: refusals "
        "lost, with a dot where the loss is not clear.",
        _categories,
        _draw_categories,
        lambda found, job, dark: category_heatmap(found, dark),
        refuses=_uncertified,
    )
)
looks.add("interaction", "Layers in pairs")(
    Look(
        "Layers in pairs",
        "Do layers work together?",
        "Two layers' effect on refusal log-odds beyond the sum of each alone; orange: more "
        "together, blue: less.",
        _interact,
        _draw_interactions,
        lambda found, job, dark: interaction_heatmap(found, dark),
        refuses=_lonely,
    )
)
looks.add("pareto", "Size against refusals")(
    Look(
        "Size against refusals",
        "What each size buys",
        "Every set that was judged in full: share of the parameters against DSR, with intervals; "
        "the shade is what it costs on harmless prompts (KL).",
        _front,
        _draw_front,
        lambda points, job, dark: pareto_chart(
            points, job.report.mask if job.report else None, dark
        ),
    )
)
