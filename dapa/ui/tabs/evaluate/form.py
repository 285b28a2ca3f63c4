"""What an evaluation asks: the folded settings, own prompt files, further columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from dapa.core.records import SettingError
from dapa.measure.evaluation import Purpose
from dapa.measure.run_evaluation import EvaluationSettings
from dapa.measure.wraps import wraps
from dapa.model.decode.sampling import MAX_SEED
from dapa.ui.dashboard import Dashboard, guarded, piece, text, whole
from dapa.ui.parts import esc, note
from dapa.ui.session import Session
from dapa.ui.tabs.evaluate import judging

SETS: Mapping[str, tuple[Purpose, ...]] = {
    "harmful, held out": ("dsr",),
    "harmful, search set": ("dsr_search",),
    "harmless twins": ("over_refusal",),
    "borderline harmless": ("borderline",),
    "skill": ("skill",),
}
_USUAL = ["harmful, held out", "harmless twins", "borderline harmless", "skill"]
_TYPES = [".csv", ".tsv", ".jsonl", ".json", ".txt", ".parquet"]
_QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": "evaluate"}


@dataclass(frozen=True)
class Asked:
    """The components."""

    sentence: gr.Accordion
    sets: gr.CheckboxGroup
    wraps: gr.CheckboxGroup
    limit: gr.Number
    tokens: gr.Number
    seed: gr.Number
    judge: gr.Dropdown
    checkpoint: judging.Checkpoint
    more: gr.CheckboxGroup
    tasks: gr.Textbox
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
    def values(self) -> list[Any]:
        """The inputs that shape an evaluation, as `settings_of` takes them."""
        return [
            self.sets, self.wraps, self.limit, self.tokens, self.seed, self.judge, self.more,
            self.given, self.saved, *self.checkpoint.values, self.tasks,
            self.harm, self.harmful_classes,
        ]  # fmt: skip


def build(dashboard: Dashboard) -> Asked:
    """The settings, folded into a sentence."""
    with gr.Accordion(
        _sentence(_USUAL, [], 64, 48, 0, "rules"), open=False, elem_classes="sentence",
        elem_id="eval-settings",
    ) as sentence:  # fmt: skip
        sets = gr.CheckboxGroup(list(SETS), value=_USUAL, label="prompt sets")
        wrapped = gr.CheckboxGroup(
            [(wraps.titles[name], name) for name in wraps], value=[],
            label="the harmful ones again, wrapped",
        )  # fmt: skip
        more = gr.CheckboxGroup(
            [
                ("KL to the student on harmless prompts", "kl"),
                ("perplexity of a text", "text"),
                ("incoherent, too: replies that surprise the student more than its own", "fluency"),
            ],
            value=["kl", "text"], label="measured by likelihood",
        )  # fmt: skip
        with gr.Row():
            limit = gr.Number(64, label="prompts a set at most", minimum=4, precision=0)
            tokens = gr.Number(48, label="most new tokens", minimum=1, maximum=8192, precision=0)
            seed = gr.Number(0, label="seed of the sample", minimum=0, precision=0)
            judge = gr.Dropdown(
                [(words, name) for name, words in judging.offered(dashboard).items()],
                value="rules",
                label="judge",
                elem_id="eval-judge",
            )
        checkpoint = judging.build("eval-checkpoint")
        tasks = gr.Textbox(
            "", label="lm-eval tasks, as in arc_easy, hellaswag (needs the lm_eval package)",
            max_length=500, elem_id="eval-tasks",
        )  # fmt: skip
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
            harmful, harmless = (
                gr.UploadButton(
                    f"Own {role} prompts", file_types=_TYPES, elem_classes="plain",
                    type="filepath", elem_id=f"eval-{role}",
                )
                for role in ("harmful", "harmless")
            )  # fmt: skip
            add = gr.Button("Add the strip’s layers as a column", elem_classes="plain")
            forget = gr.Button("Bundled prompts, no further column", elem_classes="plain")
        files = piece("", elem_id="eval-files")
        columns = piece("", elem_id="eval-columns")
    return Asked(
        sentence, sets, wrapped, limit, tokens, seed, judge, checkpoint, more, tasks, harm,
        harmful_classes, harmful, harmless, files, add, forget, columns, gr.State({}), gr.State({}),
    )  # fmt: skip


def _sentence(
    sets: Any, wrapped: Any, limit: Any, tokens: Any, seed: Any, judge: Any, *rest: Any
) -> str:
    """The settings as one line."""
    asked = ", ".join(sets) if isinstance(sets, list) and sets else "no set"
    again = f" · {len(wrapped)} wraps" if isinstance(wrapped, list) and wrapped else ""
    beside = [*_named(rest[5]), *_harm(rest[6])] if len(rest) > 6 else []
    own = " · own prompts" if rest and any(isinstance(r, dict) and r for r in rest[1:2]) else ""
    return (
        f"{asked}{again}{own} · up to {limit} prompts each · {tokens} tokens · seed {seed} · "
        f"judged by {_who(judge, rest[3:])}{''.join(f' · {task}' for task in beside)} · greedy"
    )


def _who(judge: Any, checkpoint: Any) -> str:
    """The judge's name for the sentence."""
    if judge != judging.CLASSIFIER:
        return str(judge)
    name = str(checkpoint[0] if checkpoint and checkpoint[0] else "").strip().rstrip("/")
    return name.rpartition("/")[2] or "a classifier"


