"""Baselines and placebos: what else would have raised refusals, with the same oracle and budget."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from dapa.core.records import Rate
from dapa.measure.baselines import Baselines
from dapa.measure.comparisons import Comparison
from dapa.measure.placebos import Placebos
from dapa.search.job import SearchJob
from dapa.ui.forest import Dot, Line, forest
from dapa.ui.forest import Look as Colour
from dapa.ui.measurements.look import Look, looks
from dapa.ui.parts import esc, note, number, percent, rate, seconds, title, two
from dapa.ui.tasks import Progress
from dapa.workbench import Workbench
from dapa.writing.sentences import rate_text

_BASELINES = 0.75
"""The share of the work that the baselines are; the placebos are the rest."""
_LEVEL = 0.05
_COLOURS: dict[str, Colour] = {
    "found": "blue", "reference": "grey", "baseline": "orange", "placebo": "open",
}  # fmt: skip


def _measure(
    bench: Workbench, job: SearchJob, told: Progress, stop: threading.Event
) -> tuple[Baselines, Placebos | None]:
    found = bench.baselines(
        job, progress=lambda what, share: told(f"baseline: {what}", _BASELINES * share), stop=stop
    )
    if stop.is_set():
        return found, None
    rest = 1 - _BASELINES
    shams = bench.placebos(
        job,
        progress=lambda what, share: told(f"placebo: {what}", _BASELINES + rest * share),
        stop=stop,
    )
    return found, shams


def _draw(record: tuple[Baselines, Placebos | None], job: SearchJob) -> str:
    found, shams = record
    rows = [row for row in found.rows if row.role in ("found", "reference")]
    rows += sorted(
        (row for row in found.rows if row.role == "baseline"), key=lambda row: -_telling(row)
    )
    parts = [
        f'<p class="finding">{esc(verdict(found))}</p>',
        _table(rows),
        note(
            f"Every method could spend {found.tests} tests, as many as the search took. "
            "Squares: held-out prompts; hollow: the search prompts that chose the set. p: exact "
            "paired McNemar against the found set on held-out prompts, Holm-adjusted."
        ),
    ]
    if shams is not None:
        own = [row for row in shams.rows if row.role == "placebo"]
        head = "Placebos: changes as large, in the same place, without the meaning"
        parts.append(title(head, esc(sham_verdict(shams))))
        parts.append(_table(own))
    remarks = [
        f"{esc(row.title)}: {esc(row.note)}"
        for row in (*rows, *(shams.rows if shams else ()))
        if row.note
    ]
    if remarks:
        items = "".join(f"<li>{remark}</li>" for remark in remarks)
        parts.append(
            f'<details class="read"><summary>Remarks on {len(remarks)} rows</summary>'
            f"<ul>{items}</ul></details>"
        )
    return "".join(parts)


def _telling(row: Comparison) -> float:
    best = row.held_out or row.search
    return best.value if best else -1.0


def _table(rows: Sequence[Comparison]) -> str:
    head = (
        "what", "DSR, 0 to 1", _counted("held out", rows), _counted("search", rows), "units",
        "share", _counted("over-refusal", rows), _counted("incoherent", rows), "KL, bits", "p",
        "tests", "tokens", "seconds",
    )  # fmt: skip
    return forest(head, [_line(row) for row in rows], classes="rivals", numeric=range(2, 11))


def _line(row: Comparison) -> Line:
    colour = _COLOURS[row.role]
    dots = [
        Dot(value, "open" if name == "search split" else colour, name)
        for name, value in (("held out", row.held_out), ("search split", row.search))
        if value is not None
    ]
    cells = [
        _short(row.held_out),
        _short(row.search),
        str(len(row.mask)) if row.share else "0",
        "–" if row.share is None else percent(row.share),
        _short(row.over_refusal),
        _short(row.incoherent),
        "–" if row.kl is None else f"{row.kl.value:.3f}",
        "–" if row.p_value is None else _p(row.p_value),
        str(row.spent.tests) if row.spent.tests else "–",
        number(row.spent.tokens) if row.spent.tokens else "–",
        seconds(row.spent.seconds) if row.spent.seconds >= 0.05 else "–",
    ]
    return Line(esc(row.title), dots, cells, strong=row.role == "found")


def _short(value: Rate | None) -> str:
    return "–" if value is None else rate(value, with_n=False)


def _counted(column: str, rows: Sequence[Comparison]) -> str:
    """A column's name with the n that all its rates share."""
    name = {"held out": "held_out", "over-refusal": "over_refusal"}.get(column, column)
    counts = {value.n for row in rows if (value := getattr(row, name)) is not None}
    return f"{column}, n = {counts.pop()}" if len(counts) == 1 else column


def _p(value: float) -> str:
    return "&lt; 0.001" if value < 0.001 else f"{value:.3f}"


def verdict(found: Baselines) -> str:
    """The table in one sentence, hedged where the paired test sees no difference."""
    best = max(
        (r for r in found.rows if r.role == "baseline" and 0 < len(r.mask) <= found.size),
        key=_telling,
        default=None,
    )
    if best is None or (mine := found.row("found")) is None:
        return "Too little was measured to compare."
    ours, theirs = mine.held_out or mine.search, best.held_out or best.search
    if ours is None or theirs is None:
        return "Too little was measured to compare."
    where = "held-out" if mine.held_out else "search"
    both = f"{rate_text(theirs)} against the found set's {rate_text(ours)} on {where} prompts"
    head = f"Of the simpler choices that move no more, the best is “{best.title}”: {both}"
    if best.p_value is None or best.p_value > _LEVEL:
        return f"{head}; no clear difference, so the found set is not shown to be special."
    word = "less" if theirs.value < ours.value else "more"
    return f"{head}; clearly {word}."


def sham_verdict(shams: Placebos) -> str:
    """Do shams raise refusals?"""
    own = [row for row in shams.rows if row.role == "placebo"]
    if not own:
        return "No sham was measured."
    effects = [row.title for row in shams.effects]
    if effects:
        return (
            f"{len(effects)} of {len(own)} raise refusals over the student's: {', '.join(effects)}."
        )
    highest = max((row.gain for row in own if row.gain is not None), key=lambda g: g.high)
    return (
        f"None of {len(own)} raises refusals clearly: the largest gain over the student could be "
        f"{two(highest.high)} at most (95 % intervals)."
    )


def _refuses(job: SearchJob) -> str:
    report: Any = job.report
    return "" if report.need else "nothing was found that could be compared; search again"


looks.add("baselines", "Baselines")(
    Look(
        "Compare baselines",
        "The found set beside everything simpler, and beside shams",
        "Same oracle, same budget of tests, whole replies. A row is one way to change the student.",
        _measure,
        _draw,
        refuses=_refuses,
    )
)
