"""Causes: activations restored in the teacher, or carried from one model into the other."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from dapa.figures.causal import patching_heatmap, trace_heatmap
from dapa.localize.causes.patching import PatchMap
from dapa.localize.causes.trace import TraceMap
from dapa.ui.measurements.view import Ask, View, counted, effect, harmful, views
from dapa.ui.parts import esc, note, table
from dapa.ui.tasks import Progress
from dapa.workbench import Workbench
from dapa.writing.sentences import SITE_TITLES, TOKEN_GROUPS

_KINDS = {"mlp": "MLPs restored", "attention": "attention restored", "residual": "states restored"}
_MOST = 10


def _trace(bench: Workbench, ask: Ask, told: Progress, stop: threading.Event) -> TraceMap:
    corruption, _, window = (ask.choice or "twin-1").partition("-")
    return bench.trace(
        harmful(bench, ask),
        corruption=corruption,
        window=int(window),
        seed=ask.seed,
        progress=counted(told, "prompts"),
        stop=stop,
    )


def _draw_trace(found: TraceMap) -> str:
    cells = [
        (float(found.values[k, i, g]), k, i, g)
        for k in range(len(found.kinds))
        for i in range(len(found.layers))
        for g in range(len(found.groups))
        if found.values[k, i, g] == found.values[k, i, g]
    ]
    cells.sort(key=lambda cell: -abs(cell[0]))
    sure = found.significant
    rows = [
        (
            f"layer {found.layers[i]}",
            esc(_KINDS.get(found.kinds[k], found.kinds[k])),
            esc(TOKEN_GROUPS.get(found.groups[g], found.groups[g])),
            f"<b>{value:+.2f}</b> <span class=interval>[{found.low[k, i, g]:+.2f}, "
            f"{found.high[k, i, g]:+.2f}]</span>",
            "yes" if sure[k, i, g] else "not told from 0",
        )
        for value, k, i, g in cells[:_MOST]
    ]
    skipped = (
        f" {found.skipped} of {found.asked} prompts have no equal-length twin and were skipped."
        if found.skipped
        else ""
    )
    return (
        f'<p class="finding">On harmful prompts the teacher’s refusal log-odds are '
        f"{found.clean.value:+.1f}, corrupted {found.corrupt.value:+.1f}: there are "
        f"{effect(found.whole)} to bring back.{skipped}</p>"
        + table(("restored", "what", "at", "brings back", "significant"), rows, numeric=[3])
        + note(
            f"Corrupted by {esc(found.corrupted_by)}; a window of {found.window} "
            f"layer{'s' if found.window > 1 else ''}; n = {found.n} prompts; significant at 5 % "
            "false discoveries over all cells (Benjamini and Hochberg)."
        )
    )


def _trace_figures(found: TraceMap, dark: bool) -> Sequence[tuple[str, Any]]:
    return [(_KINDS[kind], trace_heatmap(found, kind, dark)) for kind in found.kinds]


def _behind_trace(found: TraceMap, layer: int, row: str) -> list[tuple[str, float]]:
    """A row is a group of tokens; both pictures share it, so the MLP's values are shown."""
    groups = {TOKEN_GROUPS.get(group, group): group for group in found.groups}
    if row not in groups or layer not in found.layers:
        return []
    return found.behind(found.kinds[0], layer, groups[row])


views.add("trace", "causal trace")(
    View(
        "Causal trace",
        "What brings refusal back in the teacher",
        "The teacher reads a corrupted prompt; one kind of module in one place is put back to what "
        "it was on the harmful prompt. Blue: refusal comes back. Dots: not told from zero.",
        _trace,
        _draw_trace,
        _trace_figures,
        {
            "twin-1": "harmless twins, one layer",
            "twin-3": "harmless twins, three layers",
            "noise-1": "Gaussian noise, one layer",
            "noise-3": "Gaussian noise, three layers",
        },
        behind=_behind_trace,
    )
)


def _patch(bench: Workbench, ask: Ask, told: Progress, stop: threading.Event) -> PatchMap:
    into, _, position = (ask.choice or "student-all").partition("-")
    return bench.patching(
        [prompt.text for prompt in harmful(bench, ask)],
        into=into,
        position=position,
        seed=ask.seed,
        progress=counted(told, "prompts"),
        stop=stop,
    )


def _draw_patch(found: PatchMap) -> str:
    order = sorted(
        (
            (float(found.values[i, j]), i, j)
            for i in range(len(found.layers))
            for j in range(len(found.sites))
            if found.sites[j] != "residual" and found.values[i, j] == found.values[i, j]
        ),
        key=lambda cell: -abs(cell[0]),
    )
    rows = [
        (
            f"layer {found.layers[i]}",
            esc(SITE_TITLES.get(found.sites[j], found.sites[j])),
            f"<b>{value:+.2f}</b> <span class=interval>[{found.low[i, j]:+.2f}, "
            f"{found.high[i, j]:+.2f}]</span>",
            "yes" if found.significant[i, j] else "not told from 0",
        )
        for value, i, j in order[:_MOST]
    ]
    return (
        f'<p class="finding">The teacher’s refusal log-odds are {effect(found.whole)} above the '
        f"student’s.</p>{table(('layer', 'site', 'moves', 'significant'), rows, numeric=[2])}"
        + note(
            "The largest outside the residual stream, which carries everything below it. "
            f"n = {found.n} prompts; 5 % false discoveries over all cells."
        )
    )


def _behind_patch(found: PatchMap, layer: int, row: str) -> list[tuple[str, float]]:
    sites = {SITE_TITLES.get(site, site): site for site in found.sites}
    if row not in sites or layer not in found.layers:
        return []
    return found.behind(layer, sites[row])


views.add("patching", "patching")(
    View(
        "Patching",
        "One model’s activations in the other",
        "Blue: the place carries refusal. Dots: not told from zero. A residual state carries "
        "everything below it.",
        _patch,
        _draw_patch,
        lambda found, dark: [("by layer and site", patching_heatmap(found, dark))],
        {
            "student-all": "teacher’s into the student, every token",
            "student-last": "teacher’s into the student, last token",
            "teacher-all": "student’s into the teacher, every token",
            "teacher-last": "student’s into the teacher, last token",
        },
        behind=_behind_patch,
    )
)