def _harm(checkpoint: Any) -> list[str]:
    """Who tells harm, for the sentence."""
    name = str(checkpoint or "").strip().rstrip("/")
    return [f"harm by {name.rpartition('/')[2]}"] if name else []


def _named(tasks: Any) -> tuple[str, ...]:
    """lm-eval tasks, by comma or space."""
    return tuple(dict.fromkeys(text(tasks or "", "the tasks", 500).replace(",", " ").split()))


def settings_of(
    dashboard: Dashboard, here: Session, *values: Any
) -> tuple[EvaluationSettings, set[Purpose]]:
    """Settings from anywhere, checked, and which purposes are asked."""
    (
        sets,
        wrapped,
        limit,
        tokens,
        seed,
        judge,
        more,
        given,
        saved,
        *checkpoint,
        tasks,
        harm,
        harmful,
    ) = values
    if not isinstance(sets, list) or any(name not in SETS for name in sets):
        raise SettingError(f"prompt sets must be some of {', '.join(SETS)}")
    if not sets:
        raise SettingError("no prompt set is chosen; choose at least one")
    if not isinstance(wrapped, list) or any(name not in wraps for name in wrapped):
        raise SettingError(f"wraps must be some of {', '.join(wraps)}")
    extra = more if isinstance(more, list) else []
    given = given if isinstance(given, dict) else {}
    (name,), options = judging.chosen(dashboard, [judge], *checkpoint)
    axis, axis_options = judging.harm(harm, harmful)
    settings = EvaluationSettings(
        mask=here.mask.key,
        saved=dict(saved) if isinstance(saved, dict) else {},
        prompts=given.get("harmful"),
        harmless=given.get("harmless"),
        prompt_limit=whole(limit, "prompts a set at most", 1, 100_000),
        seed=whole(seed, "seed of the sample", 0, MAX_SEED),
        wraps=tuple(wrapped),
        text=None if "text" in extra else "none",
        kl="kl" in extra,
        fluency="fluency" in extra,
        judge=name,
        judge_options=options,
        tasks=_named(tasks),
        harm=axis,
        harm_options=axis_options,
        max_new_tokens=whole(tokens, "most new tokens", 1, 8192),
    )
    return settings, {purpose for name in sets for purpose in SETS[name]}


def wire(dashboard: Dashboard, parts: Asked, session: gr.State) -> None:
    """Uploads, further columns, and the sentence that follows."""

    @guarded
    def say(*values: Any) -> Any:
        return gr.update(label=_sentence(*values))

    def uploaded(role: str) -> Any:
        @guarded
        def take(path: Any, given: Any) -> tuple[dict[str, str], str]:
            if not isinstance(path, str):
                raise SettingError(
                    "no file arrived; choose a CSV, TSV, JSONL, parquet or text file"
                )
            read = dashboard.workbench.prompts(Path(path), role)
            now = {**(given if isinstance(given, dict) else {}), role: path}
            count = f"{len(read.prompts):,} {role} prompts read from your file."
            return now, note(f"{count} Sets without a file of their own stay out.")

        return take

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

    for role, button in (("harmful", parts.harmful), ("harmless", parts.harmless)):
        button.upload(
            uploaded(role), [button, parts.given], [parts.given, parts.files],
            api_name=f"evaluate_{role}", **_QUIET,
        )  # fmt: skip
    parts.add.click(
        add, [session, parts.saved], [parts.saved, parts.columns], api_name="evaluate_add", **_QUIET
    )
    parts.forget.click(
        forget, None, [parts.given, parts.saved, parts.files, parts.columns],
        api_name="evaluate_forget", **_QUIET,
    )  # fmt: skip
    for i, component in enumerate(parts.values):
        said = component.change(
            say, parts.values, parts.sentence, api_name=f"evaluate_say_{i}",
            trigger_mode="always_last", show_progress="hidden",
        )  # fmt: skip
        if component is parts.judge:
            judging.wire(parts.checkpoint, parts.judge, said, "evaluate")


def _columns(saved: Mapping[str, str]) -> str:
    told = "; ".join(f"{esc(name)}: {esc(key)}" for name, key in saved.items())
    return note(f"Further columns: {told}.")
