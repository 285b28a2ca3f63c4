"""Runs: what was searched before; reopen a result and put its layers on the strip."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from dapa.model.pair import short_name
from dapa.records import SettingError
from dapa.search.log import trial_of
from dapa.store import Run
from dapa.ui import strip
from dapa.ui.desk import Desk, guarded, piece, text
from dapa.ui.parts import esc, hint, names, note, rate, seconds, title
from dapa.ui.session import Session, fresh
from dapa.ui.tabs import live, result

_EMPTY = hint("No runs yet", "Every search is kept here with all its tests. Start one in Search.")
_MOST = 200


@dataclass(frozen=True)
class Runs:
    """The tab's components."""

    tab: gr.Tab
    list: gr.HTML
    shown: gr.HTML
    use: gr.Button
    run: gr.State


def build(desk: Desk, tab: gr.Tab) -> Runs:
    """Layout: the list, and the run that is open."""
    with gr.Column(elem_classes="card"):
        listed = piece(_EMPTY, "runs.js", elem_id="runs")
    with gr.Column(elem_classes="card", elem_id="run-card"):
        shown = piece(hint("No run is open", "Choose one of the list."), elem_id="run")
        with gr.Row(elem_classes="buttons"):
            use = gr.Button(
                "Use these layers", elem_classes="primary-action", visible=False, elem_id="run-use"
            )
    return Runs(tab, listed, shown, use, gr.State(""))


def wire(desk: Desk, parts: Runs, session: gr.State, wheel: gr.HTML, steer: dict[str, Any]) -> Any:
    """List when the tab opens, show a run, apply it; returns the applying event."""

    @guarded
    def fill() -> str:
        return draw(desk.workbench.store.runs()[:_MOST])

    @guarded
    def show(event: gr.EventData) -> tuple[Any, ...]:
        data = getattr(event, "_data", None)
        run_id = text(data.get("run") if isinstance(data, dict) else None, "the run", 200)
        run = desk.workbench.store.run(run_id)
        found = result.mask_of(run.result) if run.state != "failed" else None
        return run.id, opened(desk, run), gr.update(visible=bool(found and found.entries))

    @guarded
    def use(here: Session, run_id: Any) -> tuple[Session, str]:
        run = desk.workbench.store.run(text(run_id, "the run", 200))
        mask = result.mask_of(run.result)
        if not mask.entries:
            raise SettingError("this run found no layers; open another")
        pair = desk.workbench.pair
        pair.validate(mask)
        base = here if here.epoch == desk.epoch else fresh(desk.epoch, pair)
        kind = mask.units[0].kind
        now = replace(base, found=mask, kind=kind).press(mask, 1.0)
        return now, strip.draw(desk, now)

    quiet: dict[str, Any] = {"show_progress": "hidden"}
    parts.tab.select(fill, None, parts.list, api_name="runs_list", **quiet)
    parts.list.select(
        show, None, [parts.run, parts.shown, parts.use], api_name="runs_show", **quiet
    )
    return parts.use.click(
        use, [session, parts.run], [session, wheel], api_name="runs_use", **steer
    )


def draw(runs: list[Run]) -> str:
    """The list, newest first."""
    if not runs:
        return _EMPTY
    rows = "".join(_line(run) for run in runs)
    head = "".join(
        f"<th>{name}</th>" for name in ("when", "pair", "what", "found", "held-out DSR", "state")
    )
    return (
        f"{title('Stored runs', 'Newest first; press one to open it.')}"
        f'<div class="table scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _pair(settings: Mapping[str, Any]) -> str:
    spec = settings.get("pair") or {}
    name = spec.get("name") or ""
    models = f"{short_name(spec.get('student', ''))} ← {short_name(spec.get('teacher', ''))}"
    return str(name or models)


def _line(run: Run) -> str:
    found = result.mask_of(run.result) if run.state != "failed" else None
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created))
    held_out = result.rate_of(((run.result or {}).get("dsr") or {}).get("held_out"))
    cells = (
        f'<button class="link" data-run="{esc(run.id)}">{when}</button>',
        esc(_pair(run.settings)),
        esc(f"{run.settings.get('kind', '')} · {run.settings.get('algorithm', '')}"),
        names(found.units) if found is not None and found.entries else "–",
        rate(held_out) if held_out else "–",
        esc(run.state),
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def opened(desk: Desk, run: Run) -> str:
    """One run: its result, what it cost, and its tests."""
    settings, body = run.settings, run.result or {}
    head = title(f"{esc(_pair(settings))} · {esc(run.id)}", esc(run.title))
    if run.state == "failed":
        return head + note(esc(body.get("error") or "it failed"), "fail")
    if not body.get("units"):
        return head + note(
            "This run has no result: it is still going, or it was killed. "
            f"<code>python -m dapa runs resume {esc(run.id)}</code> goes on where it was."
        )
    kind = str(settings.get("kind") or "gate")
    share, total = _share(desk, settings, kind, body)
    trials = [trial_of(trial) for trial in desk.workbench.store.trials(run.id)]
    layers = sorted({layer for trial in trials for layer in trial.outcome.mask.layers})
    cost = (
        f"{body.get('tests', 0)} tests, {body.get('prompts_judged', 0):,} prompts judged, "
        f"{body.get('tokens', 0):,} tokens, {seconds(float(body.get('seconds') or 0))}"
    )
    return (
        f"{head}{result.draw(body, kind, total, share)}{note(cost)}"
        f'<details><summary class="link">Every test</summary>{live.LEGEND}'
        f"{live.grid(trials, layers)}</details>"
    )


def _share(
    desk: Desk, settings: Mapping[str, Any], kind: str, body: Mapping[str, Any]
) -> tuple[float | None, int]:
    """Share of parameters and number of units, where the run's pair is the loaded one."""
    spec = settings.get("pair") or {}
    if not desk.workbench.loaded:
        return None, 0
    pair = desk.workbench.pair
    if (pair.spec.student, pair.spec.teacher) != (spec.get("student"), spec.get("teacher")):
        return None, 0
    return pair.share(result.mask_of(body)).fraction, len(pair.differs.get(kind, ()))
