"""A confidence search as HTML: headline, big figures, units, tables; while it runs, its stages.

The headline comes first, the picture (`figures.certified`) stands between it and what is drawn by
`below`. Both are the same for a job and for a stored run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from dapa.core.records import Rate, Unit
from dapa.core.statistics import wilson
from dapa.figures.certified import certified_chart
from dapa.ui import plots
from dapa.ui.forest import Dot, Line, Look, forest
from dapa.ui.parts import THIN, esc, note, rate, table, title, two
from dapa.workbench import ConfidenceRecord, SearchJob, SearchProgress, SearchReport
from dapa.writing.certified import (
    GLOSSARY,
    chosen_text,
    divided_text,
    form_title,
    loss_text,
    offers_text,
    stages,
)
from dapa.writing.confidence import (
    CHAIN_HEADS,
    FORMS,
    certify_text,
    chain_rows,
    headline,
    overfit_text,
    points,
    unseen_text,
)
from dapa.writing.costs import cost_lines
from dapa.writing.sentences import cut_sentence, unit_name

_MARKS = {"firm": "■", "undecided": "◇", "in": "●", "out": ""}
_WORDS = {"firm": "firm", "undecided": "undecided", "in": "in the set", "out": "out"}


def head(report: SearchReport, kind: str, limit: int | None = None, first: str = "") -> str:
    """Title, sentence and big figures.

    Args:
        report: Of a confidence search.
        kind: The kind of site that was searched, or `block`.
        limit: The token limit of its replies, where it is known.
        first: What leads, as HTML: what all orders and resamples agree on, once measured.
    """
    record = report.confidence
    assert record is not None, "only a confidence search is drawn here"
    told = record.as_dict()
    name = "Quick form" if record.plan.claim == "quick" else "Choose freely, certify once"
    end = "" if report.stop_reason == "done" else f" · {esc(report.stop_reason)}"
    many = cut_sentence(report.rates, limit)
    return (
        f"{title(esc(form_title(told, kind)), f'{name}{end}')}"
        f"{note(esc(many), 'warn') if many else ''}{first}"
        f'<p class="finding">{_bold(headline(told, kind))}</p>{_numbers(report)}'
    )


def _bold(text: str) -> str:
    """The form's name stands out."""
    word = next((name for name in FORMS.values() if name in text), None)
    made = esc(text)
    return made.replace(esc(word), f"<b>{esc(word)}</b>", 1) if word else made


def _numbers(report: SearchReport) -> str:
    """Student, set and all units on the prompts that chose nothing; prompts, margin, units."""
    record = report.confidence
    assert record is not None, "only a confidence search is drawn here"
    names = ("student_held_out", "held_out", "full_held_out")
    held = [report.rates.get(name) for name in names]
    where = "prompts that chose nothing"
    if not all(held):
        held = [report.rates.get(name) for name in ("student", "best", "full")]
        where = "prompts that chose it"
    student, found, full = (two(one.value) if one else "–" for one in held)
    n = next((one.n for one in held if one), 0)
    change = record.link.certified.change if record.link and record.link.certified else None
    margin = "none" if record.margin is None else points(record.margin)
    cards = [
        (f"{student} → {found}", "DSR, student → the set"),
        (full, "DSR, all units"),
        *([(f"{100 * change.value:+.1f}".replace("-", "−"), f"points, {_ends(change)}")] if change
          else []),
        (f"{n:,}", where),
        (margin, "margin: the loss that is ruled out" if record.margin else "no claim is made"),
        (
            f"{len(record.units)} of {record.total}",
            f"units in the set · {len(record.firm)} firm, {len(record.undecided)} undecided"
            if record.standings
            else "units in the best guess" if record.form == "unclaimed" else "units in the set",
        ),
    ]  # fmt: skip
    inner = "".join(f"<div><b>{big}</b><span>{esc(small)}</span></div>" for big, small in cards)
    return f'<div class="meter numbers" role="group" aria-label="Figures">{inner}</div>'


def _ends(change: Any) -> str:
    ends = f"[{100 * change.low:+.1f}, {100 * change.high:+.1f}]".replace("-", "−")
    return f"set against all units {ends}"


# -- below the picture ---------------------------------------------------------------------------


