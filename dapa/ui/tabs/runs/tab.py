"""Runs: what was searched before; reopen a result, replay it, set it beside another."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dapa.core.records import SettingError, Trial
from dapa.ui import exporting, replay, strip
from dapa.ui.dashboard import Dashboard, guarded, piece, text
from dapa.ui.parts import esc, hint, names, note, rate, seconds, title
from dapa.ui.session import Session, fresh
from dapa.ui.tabs.runs import compare
from dapa.ui.tabs.search import certified, result
from dapa.ui.tabs.search.tab import begin
from dapa.workbench import (
    AGAIN,
    CONFIDENT,
    Run,
    SearchReport,
    SearchSettings,
    algorithms,
    kinds_from,
    short_name,
)
from dapa.writing.confidence import CLAIMS

_EMPTY = hint("No runs yet", "Every search is kept here with all its tests. Start one in Search.")
_MOST = 200
_TO_SEARCH = (
    "() => [...document.querySelectorAll('#tabs .tab-wrapper button[role=tab]')]"
    ".find((tab) => tab.textContent.trim() === 'Search')?.click()"
)


@dataclass(frozen=True)
class Runs:
    """The tab's components."""

    tab: gr.Tab
    list: gr.HTML
    shown: gr.HTML
    use: gr.Button
    again: gr.Button
    chart: gr.Plot
    below: gr.HTML
    export: exporting.Export
    pictures: gr.HTML
    beside: gr.HTML
    run: gr.State


def build(dashboard: Dashboard, tab: gr.Tab) -> Runs:
    """Layout: the list, the comparison, and the run that is open."""
    with gr.Column(elem_classes="card"):
        listed = piece(_EMPTY, "runs.js", elem_id="runs")
    beside = piece("", elem_id="beside")
    with gr.Column(elem_classes="card", elem_id="run-card"):
        shown = piece(hint("No run is open", "Choose one of the list."), elem_id="run")
        with gr.Row(elem_classes="buttons"):
            use = gr.Button(
                "Use these layers", elem_classes="primary-action", visible=False, elem_id="run-use"
            )
            again = gr.Button(
                "Open in Search", elem_classes="plain", visible=False, elem_id="run-again"
            )
        chart = gr.Plot(
            show_label=False,
            label="Size against refusals",
            container=False,
            visible=False,
            elem_id="run-chart",
        )
        below = piece("", elem_id="run-certified")
        export = exporting.build("run-export")
    pictures = replay.picture("run-tests")
    return Runs(
        tab, listed, shown, use, again, chart, below, export, pictures, beside, gr.State("")
    )  # fmt: skip


