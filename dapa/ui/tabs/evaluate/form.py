"""What an evaluation asks: the folded settings, own prompt files, further columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from dapa.core.html import Html, html
from dapa.core.records import Mask, SettingError
from dapa.ui import forms, uploads
from dapa.ui.dashboard import Dashboard, guarded, piece
from dapa.ui.parts import exactly, note
from dapa.ui.session import Session
from dapa.ui.tabs.evaluate import judging
from dapa.ui.tabs.evaluate.judging import CLASSIFIER
from dapa.workbench import EvaluationSettings, read_options

_QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": "evaluate"}


_NOT_HERE = {
    "borderline": "its borderline prompts", "skill": "its skill prompts",
    "text": "its text for perplexity", "task_path": "its folder of tasks",
    "task_limit": "its limit of items a task",
}  # fmt: skip
"""Settings that only the command line gives."""


@dataclass(frozen=True)
class EvaluationForm:
    """The components."""

    form: forms.Form[EvaluationSettings]
    checkpoint: judging.CheckpointFields
    harm: gr.Textbox
    """A second axis: a classifier's checkpoint."""
    harmful_classes: gr.Textbox
    harmful: gr.UploadButton
    harmless: gr.UploadButton
    files: gr.HTML
    add: gr.Button
    forget: gr.Button
    columns: gr.HTML
    saved: gr.State
    """Name -> mask's key: further columns."""
    given: gr.State
    """Role -> path of an uploaded file."""

    @property
    def beside(self) -> list[Any]:
        """What `settings_of` takes by position: all that is no field of the settings."""
        return [
            self.given, self.saved, *self.checkpoint.values, self.harm, self.harmful_classes
        ]  # fmt: skip

    @property
    def filling(self) -> list[Any]:
        """The outputs that `filled` gives values to."""
        return [*self.form.parts.values(), *self.beside, self.files, self.columns]

    def filled(self, dashboard: Dashboard, settings: EvaluationSettings) -> list[Any]:
        """What the components hold where these settings were chosen, and what none can hold."""
        left = [name for field, name in _NOT_HERE.items() if getattr(settings, field) is not None]
        if settings.judge not in judging.offered(dashboard):
            left.append(f"the judge {settings.judge}, which this dashboard does not offer")
            settings = replace(settings, judge="rules")
        if settings.harm not in (None, CLASSIFIER):
            left.append(f"its harm judge {settings.harm}")
        both = {"harmful": settings.prompts, "harmless": settings.harmless}
        given = {role: str(path) for role, path in both.items() if path is not None}
        judge = read_options(settings.judge_options) if settings.judge == CLASSIFIER else {}
        harm = read_options(settings.harm_options) if settings.harm == CLASSIFIER else {}
        labels = ", ".join("=".join(pair) for pair in dict(judge.get("labels") or {}).items())
        classes = ", ".join(harm.get("harmful") or ())
        told = ["The prompts are those of the run that was opened."] if given else []
        if left:
            told.append(
                f"Of the run that was opened, this page does not take over {'; '.join(left)}."
            )
        return [
            *self.form.filled(settings), given, dict(settings.saved),
            str(judge.get("checkpoint") or ""), labels, str(harm.get("checkpoint") or ""), classes,
            note(" ".join(told)) if told else html(""), _columns(settings.saved),
        ]  # fmt: skip


def build(dashboard: Dashboard) -> EvaluationForm:
    """The settings, folded into a sentence."""
    offers = {"judge": judging.offered(dashboard)}
    with forms.folded(EvaluationSettings, "eval", offers) as form:
        checkpoint = judging.build("eval-checkpoint")
        with gr.Row():
            harm = gr.Textbox(
                "", label="harm, a second axis beside refusal: a classifier checkpoint",
                placeholder="org/name, or a folder", max_length=1000, elem_id="eval-harm",
            )  # fmt: skip
            harmful_classes = gr.Textbox(
                "", label="which of its classes mean harm", placeholder="CLASS, CLASS",
                max_length=1000, elem_id="eval-harm-classes",
            )  # fmt: skip
        with gr.Row(elem_classes="buttons"):
            harmful, harmless = uploads.buttons("eval")
            add = gr.Button("Add the strip’s layers as a column", elem_classes="plain")
            forget = gr.Button("Bundled prompts, no further column", elem_classes="plain")
        files = piece("", elem_id="eval-own")
        columns = piece("", elem_id="eval-columns")
    return EvaluationForm(
        form, checkpoint, harm, harmful_classes, harmful, harmless, files, add, forget, columns,
        gr.State({}), gr.State({}),
    )  # fmt: skip


