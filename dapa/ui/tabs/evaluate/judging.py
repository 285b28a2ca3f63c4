"""Who judges, as a screen asks for it: names, and for a classifier its checkpoint and classes.

A visitor names judges and gives a checkpoint. The address of an endpoint is never a visitor's to
give: a judge that asks one is offered only where whoever started the program named it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dapa.core.html import Html, html, joined
from dapa.core.records import SettingError
from dapa.ui.dashboard import Dashboard, guarded, one_of, piece, text
from dapa.ui.parts import badge, note
from dapa.workbench import classes_of, judges, mapping, read_options, refuse_other_classes

CLASSIFIER = "classifier"
_TITLES = {CLASSIFIER: "a classifier checkpoint"}
"""What a screen calls a judge otherwise than the table of judges does."""
_ASKING = ("endpoint", "two-stage")
_HIDDEN = ("opening",)
"""A search's own: it judges how a reply begins."""
_LINE = (
    "A text-classification checkpoint, such as NousResearch/Minos-v1; its files are read when it "
    "is asked."
)
_QUIET: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last"}


@dataclass(frozen=True)
class CheckpointFields:
    """The fields that a classifier needs; shown only where one is chosen."""

    box: gr.Column
    name: gr.Textbox
    labels: gr.Textbox
    classes: gr.HTML

    @property
    def values(self) -> list[Any]:
        """As `chosen` takes them."""
        return [self.name, self.labels]


def offered(dashboard: Dashboard) -> dict[str, str]:
    """Name -> title of the judges that a visitor may choose; the rules first."""
    able = [name for name in judges if name not in (*_HIDDEN, *_ASKING)]
    able += _ASKING if dashboard.endpoint else ()
    titles = {name: _TITLES.get(name, judges.titles[name]) for name in able}
    first = {name: titles.pop(name) for name in ("rules", "released")}
    return {**first, **titles}


def build(elem_id: str) -> CheckpointFields:
    """A row of two fields and a line that says what the checkpoint's classes mean."""
    with gr.Column(visible=False, elem_id=elem_id) as box:
        with gr.Row():
            name = gr.Textbox(
                "", label="classifier checkpoint", placeholder="org/name, or a folder",
                max_length=1000, max_lines=1,
            )  # fmt: skip
            labels = gr.Textbox(
                "", label="what its classes mean",
                placeholder="CLASS=refusal, CLASS=compliance; empty where their names say it",
                max_length=1000, max_lines=1,
            )  # fmt: skip
        classes = piece(note(_LINE), elem_id=f"{elem_id}-classes")
    return CheckpointFields(box, name, labels, classes)


def wire(parts: CheckpointFields, judge: Any, chosen: Any, api_name: str) -> None:
    """The fields come and go with the choice, and the line follows what stands in them.

    `chosen` is an event behind a change of `judge`: see tests/test_events.py.
    """

    @guarded
    def show(names: Any) -> Any:
        return gr.update(visible=CLASSIFIER in (names if isinstance(names, list) else [names]))

    @guarded
    def say(name: Any, labels: Any) -> Html:
        """What each class means, or what is missing; a hub id costs its config file."""
        name = text(name or "", "the checkpoint", 1000).strip()
        if not name:
            return note(_LINE)
        try:
            classes = _meaning(name, text(labels or "", "the classes", 1000))
            return note(html("Its classes: {}.", classes))
        except SettingError as error:
            return note(str(error), "warn")

    chosen.then(show, judge, parts.box, api_name=f"{api_name}_judge", **_QUIET)
    for field, event in (("checkpoint", parts.name), ("labels", parts.labels)):
        event.blur(say, parts.values, parts.classes, api_name=f"{api_name}_{field}", **_QUIET)
        event.submit(
            say, parts.values, parts.classes, api_name=f"{api_name}_{field}_enter", **_QUIET
        )


def _meaning(checkpoint: str, labels: str) -> Html:
    """Each class with its verdict's badge; SettingError where one has none."""
    classes = classes_of(checkpoint)
    given: Mapping[str, str] = read_options([f"labels={labels}"])["labels"]
    verdicts = mapping(classes, given)
    pairs = zip(classes, verdicts, strict=True)
    return joined((html("{} {}", name, badge(verdict)) for name, verdict in pairs), ", ")


def chosen(
    dashboard: Dashboard, names: Sequence[Any], checkpoint: Any, labels: Any
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(judges, their options as KEY=VALUE) from anywhere, checked before anything is asked.

    Raises:
        SettingError: No such judge, or a checkpoint whose classes are not known.
    """
    allowed = offered(dashboard)
    wanted = tuple(dict.fromkeys(one_of(name, "judge", allowed) for name in names))
    options: list[str] = []
    if CLASSIFIER in wanted:
        name = text(checkpoint or "", "the checkpoint", 1000).strip()
        mapped = text(labels or "", "the classes", 1000).strip()
        if not name:
            raise SettingError(
                "no checkpoint is named for the classifier; give a hub id or a folder, such as "
                "NousResearch/Minos-v1"
            )
        _meaning(name, mapped)
        options += [f"checkpoint={name}", *([f"labels={mapped}"] if mapped else [])]
    if any(name in _ASKING for name in wanted):
        options += dashboard.endpoint
    return wanted, tuple(options)


def named(judge: Any, checkpoint: Any) -> tuple[str, ...]:
    """A classifier's options as far as they are typed, unchecked: for the sentence alone."""
    if judge != CLASSIFIER or not isinstance(checkpoint, str) or not checkpoint.strip():
        return ()
    return (f"checkpoint={checkpoint.strip()}",)


def harm(checkpoint: Any, classes: Any) -> tuple[str | None, tuple[str, ...]]:
    """(harm judge or None, its options as KEY=VALUE) from anywhere, checked before any is asked.

    Raises:
        SettingError: A checkpoint that cannot serve, or classes that it does not have.
    """
    name = text(checkpoint or "", "the harm classifier", 1000).strip()
    wanted = [one.strip() for one in text(classes or "", "its classes", 1000).split(",")]
    wanted = [one for one in wanted if one]
    if not name:
        return None, ()
    refuse_other_classes(wanted, classes_of(name))
    return CLASSIFIER, (f"checkpoint={name}", f"harmful={','.join(wanted)}")
