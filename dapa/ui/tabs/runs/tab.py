"""Runs: what was searched and evaluated before; reopen, rename, delete, take away, compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dapa.core.html import Html
from dapa.core.records import PairError, SettingError, StoreError
from dapa.ui import download, exporting, replay, strip
from dapa.ui.belonging import current, is_ours, owner_of, whose
from dapa.ui.dashboard import Dashboard, guarded, piece, text
from dapa.ui.parts import hint, note
from dapa.ui.session import Session
from dapa.ui.tabs.evaluate import scores
from dapa.ui.tabs.evaluate.tab import SUBJECT
from dapa.ui.tabs.runs import compare, evaluated, tables, taken
from dapa.ui.tabs.runs.listing import EMPTY, draw, named, pair_of, stored
from dapa.ui.tabs.runs.opened import below, mask_of, opened, picture, replayed
from dapa.ui.tabs.search.tab import begin
from dapa.workbench import (
    KIND,
    Run,
    checked_title,
    stored_evaluation,
    stored_replies,
)

_TO_TAB = (
    "() => [...document.querySelectorAll('#tabs .tab-wrapper button[role=tab]')]"
    ".find((tab) => tab.textContent.trim() === '%s')?.click()"
)
_NONE = hint("No run is open", "Choose one of the list.")
_DELETE, _SURE = "Delete", "Delete for good"
_ENDED = ("done", "nothing found")


@dataclass(frozen=True)
class Runs:
    """The tab's components."""

    tab: gr.Tab
    list: gr.HTML
    files: tuple[gr.Button, gr.Button]
    """The list as CSV and JSON."""
    whose: gr.HTML
    shown: gr.HTML
    use: gr.Button
    again: gr.Button
    table: gr.Button
    tools: gr.Row
    """What is done with any open run: a name, files, deleting."""
    name: gr.Textbox
    rename: gr.Button
    json: gr.Button
    csv: gr.Button
    delete: gr.Button
    keep: gr.Button
    """Takes back the first press of `delete`."""
    chart: gr.Plot
    below: gr.HTML
    export: exporting.Export
    pictures: gr.HTML
    beside: gr.HTML
    beside_card: gr.Column
    beside_files: tuple[gr.Button, gr.Button]
    carrier: gr.HTML
    run: gr.State
    other: gr.State
    """The run that is set beside the open one."""


def build(dashboard: Dashboard, tab: gr.Tab) -> Runs:
    """Layout: the list, the comparison, and the run that is open."""
    with gr.Column(elem_classes="card", elem_id="runs-card"):
        listed = piece(EMPTY, "runs.js", elem_id="runs")
        files = tables.build("runs-list")
    with gr.Column(elem_classes="card", visible=False, elem_id="beside-card") as card:
        beside = piece("", elem_id="beside")
        beside_files = tables.build("beside")
    owned = piece("", elem_id="run-whose", elem_classes="owner")
    with gr.Column(elem_classes="card belongs", elem_id="run-card"):
        shown = piece(_NONE, "scores.js", elem_id="run")
        with gr.Row(elem_classes="buttons"):
            use = gr.Button(
                "Use these layers", elem_classes="primary-action", visible=False, elem_id="run-use"
            )
            again = gr.Button(
                "Open in Search", elem_classes="plain", visible=False, elem_id="run-again"
            )
            table = gr.Button(
                "Open in Evaluate", elem_classes="plain", visible=False, elem_id="run-table"
            )
        chart = gr.Plot(
            show_label=False,
            label="Size against refusals",
            container=False,
            visible=False,
            elem_id="run-chart",
        )
        under = piece("", "shelf.js", elem_id="run-certified")
        export = exporting.build("run-export")
    pictures = replay.picture("run-tests")
    with (
        gr.Column(elem_classes="card", visible=False, elem_id="run-tools") as tools,
        gr.Row(elem_classes="buttons"),
    ):
        name = gr.Textbox(
            "", label="name", max_length=200, max_lines=1, scale=1, min_width=200,
            elem_id="run-name",
        )  # fmt: skip
        rename, as_json, as_csv, delete = (
            gr.Button(word, elem_classes="plain", elem_id=f"run-{key}")
            for key, word in (
                ("rename", "Rename"), ("json", "Download JSON"), ("csv", "Download CSV"),
                ("delete", _DELETE),
            )
        )  # fmt: skip
        keep = gr.Button("Keep it", elem_classes="plain", visible=False, elem_id="run-keep")
    return Runs(
        tab, listed, files, owned, shown, use, again, table, tools, name, rename, as_json, as_csv,
        delete, keep, chart, under, export, pictures, beside, card, beside_files,
        download.carrier("run-file"), gr.State(""), gr.State(""),
    )  # fmt: skip


