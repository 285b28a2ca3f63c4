"""What an evaluation asks: the folded settings, own prompt files, further columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dapa.core.html import Html
from dapa.core.records import SettingError
from dapa.ui import forms, uploads
from dapa.ui.dashboard import Dashboard, guarded, piece
from dapa.ui.parts import note
from dapa.ui.session import Session
from dapa.ui.tabs.evaluate import judging
from dapa.workbench import EvaluationSettings

_QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": "evaluate"}


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
        files = piece("", elem_id="eval-files")
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
    told = "; ".join(f"{name}: {key}" for name, key in saved.items())
    return note(f"Further columns: {told}.")