def settings_of(
    dashboard: Dashboard,
    parts: forms.Form[EvaluationSettings],
    mask: str,
    beside: tuple[Any, ...],
    values: Mapping[str, Any],
    run: str = "",
) -> EvaluationSettings:
    """Settings from anywhere, checked.

    Args:
        dashboard: Knows which judges are offered.
        parts: The form.
        mask: The strip's, as `Mask.key`.
        beside: Values of `EvaluationForm.beside`.
        values: Of the form's fields, by name.
        run: The search that chose the mask, if one is known to.
    """
    given, saved, checkpoint, labels, harm, harmful = beside
    (judge,), options = judging.chosen(dashboard, [values.get("judge")], checkpoint, labels)
    axis, axis_options = judging.harm(harm, harmful)
    return parts.read(
        {**values, "judge": judge},
        mask=mask,
        run=run,
        saved=dict(saved) if isinstance(saved, dict) else {},
        **uploads.named(given),
        judge_options=options,
        harm=axis,
        harm_options=axis_options,
    )


def wire(dashboard: Dashboard, parts: EvaluationForm, session: gr.State) -> None:
    """Uploads, further columns, and the sentence that follows."""

    @guarded
    def say(*beside: Any, **values: Any) -> Any:
        given, _, checkpoint, _, harm, _ = beside
        named = judging.named(values.get("judge"), checkpoint)
        axis = (judging.CLASSIFIER, (f"checkpoint={harm}",)) if harm else (None, ())
        try:
            told = parts.form.read(
                values, **uploads.named(given), judge_options=named, harm=axis[0],
                harm_options=axis[1],
            )  # fmt: skip
        except SettingError:
            return gr.skip()  # Evaluate will say what is wrong
        return gr.update(label=told.sentence())

    @guarded
    def add(here: Session, saved: Any) -> tuple[dict[str, str], str]:
        if not here.mask.entries:
            raise SettingError("the strip holds no layer; press some, then add them as a column")
        known = dict(saved) if isinstance(saved, dict) else {}
        if here.mask.key not in known.values():
            known[f"mask {len(known) + 1}"] = here.mask.key
        return known, _columns(known)

    @guarded
    def forget() -> tuple[Any, ...]:
        return {}, {}, "", ""

    pressed, out = (parts.harmful, parts.harmless), (parts.given, parts.files)
    remark = " Sets without a file of their own stay out."
    uploads.wire(
        dashboard, pressed, out, parts.form.parts["prompt_column"], "evaluate", remark, **_QUIET
    )
    parts.add.click(
        add, [session, parts.saved], [parts.saved, parts.columns], api_name="evaluate_add", **_QUIET
    )
    parts.forget.click(
        forget, None, [parts.given, parts.saved, parts.files, parts.columns],
        api_name="evaluate_forget", **_QUIET,
    )  # fmt: skip
    changed = [component.change for component in parts.beside]
    said = gr.on(
        [*parts.form.changes, *changed], say, parts.beside,
        inputs_kwargs=dict(parts.form.parts), outputs=parts.form.line,
        api_name="evaluate_say", trigger_mode="always_last", show_progress="hidden",
    )  # fmt: skip
    judging.wire(parts.checkpoint, parts.form.parts["judge"], said, "evaluate")


def _columns(saved: Mapping[str, str]) -> Html:
    """What is measured beside the three, in words."""
    if not saved:
        return html("")
    told = "; ".join(f"{name}: {exactly(Mask.parse(key))}" for name, key in saved.items())
    return note(f"Further columns: {told}.")
