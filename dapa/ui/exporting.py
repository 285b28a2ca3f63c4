"""Export: a row of presses that stands beside a result, wherever that is shown.

A report and a card go to the browser as a file. Models, patches, recipes and bundles are written
into `exports` in the run folder of the server, under a name made here: a visitor names no path.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from dapa.core.html import Html, html, joined
from dapa.core.html import when as if_so
from dapa.core.records import SettingError
from dapa.ui import download
from dapa.ui.belonging import is_ours
from dapa.ui.dashboard import Dashboard, guarded, piece, text
from dapa.ui.parts import note
from dapa.workbench import FORMS, ExportSettings, Made
from dapa.writing.numbers import count_text, size_text

_PRESSES = {
    "report": "Report",
    "model": "Model folder",
    "patch": "Patch",
    "lora": "LoRA",
    "mergekit": "mergekit recipe",
    "bundle": "Bundle",
}
"""Form -> its button."""
_OF_THE_PAIR = ("model", "patch", "lora", "mergekit")
"""Forms for which the run's own pair has to be loaded."""
FOLDER = "exports"
"""In the run folder."""


@dataclass(frozen=True)
class Export:
    """The place's components."""

    place: gr.Accordion
    replies: gr.Checkbox
    buttons: dict[str, gr.Button]
    told: gr.HTML
    carrier: gr.HTML
    opened: gr.State
    """Is the place open? What cannot be written is looked up only then."""


def build(elem_id: str) -> Export:
    """Layout: a folded place with a button a form; hidden until there is something to export."""
    with gr.Accordion(
        "Report and export", open=False, visible=False, elem_id=elem_id, elem_classes="export-place"
    ) as place:
        with gr.Row(elem_classes="buttons"):
            buttons = {
                form: gr.Button(label, elem_classes="plain", elem_id=f"{elem_id}-{form}")
                for form, label in _PRESSES.items()
            }
        replies = gr.Checkbox(
            False, label="keep replies that comply with harmful requests", elem_id=f"{elem_id}-show"
        )
        told = piece(note(_how()), elem_id=f"{elem_id}-told")
        carrier = download.carrier(f"{elem_id}-file")
    return Export(place, replies, buttons, told, carrier, gr.State(False))


def _how() -> Html:
    """What each form is, before one is chosen."""
    return html(
        "Report: one page that tells the result and opens offline; it goes to your downloads. The "
        "others are written into the folder <code>{}</code> of the run folder on this server. "
        "Model folder: loads in transformers. Patch: the changed tensors alone. LoRA: the change "
        "as an adapter, where its rank is low. Recipe: mergekit makes the model of it. Bundle: all "
        "that it takes to do the run again. Nothing leaves the machine; <code>python -m dapa "
        "export</code> does the same.",
        FOLDER,
    )


def wire(
    dashboard: Dashboard,
    parts: Export,
    run_of: Callable[[Any], str],
    subject: Any,
    name: str,
    when: Any = None,
) -> None:
    """Let each press export the run that is shown.

    Args:
        dashboard: The server's.
        parts: From `build`.
        run_of: What is shown -> the stored run's id; "" for none.
        subject: The component that holds what is shown.
        name: Of the place, for the events' names.
        when: What changes when there is something new to export; the subject, if None.
    """

    def run_named(shown: Any) -> str:
        found = run_of(text(shown, "what is exported", 200))
        if not found:
            raise SettingError("there is nothing to export yet; search or evaluate first")
        return found

    def press(form: str) -> Callable[..., tuple[Any, Any]]:
        @guarded
        def pressed(shown: Any, replies: Any) -> tuple[Any, Any]:
            run = run_named(shown)
            settings = ExportSettings(form=form, replies=replies is True)
            if form == "report":
                page = dashboard.workbench.report(run, replies is True)
                return note("The report is among your downloads."), download.packed(
                    f"dapa-report-{_plain(run)}.html", page
                )
            if not dashboard.keeps:
                raise SettingError(
                    "this server was started with --no-store and keeps no files; take the report, "
                    "or export from the command line"
                )
            folder = dashboard.workbench.run_dir / FOLDER / f"{_plain(run)}-{form}"
            if folder.exists():
                raise SettingError(
                    f"{FOLDER}/{folder.name} is there already; move it away to make it again"
                )
            made = _written(dashboard, settings, folder, run)
            return _told(made), gr.skip()

        return pressed

    for form, button in parts.buttons.items():
        button.click(
            press(form), [subject, parts.replies], [parts.told, parts.carrier],
            api_name=f"{name}_export_{form}", show_progress="minimal",
            concurrency_id="export", concurrency_limit=1,
        )  # fmt: skip

    def offered(run: str) -> tuple[Any, ...]:
        """What is told of the forms, and which of them can be pressed."""
        off, why = _refused(dashboard, run) if run else ((), "")
        line = if_so(why, "<b>{}</b> ", why) + _how()
        return note(line), *(gr.update(interactive=form not in off) for form in parts.buttons)

    @guarded
    def shown(subject: Any, opened: Any) -> tuple[Any, ...]:
        """There is a place while there is a run, and it tells of this one."""
        run = run_of(text(subject, "what is exported", 200))
        return gr.update(visible=bool(run)), *offered(run if opened is True else "")

    @guarded
    def look(subject: Any) -> tuple[Any, ...]:
        """Say what cannot be written before it is pressed."""
        return True, *offered(run_of(text(subject, "what is exported", 200)))

    told = [parts.told, *parts.buttons.values()]
    quiet: dict[str, Any] = {"show_progress": "hidden"}
    (when or subject).change(
        shown, [subject, parts.opened], [parts.place, *told], api_name=f"{name}_export", **quiet
    )
    parts.place.expand(
        look, subject, [parts.opened, *told], api_name=f"{name}_export_look", **quiet
    )
    parts.place.collapse(lambda: False, None, parts.opened, api_name=f"{name}_export_shut", **quiet)


def _refused(dashboard: Dashboard, run: str) -> tuple[tuple[str, ...], str]:
    """The forms that this run cannot be written in now, and why: before they are pressed."""
    bench = dashboard.workbench
    if not bench.loaded or not is_ours(dashboard, bench.store.run(run)):
        return _OF_THE_PAIR, (
            "This result is of another pair than the one that is loaded: only its report and its "
            "bundle can be made now. Load its pair for the others."
        )
    why = bench.no_lora(run)
    if not why:
        return (), ""
    return ("lora",), f"No LoRA of this set: {why}. Patch and model folder hold it whole."


def _written(dashboard: Dashboard, settings: ExportSettings, folder: Path, run: str) -> Made:
    """Export; what goes wrong names no folder of the server."""
    try:
        return dashboard.workbench.export(settings, folder, run_id=run)
    except SettingError as error:
        line = str(error)
        for place in (folder, folder.absolute()):
            line = line.replace(str(place), f"{FOLDER}/{folder.name}")
        raise SettingError(line) from None


def _told(made: Made) -> Html:
    where = html("<code>{}/{}</code> in the run folder", FOLDER, made.folder.name)
    size = f"{count_text(len(made.files), 'file')}, {size_text(made.bytes)}"
    line = html("<b>{}</b>: {}, {}.", FORMS[made.kind], where, size)
    return note(line) + joined(note(one) for one in made.notes)


def _plain(name: str) -> str:
    """A run's id as a part of a file's name."""
    return re.sub(r"[^\w-]", "-", name)[:80]