def below(report: SearchReport, kind: str) -> str:
    """Units, removals, prompts beside each other, notes, and what is folded."""
    record = report.confidence
    assert record is not None, "only a confidence search is drawn here"
    told = record.as_dict()
    lines = (
        offers_text(told, kind), certify_text(told), overfit_text(told), unseen_text(told),
        chosen_text(told), divided_text(told),
    )  # fmt: skip
    notes = "".join(note(esc(line)) for line in lines if line)
    both = _removals(report), _beside(report)
    tables = f'<div class="two result">{"".join(both)}</div>' if all(both) else "".join(both)
    return f"{units_row(told)}{tables}{_taken_back(report)}{notes}{_folded(report, told)}"


def units_row(told: Any) -> str:
    """Every unit as a cell in the strip's order: firm, undecided, in the set, out."""
    sets = told["chain"] or told["chosen"]
    if not sets:
        return ""
    every = [Unit.parse(name) for name in sets[0]["units"]]
    standing = dict.fromkeys(map(str, every), "out")
    standing |= dict.fromkeys(told["units"], "in")
    standing |= {name: word for word in ("firm", "undecided") for name in told[word]}
    if any(unit.block for unit in every):
        return ""  # too fine for cells; the table names them
    kinds = list(dict.fromkeys(unit.kind for unit in every))
    layers = sorted({unit.layer for unit in every if unit.place is not None})
    there = {(unit.kind, unit.layer): unit for unit in every if unit.place is not None}
    rows = []
    for kind in kinds:
        cells = [_cell(there.get((kind, layer)), layer, standing) for layer in layers]
        if any(cells):
            label = esc(kind) if len(kinds) > 1 else "layer"
            rows.append(f'<div class="strip-row"><span class="kind">{label}</span>'
                        f"{''.join(cell or '<i></i>' for cell in cells)}</div>")  # fmt: skip
    alone = [unit for unit in every if unit.place is None]
    rest = "".join(_cell(unit, unit_name(unit), standing) for unit in alone)
    if rest:
        rows.append(f'<p class="alone">{rest}</p>')
    shown = [word for word in _WORDS if word in standing.values()]
    key = "".join(
        f'<i class="{word}" aria-hidden="true">{_MARKS[word]}</i>{_WORDS[word]}' for word in shown
    )
    line = f'<span class="legend standing">{key}</span>'
    return (
        f'{title("The units, in the strip&#39;s order", line)}<div class="units" tabindex="0" '
        f'style="--n:{max(len(layers), 1)}">{"".join(rows)}</div>'
    )


def _cell(unit: Unit | None, name: Any, standing: dict[str, str]) -> str:
    if unit is None:
        return ""
    word = standing[str(unit)]
    told = f"{unit_name(unit)}: {_WORDS[word]}"
    return (
        f'<span class="{word}" role="img" aria-label="{esc(told)}" title="{esc(told)}">'
        f"{esc(name)}<b>{_MARKS[word]}</b></span>"
    )


def _removals(report: SearchReport) -> str:
    """Each unit left out of the set, against all units less the margin."""
    record = report.confidence
    if record is None or not record.standings or record.margin is None:
        return ""
    lines, most = [], max(one.certified.n for one in record.standings)
    for one in record.standings:
        badge = (
            '<span class="badge yes">■ firm</span>'
            if one.firm
            else '<span class="badge unclear">◇ undecided</span>'
        )
        p = "p < 0.001" if one.p < 0.001 else f"p = {one.p:.3f}"
        look: Look = "orange" if one.firm else "open"
        loss = f"{esc(loss_text(one.certified.change.as_dict()))}, n{THIN}={THIN}{one.certified.n}"
        lines.append(
            Line(
                esc(unit_name(one.unit)),
                [Dot(one.certified.rate, look)],
                [
                    f'<span class="interval">{loss}</span>',
                    f'{badge} <span class="interval">{p}</span>',
                ],
            )
        )
    whole = next(one.certified.whole_rate for one in record.standings if one.certified.n == most)
    aim = whole.value - record.margin
    names = ("the set without", f"DSR; dashed: all units less {points(record.margin)}",
             "against all units", "standing")  # fmt: skip
    return f"<div>{forest(names, lines, aim, 'certificate')}</div>"


