"""Where prompts stand: along the refusal direction, and in two dimensions."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from dapa.figures.directions import direction_chart, projection_slides, separation_chart
from dapa.localize.directions import DirectionMap
from dapa.localize.projection import Projection
from dapa.ui.measurements.view import Ask, View, both, counted, views
from dapa.ui.parts import esc, note, rate, table
from dapa.ui.tasks import Progress
from dapa.workbench import Workbench


def _along(bench: Workbench, ask: Ask, told: Progress, stop: threading.Event) -> DirectionMap:
    bad, good = both(bench, ask)
    progress = counted(told, "prompts")
    return bench.directions(bad, good, mask=ask.mask, seed=ask.seed, progress=progress, stop=stop)


def _draw_along(found: DirectionMap) -> str:
    last = len(found.layers) - 1
    rows = []
    for pane in found.panes:
        best = max(range(len(found.layers)), key=lambda i: found.separation[pane][i].value)
        ends = [found.along[pane][kind].values[last] for kind in ("harmful", "harmless")]
        rows.append(
            (
                esc(pane),
                f"{ends[0]:.2f}",
                f"{ends[1]:.2f}",
                rate(found.separation[pane][last]),
                f"{rate(found.separation[pane][best])} at layer {found.layers[best]}",
            )
        )
    head = ("model", "harmful, last layer", "harmless, last layer", "AUC, last layer", "best AUC")
    return (
        '<p class="finding">At each layer 0 is the teacher on harmless prompts, 1 on harmful ones.'
        f"</p>{table(head, rows, numeric=[1, 2])}"
        + note(
            "The direction is the difference of means, fitted on one half of the prompts and shown "
            "on the other. AUC: how often a harmful prompt lies further along it than a harmless "
            "one. 95 % intervals."
        )
    )


def _along_figures(found: DirectionMap, dark: bool) -> Sequence[tuple[str, Any]]:
    return [
        ("along the direction", direction_chart(found, dark)),
        ("separation (AUC)", separation_chart(found, dark)),
    ]


views.add("directions", "refusal direction")(
    View(
        "Refusal direction",
        "How far along the refusal direction each model stands, by layer",
        "Student, the strip’s patched model, and teacher; harmful solid, harmless dotted.",
        _along,
        _draw_along,
        _along_figures,
        by_layer=False,
        masked=True,
    )
)


def _plane(bench: Workbench, ask: Ask, told: Progress, stop: threading.Event) -> Projection:
    bad, good = both(bench, ask)
    return bench.projection(bad, good, mask=ask.mask, progress=counted(told, "prompts"), stop=stop)


def _draw_plane(found: Projection) -> str:
    return note(
        "Last-token states of each layer in their first two principal components, fitted once per "
        f"layer on student and teacher together. n = {len(found.prompts)} prompts. Near points "
        "are near in these two components only."
    )


views.add("projection", "projection")(
    View(
        "Projection",
        "Harmful and harmless prompts in two dimensions",
        "Drag the slider from layer to layer. Filled: harmful, open: harmless.",
        _plane,
        _draw_plane,
        lambda found, dark: [("by layer", projection_slides(found, dark))] if found.prompts else [],
        by_layer=False,
        masked=True,
    )
)
