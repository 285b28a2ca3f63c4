"""All measures side by side, a row per layer: which cheap one predicts the causal one?"""

from __future__ import annotations

import threading
from typing import Any

from dapa.figures.summary import agreement_heatmap, summary_heatmap
from dapa.localize.summary import COLUMNS, Summary
from dapa.ui.measurements.view import Ask, View, harmful, views
from dapa.ui.parts import esc, note, table
from dapa.ui.tasks import Progress
from dapa.workbench import Workbench


def _summary(bench: Workbench, ask: Ask, told: Progress, stop: threading.Event) -> Summary:
    return bench.summary(harmful(bench, ask), ask.kind, seed=ask.seed, progress=told, stop=stop)


def _draw(found: Summary) -> str:
    shown = [name for name in COLUMNS if name in found.columns]
    rows = [(f"<b>{row['layer']}</b>", *(_cell(row[name]) for name in shown)) for row in found.rows]
    missing = "; ".join(f"{COLUMNS[name][0]}: {why}" for name, why in found.missing.items())
    units = [f"{esc(COLUMNS[name][0])}<small>{esc(COLUMNS[name][1])}</small>" for name in shown]
    return (
        f'<p class="finding">{esc(_told(found))}</p><div class="sortable">'
        f"{table(('layer', *units), rows, numeric=range(1, len(shown) + 1))}</div>"
        + note(
            f"Higher matters more in every column; press a heading to sort. n = {found.n} prompts."
            + (f" Left out: {esc(missing)}." if missing else "")
        )
    )


def _told(found: Summary) -> str:
    best = found.best_cheap
    if best is None:
        return "No cheap measure can be held against leaving layers out."
    name, agreement = best
    return (
        f"Of the measures that transplant nothing, {COLUMNS[name][0]} ranks the layers most like "
        f"leaving them out does: rank correlation {agreement.rho:.2f} [{agreement.low:.2f}, "
        f"{agreement.high:.2f}], permutation p {agreement.p:.2g}, {agreement.n} layers."
    )


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return '<span class="badge yes">yes</span>' if value else ""
    return f"{value:.3g}"


views.add("summary", "summary")(
    View(
        "Summary",
        "What each layer does, every way side by side",
        "Each row of the picture is a share of its own largest value. Blue: the layer carries "
        "refusal.",
        _summary,
        _draw,
        lambda found, dark: [
            ("every measure by layer", summary_heatmap(found, dark)),
            ("do they rank alike?", agreement_heatmap(found, dark)),
        ],
    )
)
