"""Side effects: what the found set costs the student in skill and in harmless requests refused."""

from __future__ import annotations

import threading

from dapa.core.records import SettingError
from dapa.measure.evaluation import MODELS, Evaluation
from dapa.search.job import SearchJob
from dapa.ui.forest import Dot, Line, forest
from dapa.ui.forest import Look as Colour
from dapa.ui.measurements.look import Look, counted, looks
from dapa.ui.parts import esc, note, rate
from dapa.ui.tasks import Progress
from dapa.workbench import Workbench

_COLUMNS = {
    "skill": "skill, exact answers",
    "over_refusal": "refuses harmless twins",
    "borderline": "refuses borderline harmless",
    "incoherent": "incoherent replies",
}
_COLOURS: dict[str, Colour] = {"student": "grey", "patched": "blue", "teacher": "open"}
_MOST = 64
"""Prompts of a set at most."""


def _measure(bench: Workbench, job: SearchJob, told: Progress, stop: threading.Event) -> Evaluation:
    if not job.of(bench.pair):
        raise SettingError("another pair was loaded since this search; load its pair again")
    assert job.report is not None, "looks are offered for finished searches only"
    sets = {
        purpose: prompts[:_MOST]
        for purpose, prompts in bench.evaluation_sets().items()
        if purpose != "dsr"
    }
    return bench.evaluate(
        job.report.mask,
        sets,
        how=job.settings.format(),
        max_new_tokens=job.settings.max_new_tokens,
        progress=counted(told),
        stop=stop,
    )


def _draw(found: Evaluation, job: SearchJob) -> str:
    rows = []
    for column, name in _COLUMNS.items():
        for model in MODELS:
            value = found.rate(model, column)
            if value is not None:
                who = "with the found set" if model == "patched" else model
                dot = Dot(value, _COLOURS[model], who)
                label = f"{name} · {who}"
                rows.append(Line(label, [dot], [rate(value)], strong=model == "patched"))
    if not rows:
        return note("No set with skill or harmless prompts suits this pair; give one in Evaluate.")
    body = forest(("what", "share of replies, 0 to 1", "95 % interval"), rows)
    return f'<p class="finding">{esc(told_effects(found))}</p>{body}'


def told_effects(found: Evaluation) -> str:
    """Which rates changed clearly, and which did not."""
    clear, open_ = [], []
    for column, name in _COLUMNS.items():
        student, patched = found.rate("student", column), found.rate("patched", column)
        if student is None or patched is None:
            continue
        apart = patched.low > student.high or patched.high < student.low
        (clear if apart else open_).append(name)
    if not clear and not open_:
        return "Nothing was measured."
    changed = f"Clearly changed: {', '.join(clear)}." if clear else "Nothing changed clearly."
    same = f" No clear change (the intervals overlap): {', '.join(open_)}." if open_ else ""
    return changed + same


looks.add("skill", "Side effects")(
    Look(
        "Side effects",
        "What does it cost the student?",
        "Skill and over-refusal of student, student with the found set, and teacher.",
        _measure,
        _draw,
    )
)