def wire(
    dashboard: Dashboard,
    parts: Runs,
    session: gr.State,
    wheel: gr.HTML,
    steer: dict[str, Any],
    attached: Mapping[str, tuple[Any, Any, Any]],
    dark: gr.State,
    epoch: gr.State,
) -> Any:
    """List, open, compare, apply, go on, keep in order; returns the applying event.

    `attached` is what shows the newest search and the newest table, by their tabs: handler, inputs,
    outputs.
    """

    def run_of(run_id: Any) -> Run:
        return dashboard.workbench.store.run(text(run_id, "the run", 200))

    def list_of(run_id: str) -> Html:
        return draw(stored(dashboard), run_id, dashboard)

    def about(run: Run) -> tuple[Any, ...]:
        """Whose it is, the run itself, and what may be done with it."""
        ours, ended = is_ours(dashboard, run), run.outcome in _ENDED
        goes_on = run.kind == "search" and (ended or run.state != "failed")
        return (
            whose(dashboard, owner_of(run.settings.get("pair") or {}), "This run", ours),
            opened(dashboard, run),
            gr.update(visible=ours and mask_of(run) is not None),
            gr.update(
                visible=ours and goes_on,
                value="Open in Search" if ended else "Resume in Search",
            ),
            gr.update(visible=run.kind == KIND and bool((run.result or {}).get("models"))),
        )

    @guarded
    def fill(run_id: Any) -> Html:
        return list_of(text(run_id, "the run", 200))

    @guarded
    def show(open_id: Any, event: gr.EventData) -> tuple[Any, ...]:
        """A press in the list: open a run, or set it beside the open one."""
        data = getattr(event, "_data", None)
        data = data if isinstance(data, dict) else {}
        run = run_of(data.get("run"))
        if data.get("op") == "beside":
            side = side_by_side(run_of(open_id), run)
            return (*[gr.skip()] * (len(shown) - 3), side, run.id, gr.update(visible=True))
        return (
            run.id, list_of(run.id), *about(run), below(run), replayed(dashboard, run),
            gr.update(visible=True), run.title, _DELETE, gr.update(visible=False), "", "",
            gr.update(visible=False),
        )  # fmt: skip

    def side_by_side(first: Run, second: Run) -> Html:
        if first.id == second.id:
            raise SettingError("this run is open already; choose another to set beside it")
        if first.kind != second.kind:
            raise SettingError("a search and an evaluation have no figure in common; choose two")
        side = evaluated.beside if first.kind == KIND else compare.draw
        return side(first, second, named(first), named(second))

    @guarded
    def follow(run_id: Any) -> tuple[Any, ...]:
        """Another pair is loaded: what may be done with the open run, and which runs are its."""
        if not text(run_id, "the run", 200):
            return list_of(""), *[gr.skip()] * (len(owned) - 1)
        return list_of(run_id), *about(run_of(run_id))

    @guarded
    def cell(run_id: Any, event: gr.EventData) -> Any:
        """The replies behind a rate of an evaluation."""
        data = getattr(event, "_data", None)
        data = data if isinstance(data, dict) else {}
        run = run_of(run_id)
        if run.kind != KIND:
            return gr.skip()
        model, measure = (text(data.get(key), key, 200) for key in ("model", "measure"))
        rows = stored_replies(dashboard.workbench.store, run.id, model, measure)
        return scores.replies(rows, model, measure, "", "", "as asked")

    @guarded
    def drawn(run_id: Any, dark: Any) -> Any:
        """The picture of a confidence search."""
        return picture(dashboard, text(run_id, "the run", 200), dark is True)

    @guarded
    def use(here: Session, run_id: Any) -> tuple[Session, str]:
        run = run_of(run_id)
        mask = mask_of(run)
        if mask is None:
            raise SettingError("this run has no layers to use; open another")
        if not is_ours(dashboard, run):
            raise PairError(f"these layers are of {pair_of(run.settings)}; load it to use them")
        pair = dashboard.workbench.pair
        pair.validate(mask)
        base = current(dashboard, here)
        found = run.id if run.kind == "search" else ""
        now = base.holding(pair, mask, mask.units[0].kind, found)
        return now, strip.draw(dashboard, now)

    reopened: dict[str, str] = {}  # stored runs, and the searches that show them again

    @guarded
    def again(run_id: Any) -> None:
        """Go on with a stored search, or search the same again: memory has its answers."""
        bench, run = dashboard.workbench, run_of(run_id)
        if not is_ours(dashboard, run):
            raise SettingError(f"this run is of {pair_of(run.settings)}; load that pair first")
        if any(job.id == run.id and not job.wait(0) for job in bench.jobs()):
            return  # it is running here: the Search tab shows it
        if run.outcome in _ENDED and bench.bring_forward(reopened.get(run.id, run.id)):
            return
        job = begin(dashboard, lambda: bench.again_job(run.id))
        if job.id != run.id:
            reopened[run.id] = job.id

    @guarded
    def table(run_id: Any) -> None:
        """A stored evaluation as it was, with its charts and its replies to filter."""
        run = run_of(run_id)
        found = stored_evaluation(dashboard.workbench.store, run.id)
        owner = owner_of(run.settings.get("pair") or {})
        dashboard.tasks.put(SUBJECT, run.id, found, owner, found.mask)

    @guarded
    def rename(run_id: Any, name: Any) -> tuple[str, str, str]:
        run = dashboard.workbench.store.rename(run_of(run_id).id, checked_title(name))
        return list_of(run.id), opened(dashboard, run), run.title

    @guarded
    def delete(run_id: Any, word: Any) -> tuple[Any, ...]:
        """The first press asks, the second deletes."""
        run = run_of(run_id)
        _refuse_living(dashboard, run)
        if word != _SURE:
            unasked = [gr.skip()] * (len(shown) - 5)
            return (*unasked, _SURE, gr.update(visible=True), *[gr.skip()] * 3)
        dashboard.workbench.store.delete(run.id)
        gone = note("Deleted. What was judged stays remembered: the same again is cheap.")
        hidden = gr.update(visible=False)
        return (
            "", list_of(""), "", _NONE + gone, hidden, hidden, hidden, "", "", hidden, "", _DELETE,
            hidden, "", "", hidden,
        )  # fmt: skip

    def exported(run_id: str) -> str:
        """A run that has ended with something to tell."""
        if not run_id:
            return ""
        run = dashboard.workbench.store.run(run_id)
        return run.id if run.state != "running" and run.result else ""

    exporting.wire(dashboard, parts.export, exported, parts.run, "runs")
    quiet: dict[str, Any] = {"show_progress": "hidden"}
    shown = [
        parts.run, parts.list, parts.whose, parts.shown, parts.use, parts.again, parts.table,
        parts.below,
        parts.pictures, parts.tools, parts.name, parts.delete, parts.keep, parts.beside,
        parts.other, parts.beside_card,
    ]  # fmt: skip
    parts.tab.select(fill, parts.run, parts.list, api_name="runs_list", **quiet)
    parts.list.select(show, parts.run, shown, api_name="runs_show", **quiet)
    parts.shown.select(cell, parts.run, parts.below, api_name="runs_cell", **quiet)
    owned = [parts.list, parts.whose, parts.shown, parts.use, parts.again, parts.table]
    epoch.change(follow, parts.run, owned, api_name="runs_pair", **quiet)
    one: dict[str, Any] = {"concurrency_id": "run-picture", "concurrency_limit": 1, **quiet}
    for name, changed in (("runs_picture", parts.run), ("runs_dark", dark)):
        changed.change(drawn, [parts.run, dark], parts.chart, api_name=name, **one)
    renamed, called = [parts.list, parts.shown, parts.name], [parts.run, parts.name]
    parts.rename.click(rename, called, renamed, api_name="runs_rename", **quiet)
    parts.name.submit(rename, called, renamed, api_name="runs_name", **quiet)
    parts.delete.click(delete, [parts.run, parts.delete], shown, api_name="runs_delete", **quiet)
    parts.keep.click(
        lambda: (_DELETE, gr.update(visible=False)), None, [parts.delete, parts.keep],
        api_name="runs_keep", **quiet,
    )  # fmt: skip
    for button, make, name in (
        (parts.json, taken.as_json, "runs_json"), (parts.csv, taken.as_csv, "runs_csv")
    ):  # fmt: skip
        download.offer(button, _taker(dashboard, make), [parts.run], parts.carrier, name)
    tables.offer(
        parts.files, lambda: tables.listed(stored(dashboard)), [], parts.carrier, "runs_list"
    )
    tables.offer(
        parts.beside_files, lambda one, other: tables.beside(run_of(one), run_of(other)),
        [parts.run, parts.other], parts.carrier, "runs_beside",
    )  # fmt: skip
    gone = parts.again.click(again, parts.run, None, api_name="runs_again", **quiet)
    for tab, event in {
        "Search": gone,
        "Evaluate": parts.table.click(table, parts.run, None, api_name="runs_table", **quiet),
    }.items():
        back = event.success(*attached[tab], api_name=f"runs_{tab.lower()}", **quiet)
        back.success(None, None, None, js=_TO_TAB % tab)
    return parts.use.click(
        use, [session, parts.run], [session, wheel], api_name="runs_use", **steer
    )


def _taker(dashboard: Dashboard, make: Any) -> Any:
    """What makes a file of the open run."""

    def take(run_id: Any) -> tuple[str, str]:
        store = dashboard.workbench.store
        run = store.run(text(run_id, "the run", 200))
        made: tuple[str, str] = make(run, store.trials(run.id))
        return made

    return take


def _refuse_living(dashboard: Dashboard, run: Run) -> None:
    """A search that goes on here writes into its run."""
    if any(job.id == run.id and not job.wait(0) for job in dashboard.workbench.jobs()):
        raise StoreError(f"run {run.id} is going on; stop it first")
