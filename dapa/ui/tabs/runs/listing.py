"""The list of stored runs, and how a run is named for people."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from dapa.core.html import Html, html, joined
from dapa.core.records import DapaError, Mask, Rate
from dapa.ui.belonging import is_ours, owner_of, title_of
from dapa.ui.dashboard import Dashboard
from dapa.ui.parts import exactly, hint, names, rate, title
from dapa.ui.tabs.search.result import report_of
from dapa.workbench import KIND, Run, method_of, titled
from dapa.writing.unit_names import searched_text

EMPTY = hint(
    "No runs yet",
    "Every search and every evaluation is kept here. Start one in Search or in Evaluate.",
)
MOST = 200
KINDS = ("search", KIND)


def stored(dashboard: Dashboard) -> list[Run]:
    """The newest searches and evaluations."""
    return [run for run in dashboard.workbench.store.runs() if run.kind in KINDS][:MOST]


def draw(runs: list[Run], opened_id: str = "", dashboard: Dashboard | None = None) -> Html:
    """The list, newest first; once a run is open, each other of its kind may be set beside it.

    With a `dashboard` the runs of other pairs than the loaded one are greyed.
    """
    if not runs:
        return EMPTY
    opened = next((run for run in runs if run.id == opened_id), None)
    rows = joined(_line(run, opened, dashboard) for run in runs)
    heads = ("when", "name", "layers", "DSR, held out", "how", "ended", "pair", "")
    head = joined(html("<th>{}</th>", name) for name in heads)
    line = "Newest first; press one to open it"
    line += ", or set one of its kind beside the open one." if opened and len(runs) > 1 else "."
    return html(
        '{}<div class="table scroll" tabindex="0"><table><thead><tr>{}</tr></thead>'
        "<tbody>{}</tbody></table></div>",
        title("Stored runs", line), head, rows,
    )  # fmt: skip


def pair_of(settings: Mapping[str, Any]) -> str:
    """The pair of a stored run, for people."""
    return title_of(owner_of(settings.get("pair") or {}))


def when(run: Run) -> str:
    """The minute in which it began."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created))


def named(run: Run) -> str:
    """A run's name in a comparison."""
    return f"{pair_of(run.settings)}, {how(run)}, {when(run)}"


def how(run: Run) -> str:
    """How it searched or judged: an algorithm, what a confidence search claims, a judge."""
    if run.kind == KIND:
        told = run.result or {}
        judge = titled(str(told.get("judge") or run.settings.get("judge", "")))
        over = f" · {told['dsr_over']}" if told.get("dsr_over") else ""
        return f"evaluation by {judge}{over}"
    return method_of(run.settings)


def way(run: Run) -> str:
    """The same with the kind of site that was searched and the number of tests."""
    if run.kind == KIND:
        return how(run)
    kind, found = str(run.settings.get("kind") or ""), report_of(run)
    tests = f" · {found.costs.tests} tests" if found else ""
    method = how(run).partition(" (")[0]
    return f"{searched_text(kind)} · {method}{tests}" if kind else method


def layers_of(run: Run) -> str:
    """What a search found, or what an evaluation transplanted."""
    if run.kind == KIND:
        return exactly(Mask.parse(str(run.settings.get("mask") or "")))
    found = report_of(run)
    return names(found.units) if found and found.units else "–"


def rate_of(run: Run) -> Rate | None:
    """The DSR that tells most: held out, of the found set or of the patched model."""
    if run.kind == KIND:
        column = ((run.result or {}).get("models") or {}).get("patched") or {}
        return Rate(**column["dsr"]) if column.get("dsr") else None
    found = report_of(run)
    return found.rates.get("held_out") if found else None


def _line(run: Run, opened: Run | None, dashboard: Dashboard | None) -> Html:
    """A run's row; of one that cannot be read, what can be told: it must not hide the others."""
    try:
        return _told(run, opened, dashboard)
    except (LookupError, TypeError, ValueError, AttributeError, DapaError):
        press = html('<button class="link" data-run="{}">{}</button>', run.id, when(run))
        told = f"{run.title}: unreadable"
        return html('<tr class="other"><td>{}</td><td colspan="7">{}</td></tr>', press, told)


def _told(run: Run, opened: Run | None, dashboard: Dashboard | None) -> Html:
    mine = opened is not None and run.id == opened.id
    beside = "open" if mine else ""
    if opened is not None and not mine and opened.kind == run.kind:
        beside = html(
            '<button class="link" data-run="{}" data-do="beside" '
            'aria-label="compare {} with the open run">compare</button>',
            run.id,
            run.title,
        )
    cells = (
        html('<button class="link" data-run="{}">{}</button>', run.id, when(run)),
        run.title,
        layers_of(run),
        rate(told) if (told := rate_of(run)) else "–",
        way(run),
        run.outcome,
        pair_of(run.settings),
        beside,
    )
    other = dashboard is not None and not is_ours(dashboard, run)
    looks = " ".join(word for word, holds in (("chosen", mine), ("other", other)) if holds)
    row = joined(html("<td>{}</td>", cell) for cell in cells)
    return html('<tr class="{}">{}</tr>', looks, row)
