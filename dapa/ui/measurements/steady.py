"""Stability and necessity: would the search find it again, and does the teacher need it?"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from dapa.core.records import Rate
from dapa.measure.necessity import Ablation, Necessity
from dapa.search.job import SearchJob
from dapa.search.stability import Repetition, Stability
from dapa.ui.forest import Dot, Line, forest
from dapa.ui.forest import Look as Colour
from dapa.ui.measurements.look import Look, looks
from dapa.ui.parts import esc, names, note, percent, rate, table, title, two
from dapa.ui.tasks import Progress
from dapa.workbench import Workbench
from dapa.writing.sentences import rate_text, unit_name

_MOST_ROWS = 40


def _repeat(bench: Workbench, job: SearchJob, told: Progress, stop: threading.Event) -> Stability:
    return bench.stability(job, progress=told, stop=stop)


def _draw_stability(found: Stability, job: SearchJob) -> str:
    ended = found.ended()
    report = job.report
    mine = set(report.units) if report else set()
    if not ended:
        return note("No repetition ended with a 1-minimal set, so there is nothing to count.")
    often = {unit: value for unit, value in found.inclusion().items() if value.value}
    never = len(found.units) - len(often)
    rows = [
        Line(
            unit_name(unit),
            [Dot(value, "blue" if unit in mine else "grey", "included")],
            [rate(value, with_n=False), "■ in the found set" if unit in mine else "–"],
        )
        for unit, value in list(often.items())[:_MOST_ROWS]
    ]
    head = ("unit", f"how often it is found, 0 to 1, n = {len(ended)} searches", "share", "")
    return (
        f'<p class="finding">{esc(told_stability(found))}</p>'
        f'<div class="two"><div>{forest(head, rows)}'
        f"{note(f'{never} other units were never found.') if never else ''}</div>"
        f"<div>{_sets(found)}{_sweep(found)}</div></div>"
    )


def told_stability(found: Stability) -> str:
    """What the repetitions agree on, in words."""
    ended, sets = found.ended(), found.sets()
    orders, boots = len(found.ended("order")), len(found.ended("bootstrap"))
    n = f"{len(ended)} searches ({orders} other orders, {boots} resampled prompt sets)"
    overlap = found.jaccard()
    if len(sets) == 1:
        head = f"All {n} end with the same set."
    else:
        shared = "" if overlap is None else f"; two of them share {percent(overlap, 0)} on average"
        head = f"{n} end with {len(sets)} different 1-minimal sets{shared}."
    core = [unit for unit, value in found.inclusion().items() if value.value == 1.0]
    inner = f" In all of them: {names(core)}." if core and len(sets) > 1 else ""
    other = found.alternatives
    ways = (
        f" Without the commonest set, {names(other[0])} would do too: refusal sits in more than "
        "one place."
        if other
        else ""
    )
    return head + inner + ways


def _sets(found: Stability) -> str:
    rows = [(names(units), str(count)) for units, count in list(found.sets().items())[:12]]
    more = len(found.sets()) - len(rows)
    rest = note(f"and {more} more, each once or so") if more > 0 else ""
    head = title("Distinct 1-minimal sets")
    return head + table(("set", "times found"), rows, numeric=[1]) + rest


def _sweep(found: Stability) -> str:
    swept = [r for r in found.repetitions if r.kind == "retain"]
    if not swept:
        return ""
    rows = [
        (
            percent(r.retain, 0),
            names(r.units) if r.units else "–",
            "–" if r.dsr is None else two(r.dsr),
            "–" if r.target is None else two(r.target),
            str(r.tests),
            _ended(r),
        )
        for r in swept
    ]
    head = title("The same search to other targets", "Which set keeps how much of the gain?")
    columns = ("gain kept", "set", "DSR", "target", "tests", "ended")
    return head + table(columns, rows, numeric=[0, 2, 3, 4])


def _ended(r: Repetition) -> str:
    return "1-minimal" if r.one_minimal else esc(r.reason)


# -- necessity ----------------------------------------------------------------------------------

_ROLES: dict[str, tuple[str, Colour]] = {
    "teacher": ("the whole teacher", "blue"),
    "found": ("without the found set", "orange"),
    "all": ("without every unit", "orange"),
    "control": ("without as many others", "grey"),
    "single": ("without one of them", "open"),
}


def _swap(bench: Workbench, job: SearchJob, told: Progress, stop: threading.Event) -> Necessity:
    return bench.necessity(job, progress=told, stop=stop)


def _draw_necessity(found: Necessity, job: SearchJob) -> str:
    if not found.ablations:
        return note("Nothing was measured.")
    rows = [
        Line(
            f"{_ROLES[line.role][0]}: {names(line.units)}" if line.units else _ROLES[line.role][0],
            [Dot(line.dsr, _ROLES[line.role][1])],
            [rate(line.dsr), _change(line.change), _p(line.p_value)],
            strong=line.role == "found",
        )
        for line in found.ablations
    ]
    head = ("the teacher", "DSR, 0 to 1", "DSR", "change", "p")
    split = "held-out" if found.held_out else "search"
    return f'<p class="finding">{esc(told_necessity(found))}</p>{forest(head, rows)}' + note(
        f"On {split} prompts, whole replies. Change and p (exact paired McNemar, Holm-adjusted) "
        "are against the whole teacher. Measured only: such a model is never written."
    )


def told_necessity(found: Necessity) -> str:
    """Does the teacher lose its refusals without the found set?"""
    whole, sets = found.of("teacher"), found.of("found")
    if not whole or not sets:
        return "Too little was measured to tell."
    both = f"from {rate_text(whole[0].dsr)} to {rate_text(sets[0].dsr)}"
    if not found.necessary:
        return (
            f"With the student's weights in the found set, the teacher's refusals go {both}: "
            "not shown to be necessary, another part may do the same work."
        )
    controls: Sequence[Ablation] = found.of("control")
    as_much = [c for c in controls if c.dsr.low <= sets[0].dsr.high]
    beside = ""
    if as_much:
        beside = f" {len(as_much)} of {len(controls)} random sets as large do as much."
    elif controls:
        beside = f" None of {len(controls)} random sets as large does as much."
    return f"The found set is necessary: without it the teacher's refusals fall {both}.{beside}"


def _change(change: Rate | None) -> str:
    if change is None:
        return "–"
    low, high = (f"{end:+.2f}".replace("-", "−") for end in (change.low, change.high))
    mean = f"{change.value:+.2f}".replace("-", "−")
    return f'{mean} <span class="interval">[{low}, {high}]</span>'


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "&lt; 0.001" if value < 0.001 else f"{value:.3f}"


looks.add("stability", "Stability")(
    Look(
        "Stability",
        "Would the search find it again?",
        "The same search in other orders, on resampled prompts, to other targets; only searches "
        "that ended 1-minimal count.",
        _repeat,
        _draw_stability,
    )
)
looks.add("necessity", "Necessity")(
    Look(
        "Necessity",
        "Does the teacher need it?",
        "Roles swapped: the student's weights of the found set, put into the teacher.",
        _swap,
        _draw_necessity,
    )
)
