"""Do judges agree, with each other and with people? A folded card below the replies.

The replies come from the chat, where people ruled on them, from a file, or from a stored
evaluation. Every judge is asked about all of them, as a task of the server that can be stopped;
its words are kept, so that asking again goes on where it was stopped.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dapa.core.html import Html
from dapa.core.records import DapaError, SettingError
from dapa.ui import download
from dapa.ui.dashboard import Dashboard, guarded, piece, text
from dapa.ui.parts import hint, note, title
from dapa.ui.tabs.evaluate import judging, matrix, people
from dapa.ui.tabs.evaluate.replysource import ALWAYS, FILE, RULED, choices, replies
from dapa.ui.tasks import Progress, Task
from dapa.ui.watching import clock, progress_line, stage
from dapa.workbench import Opinions, Written, digest, opinions
from dapa.writing.tables import csv_text

_TYPES = [".csv", ".tsv", ".jsonl", ".json", ".parquet"]
_EMPTY = hint(
    "Do the judges agree?",
    "Rule on replies in the chat, upload a file of prompts and replies, or take a stored "
    "evaluation; choose the judges and press Compare. A file with people’s labels (prompt, reply, "
    "label, model) makes a benchmark: each judge against people, by model.",
)
_SUBJECT = "agreement"
_QUIET: dict[str, Any] = {"show_progress": "hidden"}


@dataclass(frozen=True)
class Agree:
    """The components."""

    box: gr.Accordion
    source: gr.Dropdown
    upload: gr.UploadButton
    human: gr.Textbox
    judges: gr.CheckboxGroup
    checkpoint: judging.CheckpointFields
    line: gr.HTML
    start: gr.Button
    bench: gr.Button
    table: gr.HTML
    csv: gr.Button
    json: gr.Button
    carrier: gr.HTML
    timer: gr.Timer
    given: gr.State
    """Path of the uploaded file."""
    shown: gr.State
    drawn: gr.State

    @property
    def values(self) -> list[Any]:
        """What shapes a comparison, as `wanted` takes it."""
        return [
            self.source, self.given, self.human, self.judges, *self.checkpoint.values,
        ]  # fmt: skip


def build(dashboard: Dashboard) -> Agree:
    """Folded: where the replies come from, who judges, the matrix."""
    with gr.Accordion(
        "Do the judges agree, with each other and with people?", open=False,
        elem_classes="sentence", elem_id="agreement",
    ) as box:  # fmt: skip
        with gr.Row():
            source = gr.Dropdown(
                list(ALWAYS), value=RULED, label="replies", elem_id="agreement-source",
                filterable=False,
            )  # fmt: skip
            human = gr.Textbox(
                "", label="the file’s column with a person’s labels", max_length=200, max_lines=1,
                placeholder="empty: found by its name, such as label",
            )  # fmt: skip
        judges = gr.CheckboxGroup(
            [(words, name) for name, words in judging.offered(dashboard).items()],
            value=["rules", "released"], label="judges", elem_id="agreement-judges",
        )  # fmt: skip
        checkpoint = judging.build("agreement-checkpoint")
        line = piece("", elem_id="agreement-line")
        with gr.Row(elem_classes="buttons"):
            start = gr.Button("Compare", elem_classes="plain", elem_id="agreement-start")
            against = gr.Button(
                "Benchmark against people", elem_classes="plain", elem_id="agreement-bench"
            )
            upload = gr.UploadButton(
                "Upload replies", file_types=_TYPES, elem_classes="plain", type="filepath",
                elem_id="agreement-upload",
            )  # fmt: skip
            csv, as_json = (
                gr.Button(
                    f"Download {kind.upper()}", elem_classes="plain", visible=False,
                    elem_id=f"agreement-{kind}",
                )
                for kind in ("csv", "json")
            )  # fmt: skip
        table = piece(_EMPTY, "scores.js", elem_id="agreement-table")
        carrier = download.carrier("agreement-file")
    return Agree(
        box, source, upload, human, judges, checkpoint, line, start, against, table, csv, as_json,
        carrier,
        gr.Timer(0.5, active=False), gr.State(""), gr.State(""), gr.State(()),
    )  # fmt: skip


def wanted(
    dashboard: Dashboard, source: Any, given: Any, human: Any, judges: Any, *checkpoint: Any
) -> tuple[tuple[Written, ...], tuple[str, ...], tuple[str, ...]]:
    """(replies, judges, their options) from anywhere, checked.

    Raises:
        SettingError: Nothing to compare, or no such source or judge.
        PromptError: A file that cannot be read.
    """
    if not isinstance(judges, list) or not judges:
        raise SettingError("no judge is chosen; choose at least one")
    written = replies(dashboard, source, given, human)
    names, options = judging.chosen(dashboard, judges, *checkpoint)
    if len(names) < 2 and not any(row.human for row in written):
        raise SettingError(
            "one judge alone has nobody to agree with; choose a second one, or replies that "
            "people ruled on"
        )
    return written, names, options


def compare(
    dashboard: Dashboard, written: Sequence[Written], names: Sequence[str], options: Sequence[str],
    told: Progress, stop: threading.Event,
) -> Opinions:  # fmt: skip
    """Ask every judge about every reply; what they said before is not asked again.

    Raises:
        Halted: It was stopped.
    """
    pairs = [(row.prompt, row.reply) for row in written]
    said = people.ask(dashboard, pairs, names, options, told, stop)
    return opinions(written, said, people=any(row.human for row in written))


def wire(dashboard: Dashboard, parts: Agree) -> None:
    """Choose, compare, watch, stop, take away."""
    out = [parts.table, parts.csv, parts.json, parts.timer, parts.shown, parts.drawn]

    def task_of(shown: Any) -> Task | None:
        name = text(shown, "the comparison", 200)
        return dashboard.tasks.of(_SUBJECT, name) if name else None

    def view(task: Task | None, drawn: Any = None) -> tuple[Any, ...]:
        stamp = (task and task.name, stage(task))
        timer, name = clock(task), task.name if task else ""
        if stamp == drawn:
            return gr.skip(), gr.skip(), gr.skip(), timer, name, drawn
        ready = gr.update(visible=task is not None and task.result is not None)
        return told_of(task), ready, ready, timer, name, stamp

    @guarded
    def begin(*values: Any) -> tuple[Any, ...]:
        written, names, options = wanted(dashboard, *values)
        name = digest(repr(written), repr(names), repr(options))
        known = dashboard.tasks.of(_SUBJECT, name)
        if known is None or (known.over and known.result is None):
            known = dashboard.tasks.begin(
                _SUBJECT,
                name,
                lambda told, stop: compare(dashboard, written, names, options, told, stop),
            )
        return view(known)

    @guarded
    def against(*values: Any) -> tuple[Any, ...]:
        """The benchmark: the judges against the labels of the uploaded file."""
        written, names, options = people.labelled(dashboard, *values)
        name = digest("benchmark", repr(written), repr(names), repr(options))
        known = dashboard.tasks.of(_SUBJECT, name)
        if known is None or (known.over and known.result is None):
            known = dashboard.tasks.begin(
                _SUBJECT,
                name,
                lambda told, stop: people.bench(dashboard, written, names, options, told, stop),
            )
        return view(known)

    @guarded
    def tick(shown: Any, drawn: Any) -> tuple[Any, ...]:
        return view(task_of(shown), drawn)

    @guarded
    def press(event: gr.EventData, shown: Any) -> tuple[Any, ...]:
        """The link that stops it."""
        data, task = getattr(event, "_data", None), task_of(shown)
        if task is not None and isinstance(data, dict) and data.get("op") == "stop":
            task.stop()
        return view(task)

    @guarded
    def look() -> Any:
        """What there is to judge by now: rulings and runs come while the page is open."""
        return gr.update(choices=choices(dashboard))

    @guarded
    def say(*values: Any) -> Html:
        return line_of(dashboard, *values)

    @guarded
    def take(path: Any, human: Any, *rest: Any) -> tuple[Any, ...]:
        if not isinstance(path, str):
            raise SettingError("no file arrived; choose a CSV, TSV, JSONL, JSON or parquet file")
        return path, FILE, line_of(dashboard, FILE, path, human, *rest)

    def found(shown: Any) -> Opinions | people.Benched:
        task = task_of(shown)
        if task is None or not isinstance(task.result, (Opinions, people.Benched)):
            raise SettingError("no table is on the screen; press Compare or Benchmark first")
        return task.result

    def as_csv(shown: Any) -> tuple[str, str]:
        made = found(shown)
        head, rows = made.as_table()
        if isinstance(made, people.Benched):
            return "dapa-benchmark.csv", csv_text(head, rows, "judges against people's labels")
        return "dapa-agreement.csv", csv_text(head, rows, "replies under several judges")

    def as_json(shown: Any) -> tuple[str, str]:
        made = found(shown)
        told = made.found if isinstance(made, people.Benched) else made
        name = "agreement" if told is made else "benchmark"
        return f"dapa-{name}.json", json.dumps(told.as_dict(), indent=1, ensure_ascii=False)

    parts.box.expand(look, None, parts.source, api_name="agreement_look", **_QUIET).then(
        say, parts.values, parts.line, api_name="agreement_open", **_QUIET
    )
    parts.upload.upload(
        take, [parts.upload, parts.human, parts.judges, *parts.checkpoint.values],
        [parts.given, parts.source, parts.line], api_name="agreement_upload", **_QUIET,
    )  # fmt: skip
    late: dict[str, Any] = {**_QUIET, "trigger_mode": "always_last"}
    for name, event in (("source", parts.source.input), ("human", parts.human.change)):
        event(say, parts.values, parts.line, api_name=f"agreement_{name}", **late)
    said = parts.judges.change(
        say, parts.values, parts.line, api_name="agreement_judges", **late
    )  # fmt: skip
    judging.wire(parts.checkpoint, parts.judges, said, "agreement")
    parts.start.click(begin, parts.values, out, api_name="agreement", **_QUIET)
    parts.bench.click(against, parts.values, out, api_name="agreement_bench", **_QUIET)
    parts.timer.tick(
        tick, [parts.shown, parts.drawn], out, api_name="agreement_tick", **_QUIET
    )  # fmt: skip
    parts.table.like(press, parts.shown, out, api_name="agreement_press", **_QUIET)
    download.offer(parts.csv, as_csv, [parts.shown], parts.carrier, "agreement_csv")
    download.offer(parts.json, as_json, [parts.shown], parts.carrier, "agreement_json")


def line_of(
    dashboard: Dashboard, source: Any, given: Any, human: Any, judges: Any, *rest: Any
) -> Html:
    """How many replies stand there to be judged, or what is missing."""
    try:
        written = replies(dashboard, source, given, human)
    except DapaError as error:
        return note(str(error), "warn")
    ruled = sum(row.human is not None for row in written)
    word = f", {ruled:,} of them with a person’s word" if ruled else ", none with a person’s word"
    count = len(judges) if isinstance(judges, list) else 0
    judged = f"{count} judge" if count == 1 else f"{count} judges"
    return note(f"{len(written):,} replies{word}; {judged}.")


def told_of(task: Task | None) -> Html:
    """The matrix, or how far it is."""
    if task is None:
        return _EMPTY
    if not task.over:
        return title("Asking the judges") + progress_line(task)
    if isinstance(task.result, people.Benched):
        return people.draw(task.result)
    if task.result is not None:
        return matrix.draw(task.result)
    if task.state == "failed":
        return note(task.error, "fail")
    line = (
        "Stopped: nothing is compared yet. Compare goes on with what the judges have said so far."
    )
    return note(line, "warn")