def wire(
    dashboard: Dashboard,
    parts: Runs,
    session: gr.State,
    wheel: gr.HTML,
    steer: dict[str, Any],
    attached: tuple[Any, Any],
    dark: gr.State,
) -> Any:
    """List, open, compare, apply, go on; returns the applying event.

    `attached` is what shows the newest search in the Search tab: its handler and its outputs.
    """

    @guarded
    def fill(run_id: Any) -> str:
        return draw(_searches(dashboard), text(run_id, "the run", 200))

    @guarded
    def show(open_id: Any, event: gr.EventData) -> tuple[Any, ...]:
        """A press in the list: open a run, or set it beside the open one."""
        data = getattr(event, "_data", None)
        data = data if isinstance(data, dict) else {}
        store = dashboard.workbench.store
        run = store.run(text(data.get("run"), "the run", 200))
        if data.get("op") == "beside":
            first = store.run(text(open_id, "the run", 200))
            if first.id == run.id:
                raise SettingError("this run is open already; choose another to set beside it")
            return (*[gr.skip()] * 7, compare.draw(first, run, _named(first), _named(run)))
        found = result.report_of(run)
        label = "Open in Search" if run.state == "done" else "Resume in Search"
        return (
            run.id,
            draw(_searches(dashboard), run.id),
            opened(dashboard, run),
            _below(run),
            gr.update(visible=bool(found and found.units)),
            gr.update(
                visible=_ours(dashboard, run.settings) and run.state != "failed", value=label
            ),
            _replayed(dashboard, run),
            "",
        )

    @guarded
    def picture(run_id: Any, dark: Any) -> Any:
        """The picture of a confidence search."""
        return _picture(dashboard, text(run_id, "the run", 200), dark is True)

    @guarded
    def use(here: Session, run_id: Any) -> tuple[Session, str]:
        run = dashboard.workbench.store.run(text(run_id, "the run", 200))
        found = result.report_of(run)
        if found is None or not found.units:
            raise SettingError("this run found no layers; open another")
        mask = found.mask
        pair = dashboard.workbench.pair
        pair.validate(mask)
        base = here if here.epoch == dashboard.epoch else fresh(dashboard.epoch, pair)
        now = base.holding(pair, mask, mask.units[0].kind, run.id)
        return now, strip.draw(dashboard, now)

    @guarded
    def again(run_id: Any) -> None:
        """Go on with a stored search, or search the same again: memory has its answers."""
        bench = dashboard.workbench
        run = bench.store.run(text(run_id, "the run", 200))
        if not _ours(dashboard, run.settings):
            raise SettingError(f"this run is of {_pair(run.settings)}; load that pair first")
        if any(job.id == run.id and not job.wait(0) for job in bench.jobs()):
            return  # it is running here: the Search tab shows it
        if run.state == "done":  # a new run, so that the old one keeps its costs
            begin(dashboard, lambda: bench.search_job(SearchSettings.from_dict(run.settings)))
        else:
            begin(dashboard, lambda: bench.resume_job(run.id))

    def exported(run_id: str) -> str:
        """A run that has ended with something to tell."""
        if not run_id:
            return ""
        run = dashboard.workbench.store.run(run_id)
        return run.id if run.state != "running" and run.result else ""

    exporting.wire(dashboard, parts.export, exported, parts.run, "runs")
    quiet: dict[str, Any] = {"show_progress": "hidden"}
    shown = [
        parts.run, parts.list, parts.shown, parts.below, parts.use, parts.again, parts.pictures,
        parts.beside,
    ]  # fmt: skip
    parts.tab.select(fill, parts.run, parts.list, api_name="runs_list", **quiet)
    parts.list.select(show, parts.run, shown, api_name="runs_show", **quiet)
    one: dict[str, Any] = {"concurrency_id": "run-picture", "concurrency_limit": 1, **quiet}
    for name, changed in (("runs_picture", parts.run), ("runs_dark", dark)):
        changed.change(picture, [parts.run, dark], parts.chart, api_name=name, **one)
    gone = parts.again.click(again, parts.run, None, api_name="runs_again", **quiet)
    attach, outputs = attached
    back = gone.success(attach, None, outputs, api_name="runs_attach", **quiet)
    back.success(None, None, None, js=_TO_SEARCH)
    return parts.use.click(
        use, [session, parts.run], [session, wheel], api_name="runs_use", **steer
    )


def _searches(dashboard: Dashboard) -> list[Run]:
    """The newest runs that are searches; other kinds have no set to open."""
    return [run for run in dashboard.workbench.store.runs() if run.kind == "search"][:_MOST]


def draw(runs: list[Run], opened_id: str = "") -> str:
    """The list, newest first; once a run is open, each other may be set beside it."""
    if not runs:
        return _EMPTY
    rows = "".join(_line(run, opened_id) for run in runs)
    heads = ("when", "pair", "what", "found", "held-out DSR", "tests", "state", "")
    head = "".join(f"<th>{name}</th>" for name in heads)
    line = "Newest first; press one to open it"
    line += ", or set one beside the open one." if opened_id and len(runs) > 1 else "."
    return (
        f"{title('Stored runs', line)}"
        f'<div class="table scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _pair(settings: Mapping[str, Any]) -> str:
    spec = settings.get("pair")
    spec = spec if isinstance(spec, dict) else {}
    name = spec.get("name") or ""
    models = " ← ".join(short_name(str(spec.get(role, ""))) for role in ("student", "teacher"))
    return str(name or models)


def _when(run: Run) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created))


def _named(run: Run) -> str:
    """A run's name in a comparison, escaped."""
    return esc(f"{_pair(run.settings)}, {_method(run)}, {_when(run)}")


