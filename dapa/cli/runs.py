"""`runs`: what is in the run store, and going on with a search."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from dapa.cli import options as o
from dapa.cli.output import Output, progress, table
from dapa.cli.searching import told, watch
from dapa.records import StoreError
from dapa.store import Run, Store

runs = typer.Typer(
    help="List, show and resume stored runs.", no_args_is_help=True, add_completion=False
)

RunId = Annotated[str, typer.Argument(metavar="ID", help="A run's id, as `runs list` shows it.")]


@runs.command("list")
def list_runs(run_dir: o.RunDir = Path("runs"), json: o.Json = None) -> None:
    """List every run, newest first."""
    output = Output(json)
    found = _store(run_dir).runs() if run_dir.exists() else []
    rows = [(run.id, _when(run), run.state, run.title, _layers(run)) for run in found]
    body = {"runs": [_summary(run) for run in found]}
    if not found:
        output.result(body, f"no runs in {run_dir} yet; `dapa search` makes one")
        return
    output.result(body, table(("id", "begun", "state", "what", "layers"), rows))


@runs.command()
def show(run: RunId, run_dir: o.RunDir = Path("runs"), json: o.Json = None) -> None:
    """Show one run: its settings, its result and its tests."""
    output = Output(json)
    store = _store(run_dir)
    found = store.run(run)
    trials = store.trials(run)
    body = {
        **_summary(found),
        "settings": found.settings,
        "result": found.result,
        "trials": trials,
    }
    result = found.result or {}
    facts = [(key, value) for key, value in result.items() if not isinstance(value, list | dict)]
    rows = [
        (t["index"], t["phase"], t["mask"] or "the student", f"{t['defended']} of {t['judged']}")
        for t in trials
    ]
    output.result(
        body,
        f"{found.id}: {found.title}, {found.state}, begun {_when(found)}, layers {_layers(found)}",
        table(("result", "value"), facts),
        table(("test", "phase", "mask", "refused of judged"), rows),
    )


@runs.command()
def resume(run: RunId, run_dir: o.RunDir = Path("runs"), json: o.Json = None) -> None:
    """Start a search again; what it had asked is answered from the store."""
    output = Output(json)
    _store(run_dir).run(run)  # a wrong id costs no loading
    from dapa.workbench import Workbench

    with progress() as report:
        report("loading the pair", None)
        job = Workbench(run_dir).resume_job(run)
        found = watch(job, report)
    output.result({"run": job.id, **found.as_dict()}, *told(job, found))
    if job.control.stopped:
        raise typer.Exit(130)


def _store(run_dir: Path) -> Store:
    """The store, which reading must not create."""
    if not run_dir.is_dir():
        raise StoreError(f"there is no run folder {run_dir}; name one with --run-dir")
    return Store(run_dir)


def _summary(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "created": run.created,
        "updated": run.updated,
        "kind": run.kind,
        "title": run.title,
        "state": run.state,
        "layers": (run.result or {}).get("layers"),
    }


def _when(run: Run) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created))


def _layers(run: Run) -> str:
    layers = (run.result or {}).get("layers")
    return "-" if layers is None else ", ".join(map(str, layers))
