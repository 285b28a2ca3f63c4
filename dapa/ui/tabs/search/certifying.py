"""A confidence search as it goes: its stages, its units as they stand, its picture.

The units and the picture are the same for a search under way, a finished one and a stored run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from dapa.core.html import Html, html, joined, when
from dapa.core.records import Rate, Unit
from dapa.core.statistics import wilson
from dapa.figures.certified import certified_chart
from dapa.ui import plots
from dapa.ui.parts import title
from dapa.ui.strip import MANY
from dapa.workbench import ConfidenceRecord, SearchJob, SearchProgress
from dapa.writing.certified import stages
from dapa.writing.unit_names import unit_name

_MARKS = {"firm": "■", "undecided": "◇", "in": "●", "left": "●", "out": "", "gone": ""}
_WORDS = {
    "firm": "firm", "undecided": "undecided", "in": "in the set", "left": "left by the choosing",
    "out": "out", "gone": "gone",
}  # fmt: skip


def running(now: SearchProgress, kind: str, words: str) -> Html:
    """The stages of a search under way, each with what it has shown; `words` is the heading."""
    told = now.confidence.as_dict() if now.confidence else None
    judged: Sequence[Any] = now.asking
    asking = ""
    if judged and judged[0].judged < judged[0].asked:
        asking = f"{judged[0].judged} of {judged[0].asked} prompts of this look"
    marks = {"done": "✓", "now": "●", "to come": "○"}
    items = joined(
        html(
            '<li class="{}"{}><b><i aria-hidden="true">{}</i> {}</b><span>{}</span></li>',
            one.state.replace(" ", "-"), _current(one.state), marks[one.state], one.name,
            one.told or html("&nbsp;"),
        )
        for one in stages(told, kind, asking)
    )  # fmt: skip
    line = "It runs in the server: close this tab, chat or toggle meanwhile; nothing is lost."
    return html('{}<ol class="stages" role="status">{}</ol>', title(words, line), items)


def _current(state: str) -> Html:
    return when(state == "now", ' aria-current="step"')


def units_row(told: Any, choosing: bool = False) -> Html:
    """Every unit as a cell in the strip's order: firm, undecided, in the set, out.

    Args:
        told: A record's JSON form.
        choosing: Has nothing been certified yet? Then what the choosing has left is shown.
    """
    sets = told["chain"] or told["chosen"]
    if not sets:
        return html("")
    every = [Unit.parse(name) for name in sets[0]["units"]]
    standing = dict.fromkeys(map(str, every), "out")
    standing |= dict.fromkeys(told["units"], "in")
    if choosing:  # nothing has passed yet: what the choosing has left
        standing = dict.fromkeys(standing, "gone") | dict.fromkeys(
            told["chosen"][-1]["units"], "left"
        )
    standing |= {name: word for word in ("firm", "undecided") for name in told[word]}
    if any(unit.cut for unit in every):
        return html("")  # too fine for cells; the table names them
    kinds = list(dict.fromkeys(unit.kind for unit in every))
    layers = sorted({unit.layer for unit in every if unit.place is not None})
    there = {(unit.kind, unit.layer): unit for unit in every if unit.place is not None}
    many = " many" if len(layers) > MANY else ""
    rows = []
    for kind in kinds:
        cells = [
            _cell(there.get((kind, layer)), "" if many and layer % 5 else layer, standing)
            for layer in layers
        ]
        if any(cells):
            label = kind if len(kinds) > 1 else "layer"
            row = joined(cell or html("<i></i>") for cell in cells)
            rows.append(
                html('<div class="strip-row"><span class="kind">{}</span>{}</div>', label, row)
            )
    alone = [unit for unit in every if unit.place is None]
    rest = joined(_cell(unit, unit_name(unit), standing) for unit in alone)
    if rest:
        rows.append(html('<p class="alone">{}</p>', rest))
    shown = [word for word in _WORDS if word in standing.values()]
    key = joined(
        html('<i class="{}" aria-hidden="true">{}</i>{}', word, _MARKS[word], _WORDS[word])
        for word in shown
    )
    line = html('<span class="legend standing">{}</span>', key)
    return html(
        '{}<div class="units{}" tabindex="0" style="--n:{}">{}</div>',
        title("The units, in the strip's order", line), many, max(len(layers), 1), joined(rows),
    )  # fmt: skip


def _cell(unit: Unit | None, name: Any, standing: dict[str, str]) -> Html:
    if unit is None:
        return html("")
    word = standing[str(unit)]
    told = f"{unit_name(unit)}: {_WORDS[word]}"
    return html(
        '<span class="{word}" role="img" aria-label="{told}" title="{told}">{name}<b>{mark}</b>'
        "</span>",
        word=word, told=told, name=name, mark=_MARKS[word],
    )  # fmt: skip


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