def _line(run: Run, opened_id: str) -> str:
    found = result.report_of(run)
    held_out = found.rates.get("held_out") if found else None
    mine = run.id == opened_id
    beside = (
        f'<button class="link" data-run="{esc(run.id)}" data-do="beside">compare</button>'
        if opened_id and not mine
        else "open"
        if mine
        else ""
    )
    cells = (
        f'<button class="link" data-run="{esc(run.id)}">{_when(run)}</button>',
        esc(_pair(run.settings)),
        esc(f"{run.settings.get('kind', '')} · {_method(run)}"),
        names(found.units) if found and found.units else "–",
        rate(held_out) if held_out else "–",
        str(found.costs.tests) if found else "–",
        esc(run.state),
        beside,
    )
    chosen = ' class="chosen"' if mine else ""
    return f"<tr{chosen}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def opened(dashboard: Dashboard, run: Run) -> str:
    """One run: its result and what it cost."""
    settings, found = run.settings, result.report_of(run)
    head = title(f"{esc(_pair(settings))} · {esc(run.id)}", esc(run.title))
    if run.state == "failed":
        return head + note(esc((run.result or {}).get("error") or "it failed"), "fail")
    if found is None or not found.units:
        way = "resume it below" if _ours(dashboard, settings) else "load its pair to resume it"
        return head + note(
            "This run has no result: it is still going, or it was killed; nothing that was judged "
            f"is lost. You can {way}, or with "
            f"<code>python -m dapa runs resume {esc(run.id)}</code>."
        )
    searched = str(settings.get("kind") or "gate")
    kind = result.kind_of(found.mask, searched)
    share, total = _share(dashboard, settings, kind, found)
    costs = found.costs
    cost = (
        f"{costs.tests} tests, {costs.prompts_judged:,} prompts judged, {costs.tokens:,} tokens, "
        f"{seconds(costs.seconds)}"
    )
    limit = run.settings.get("max_new_tokens")
    if found.confidence is not None:
        again = dashboard.workbench.store.rating(AGAIN, run.id)
        return f"{head}{certified.head(found, kind, limit, again)}"
    kinds = kinds_from(run.result)
    drawn = result.draw(found, kind, total, share, limit=limit, kinds=kinds)
    return f"{head}{drawn}{note(cost)}"


def _below(run: Run) -> str:
    """What stands under a confidence search's picture."""
    found = result.report_of(run)
    if found is None or found.confidence is None:
        return ""
    kind = result.kind_of(found.mask, str(run.settings.get("kind") or "gate"))
    return certified.below(found, kind, kinds_from(run.result))


def _picture(dashboard: Dashboard, run_id: str, dark: bool) -> Any:
    """A stored confidence search's picture; hidden for any other run."""
    if not run_id:
        return certified.picture(None, None, ("", ""), dark)
    run = dashboard.workbench.store.run(run_id)
    found = result.report_of(run)
    if found is None:
        return certified.picture(None, None, ("", ""), dark)
    student = found.rates.get("student_held_out") or found.rates.get("student")
    where = f"{run.title} · seed {run.settings.get('seed', 0)} · {run.id}"
    return certified.picture(found.confidence, student, (run.id, where), dark)


def _method(run: Run) -> str:
    """How it searched: an algorithm, or what a confidence search claims."""
    claim = run.settings.get("claim")
    return str(claim if claim in CONFIDENT else run.settings.get("algorithm", ""))


def _replayed(dashboard: Dashboard, run: Run) -> str:
    """A stored run's tests for the picture."""
    trials = [Trial.from_dict(trial) for trial in dashboard.workbench.store.trials(run.id)]
    algorithm = _method(run)
    head = CLAIMS.get(algorithm) or (
        algorithms.titles[algorithm] if algorithm in algorithms else algorithm
    )
    found = result.report_of(run)
    return replay.encode(run.id, head, trials, target=found.target if found else None)


def _ours(dashboard: Dashboard, settings: Mapping[str, Any]) -> bool:
    """Is the run's pair the loaded one?"""
    spec = settings.get("pair")
    if not isinstance(spec, dict) or not dashboard.workbench.loaded:
        return False
    mine = dashboard.workbench.pair.spec
    return (mine.student, mine.teacher) == (spec.get("student"), spec.get("teacher"))


def _share(
    dashboard: Dashboard, settings: Mapping[str, Any], kind: str, found: SearchReport
) -> tuple[float | None, int]:
    """Share of parameters and number of units; None and 0 where neither run nor pair tells."""
    if found.moves:
        return float(found.moves["fraction"]), int(found.moves["units"])
    if not _ours(dashboard, settings):
        return None, 0
    pair = dashboard.workbench.pair
    return pair.share(found.mask).fraction, len(pair.differs.get(kind, ()))
