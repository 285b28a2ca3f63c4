"""Side effects: what the found set costs the student in skill and in harmless requests refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dapa.core.errors import SettingError
from dapa.core.measurement import Call, Dots, Measurement, Shown, Table, measurements
from dapa.core.rates import Rate
from dapa.workbench.measurements.beside import Beside, MostSettings, Sheet, ends, numbers

if TYPE_CHECKING:
    from dapa.measure.evaluation import Evaluation

_COLUMNS = {
    "skill": "skill, exact answers",
    "over_refusal": "refuses harmless twins",
    "borderline": "refuses borderline harmless",
    "incoherent": "incoherent replies",
}
_LOOKS: dict[str, Literal["blue", "orange", "grey", "open"]] = {
    "student": "grey", "patched": "blue", "teacher": "open",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class SideEffects(Beside["Evaluation"]):
    """Student, student with the found set, and teacher on prompts that ask no harm."""

    def rate(self, model: str, measure: str) -> Rate | None:
        """One cell, as in `Evaluation`."""
        return self.found.rate(model, measure)

    def table(self) -> Sheet:
        """Headers and rows of the CSV: a row a measure and a model."""
        rows = [
            (measure, model, *numbers(rate))
            for measure in _COLUMNS
            for model in self.found.models
            if (rate := self.rate(model, measure)) is not None
        ]
        return ("measure", "model", *ends("rate")), rows


def _measure(call: Call) -> SideEffects:
    from dapa.measure.evaluation_settings import EvaluationSettings

    bench, job = call.bench, call.job
    if not job.of(bench.pair):
        raise SettingError("another pair was loaded since this search; load its pair again")
    asked = EvaluationSettings(
        harmless=job.settings.harmless, prompt_column=job.settings.prompt_column
    )
    sets = {
        purpose: prompts[: call.settings.most]
        for purpose, prompts in bench.asked_sets(asked).items()
        if purpose != "dsr"
    }
    found: Evaluation = bench.evaluate(
        job.report.mask,
        sets,
        how=job.settings.format(),
        max_new_tokens=job.settings.max_new_tokens,
        progress=call.counted("replies"),
        stop=call.stop,
    )
    return SideEffects.of(call, found)


def _describe(record: SideEffects) -> Shown:
    rows: list[tuple[Any, ...]] = []
    strong = []
    for column, name in _COLUMNS.items():
        for model in record.found.models:
            value = record.rate(model, column)
            if value is None:
                continue
            who = "with the found set" if model == "patched" else model
            if model == "patched":
                strong.append(len(rows))
            rows.append((f"{name} · {who}", Dots(((value, _LOOKS[model], who),)), value))
    if not rows:
        return Shown("No set with skill or harmless prompts suits this pair; give one in Evaluate.")
    head = ("what", "share of replies, 0 to 100 %", "95 % interval")
    return Shown(finding(record), (Table(head, rows, strong=frozenset(strong)),))


def finding(record: SideEffects) -> str:
    """Which rates changed clearly, and which did not."""
    clear: list[str] = []
    open_: list[str] = []
    for column, name in _COLUMNS.items():
        student, patched = record.rate("student", column), record.rate("patched", column)
        if student is None or patched is None:
            continue
        apart = patched.low > student.high or patched.high < student.low
        (clear if apart else open_).append(name)
    if not clear and not open_:
        return "Nothing was measured."
    same = f"No clear change (the intervals overlap): {'; '.join(open_)}." if open_ else ""
    changed = f"Clearly changed: {'; '.join(clear)}." if clear else ""
    return " ".join(filter(None, (changed, same)))


measurements.add("skill")(
    Measurement(
        "Side effects",
        "What does it cost the student?",
        "Ask skill and harmless prompts: what does the found set cost the student?",
        "Skill and over-refusal of student, student with the found set, and teacher.",
        "search",
        MostSettings,
        _measure,
        _describe,
        command="side-effects",
    )
)