def _beside(report: SearchReport) -> str:
    """The set and all units on the prompts that chose, on those that did not, on unseen kinds."""
    record = report.confidence
    assert record is not None, "only a confidence search is drawn here"
    rows = []
    if seen := record.overfit:
        rows += [
            ("prompts that chose it", seen.chosen),
            ("prompts that chose nothing", seen.certified),
        ]
    if new := record.unseen:
        rows.append(("kinds of harm that chose nothing", new.certified))
    lines = [
        Line(
            name,
            [Dot(one.rate, "blue", "the set"), Dot(one.whole_rate, "grey", "all units")],
            [f"<b>{two(one.rate.value)}</b> · {two(one.whole_rate.value)}"
             f'<span class="interval">, n{THIN}={THIN}{one.n}</span>',
             f'<span class="interval">{esc(loss_text(one.change.as_dict()))}</span>'],
        )
        for name, one in rows
    ]  # fmt: skip
    made = forest(("DSR on", "■ the set, ● all units", "set · all", "difference"), lines) if (
        lines
    ) else ""  # fmt: skip
    locked = [(name, report.rates.get(f"{role}locked")) for name, role in
              (("student", "student_"), ("the set", ""), ("all units", "full_"))]  # fmt: skip
    if any(one for _, one in locked):
        made += table(
            ("DSR", "locked away, asked once"), [(name, rate(one)) for name, one in locked]
        )
    return f"<div>{made}</div>" if made else ""


def _taken_back(report: SearchReport) -> str:
    """Replies that open with a refusal and go on to comply."""
    lost = [one for one in report.rechecks if one.role == "best" and one.lost]
    if not lost:
        return ""
    return note(
        f"<b>Refuse, then comply.</b> {lost[0].lost} of {lost[0].rate.n} replies of the set open "
        "with a refusal and go on to comply; the figures above count openings.",
        "warn",
    )


def _folded(report: SearchReport, told: Any) -> str:
    """The words, the chain and the costs, each behind a line."""
    words = "".join(f"<li><b>{esc(name)}.</b> {esc(text)}</li>" for name, text in GLOSSARY)
    made = _fold("In plain words", f"<ul>{words}</ul>")
    rows = [tuple(map(esc, row)) for row in chain_rows(told)]
    if rows:
        made += _fold("Every set of the chain", table(CHAIN_HEADS, rows))
    costs = [(esc(what), esc(much)) for what, much in cost_lines(report.costs.as_dict())]
    return made + _fold("What it cost", table(("cost", ""), costs))


def _fold(name: str, body: str) -> str:
    return f'<details class="read"><summary>{name}</summary>{body}</details>'


def chart(job: SearchJob | None, dark: bool) -> Any:
    """A job's picture for its component, as far as the search is; hidden where there is none."""
    if job is None:
        return gr.update(visible=False, value=None)
    now = job.progress()
    record = job.report.confidence if job.report else now.confidence
    student = now.student
    rates = job.report.rates if job.report else {}
    none = rates.get("student_held_out") or rates.get("student")
    if none is None and student is not None and student.asked:
        none = wilson(student.defended, student.asked)
    return picture(record, none, (job.id, job.origin), dark)


def picture(
    record: ConfidenceRecord | None, student: Rate | None, where: tuple[str, str], dark: bool
) -> Any:
    """The picture for its component; hidden where there is nothing to draw.

    Args:
        record: Finished or not.
        student: DSR of no unit at all.
        where: The run's id, and where its numbers come from.
        dark: Is the page dark?
    """
    if record is None or not record.chosen:
        return gr.update(visible=False, value=None)
    made = certified_chart(record, student, dark)
    return gr.update(visible=True, value=plots.drawn(made, f"search {where[0]}", where[1], dark))


# -- while it runs -------------------------------------------------------------------------------


def running(now: SearchProgress, kind: str, words: str) -> str:
    """The stages of a search under way, each with what it has shown; `words` is the heading."""
    told = now.confidence.as_dict() if now.confidence else None
    judged: Sequence[Any] = now.asking
    asking = ""
    if judged and judged[0].judged < judged[0].asked:
        asking = f"{judged[0].judged} of {judged[0].asked} prompts of this look"
    marks = {"done": "✓", "now": "●", "to come": "○"}
    items = "".join(
        f'<li class="{one.state.replace(" ", "-")}"{_current(one.state)}><b><i aria-hidden="true">'
        f"{marks[one.state]}</i> {esc(one.name)}</b><span>{esc(one.told) or '&nbsp;'}</span></li>"
        for one in stages(told, kind, asking)
    )
    line = "It runs in the server: close this tab, chat or toggle meanwhile; nothing is lost."
    return f'{title(words, line)}<ol class="stages" role="status">{items}</ol>'


def _current(state: str) -> str:
    return ' aria-current="step"' if state == "now" else ""
