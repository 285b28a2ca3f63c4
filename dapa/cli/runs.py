"""`runs`: what is in the run store, and going on with a search."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from dapa.cli import options as o
from dapa.cli.comparing import compared, rows_of
from dapa.cli.evaluating import stopping
from dapa.cli.evaluating import told as table_told
from dapa.cli.output import Output, progress, table
from dapa.cli.searching import body_of, told, watch
from dapa.core.records import Rate, StoreError
from dapa.workbench import Run, Store, checked_title
from dapa.writing.claims import standing
from dapa.writing.confidence import CHAIN_HEADS, chain_rows, headline
from dapa.writing.costs import cost_lines
from dapa.writing.numbers import percent
from dapa.writing.sentences import role_text

runs = typer.Typer(
    help="List, show, compare and resume stored runs.", no_args_is_help=True, add_completion=False
)

RunId = Annotated[str, typer.Argument(metavar="ID", help="A run's id, as `runs list` shows it.")]


@runs.command("list")
def list_runs(run_dir: o.RunDir = Path("runs"), json: o.Json = None) -> None:
    """List every run, newest first."""
    output = Output(json)
    found = _store(run_dir).runs() if run_dir.exists() else []
    rows = [(run.id, _when(run), run.outcome, run.title, _layers(run)) for run in found]
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
    plain = {key: value for key, value in result.items() if not isinstance(value, list | dict)}
    told: list[RenderableType] = []
    if found.kind == "search":
        rates = (result.get("dsr") or {}).items()
        told.append(
            table(("DSR of", "rate"), [(role_text(name), Rate(**r)) for name, r in rates if r])
        )
        told += (
            [table(("cost", ""), cost_lines(result)), _tests(trials)]
            if result
            else [_tests(trials)]
        )
        plain = {key: plain[key] for key in _FACTS if plain.get(key) is not None}
        if "target" in plain:
            plain["target"] = percent(plain["target"])
        if "units" in result:
            from dapa.workbench import SearchReport

            report = SearchReport.from_dict(result)
            record = report.confidence and report.confidence.as_dict()
            kind = str(found.settings.get("kind", "gate"))
            told.insert(0, headline(record, kind) if record else standing(report.claimed))
            if record:
                told.insert(1, table(CHAIN_HEADS, chain_rows(record)))
                for key in _HELD_AGAINST:
                    plain.pop(key, None)
    else:
        told.append(f"{len(trials)} rows; of an evaluation: python -m dapa runs replies {run}")
    output.result(
        body,
        f"{found.id}: {found.title}, {found.outcome}, begun {_when(found)}, "
        f"layers {_layers(found)}",
        table(("result", "value"), [*plain.items()]),
        *told,
    )


_FACTS = ("error", "algorithm", "stop_reason", "target", "need", "supersets")
"""What a search's result says in one word each; its costs is told apart."""
_HELD_AGAINST = ("target", "need", "supersets")
"""What a confidence search has not: none of its tests is held against a target."""


def _tests(trials: list[dict[str, Any]]) -> RenderableType:
    """A search's tests."""
    rows = [
        (t["index"], t["phase"], t["mask"] or "the student", f"{t['defended']} of {t['judged']}")
        for t in trials
    ]
    return table(("test", "phase", "mask", "refused of judged"), rows)


@runs.command()
def rename(
    run: RunId,
    title: Annotated[str, typer.Argument(metavar="TITLE", help="What it is called from now on.")],
    run_dir: o.RunDir = Path("runs"),
    json: o.Json = None,
) -> None:
    """Give a run another title."""
    output = Output(json)
    now = _store(run_dir).rename(run, checked_title(title))
    output.result(_summary(now), f"{now.id}: {now.title}")


@runs.command()
def delete(run: RunId, run_dir: o.RunDir = Path("runs"), json: o.Json = None) -> None:
    """Delete a run; what was judged stays remembered, so the same search is cheap again."""
    output = Output(json)
    store = _store(run_dir)
    store.delete(run)
    output.result({"deleted": run}, f"deleted {run}")


@runs.command()
def compare(
    first: RunId,
    second: Annotated[str, typer.Argument(metavar="OTHER", help="The run to compare it with.")],
    run_dir: o.RunDir = Path("runs"),
    json: o.Json = None,
) -> None:
    """Put two searches side by side: settings, sets, refusals and costs."""
    output = Output(json)
    store = _store(run_dir)
    body = compared(store.run(first), store.run(second))
    rows, units = rows_of(body), body["units"]
    names = [run["id"] for run in body["runs"]]
    told = {
        None: "The held-out intervals are not both known.",
        True: "The held-out intervals do not overlap.",
        False: "The held-out intervals overlap: no difference in refusals is shown.",
    }
    output.result(
        body,
        f"{names[0]}: {body['runs'][0]['title']}",
        f"{names[1]}: {body['runs'][1]['title']}",
        table(("set otherwise", *names), rows["settings"]),
        f"Found by both: {', '.join(units['both']) or 'nothing'}; only by the first: "
        f"{', '.join(units['only_first']) or 'nothing'}; only by the second: "
        f"{', '.join(units['only_second']) or 'nothing'} (Jaccard {units['jaccard']:.2f}).",
        table(("DSR of", *names), rows["rates"]),
        told[body["intervals_apart"]],
        table(("cost", *names), rows["costs"]),
    )


@runs.command()
def replies(
    run: RunId,
    model: Annotated[str | None, typer.Option(help="A column, such as patched.")] = None,
    measure: Annotated[
        str | None, typer.Option(help="A measure, such as dsr, wrap:prefill or incoherent.")
    ] = None,
    verdict: Annotated[str | None, typer.Option(help="Only replies with this verdict.")] = None,
    run_dir: o.RunDir = Path("runs"),
    json: o.Json = None,
) -> None:
    """Show the replies behind an evaluation, or behind one of its cells."""
    output = Output(json)
    from dapa.workbench import stored_replies, whole_reply

    found = stored_replies(_store(run_dir), run, model, measure)
    found = [row for row in found if verdict is None or row["verdict"] == verdict]
    lines = [(r["model"], r["measure"], r["verdict"], r["prompt"], whole_reply(r)) for r in found]
    headers = ("model", "measure", "verdict", "prompt", "reply")
    output.result({"run": run, "replies": found}, table(headers, lines))


@runs.command()
def resume(run: RunId, run_dir: o.RunDir = Path("runs"), json: o.Json = None) -> None:
    """Start a search or an evaluation again; what it had asked is answered from the store.

    A search that was done becomes a run of its own, so that the old one keeps its costs.
    """
    output = Output(json)
    kind = _store(run_dir).run(run).kind  # a wrong id costs no loading
    from dapa.workbench import Workbench

    if kind == "evaluate":
        with progress() as report, stopping() as stop:
            report("loading the pair", None)
            table_of = Workbench(run_dir).resume_evaluation(run, progress=report, stop=stop)
        output.result(table_of.as_dict(), *table_told(table_of))
        raise typer.Exit(130 if stop.is_set() else 0)
    if kind != "search":
        raise StoreError(f"run {run} is a {kind}; give its command again to go on with it")
    with progress() as report:
        report("loading the pair", None)
        job = Workbench(run_dir).again_job(run)
        found = watch(job, report)
    output.result(body_of(job, found), *told(job, found))
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
        "outcome": run.outcome,
        "layers": (run.result or {}).get("layers"),
    }


def _when(run: Run) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created))


def _layers(run: Run) -> str:
    layers = (run.result or {}).get("layers")
    return "-" if layers is None else ", ".join(map(str, layers))
