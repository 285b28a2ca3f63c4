"""Where the refusal gap sits at all, and how far the weights are apart."""

from __future__ import annotations

import threading

from dapa.figures.gap import gap_chart, template_chart, template_title
from dapa.figures.weights import weights_heatmap
from dapa.localize.gap import GapBudget
from dapa.localize.weights import MEASURES, WeightMap
from dapa.ui.measurements.view import Ask, View, counted, effect, harmful, views
from dapa.ui.parts import esc, note, percent, table
from dapa.ui.tasks import Progress
from dapa.workbench import Workbench

_MOST = 12


def _gap(bench: Workbench, ask: Ask, told: Progress, stop: threading.Event) -> GapBudget:
    texts = [prompt.text for prompt in harmful(bench, ask)]
    return bench.gap(texts, progress=counted(told, "prompts"), stop=stop)


def told_gap(found: GapBudget) -> str:
    """The budget in a sentence: where the gap sits, hedged where the interval includes zero."""
    whole = found.whole
    if not whole.low > 0:
        return (
            "The teacher's refusal log-odds are not clearly above the student's "
            f"({whole.value:+.2f} [{whole.low:+.2f}, {whole.high:+.2f}], n = {whole.n}): "
            "there may be nothing to find."
        )
    largest = found.largest
    start = (
        f"The teacher's refusal log-odds stand {whole.value:.1f} above the student's "
        f"(n = {whole.n})."
    )
    if largest is None:
        return f"{start} No part of the weights differs: look at the templates."
    share = largest.alone.value / whole.value
    if not largest.alone.low > 0:
        return f"{start} No single part of the model clearly brings any of it alone."
    return f"{start} The {largest.title} alone bring {percent(max(share, 0.0), 0)} of that."


def _draw_gap(found: GapBudget) -> str:
    rows = [
        (esc(row.title), effect(row.alone), effect(row.left_out), percent(row.share))
        if row.differs
        else (esc(row.title), "equal in both", "", percent(row.share))
        for row in found.rows
    ]
    cells = [
        (esc(template_title(cell)), esc(cell.weights), esc(cell.reason) or effect(cell.log_odds))
        for cell in found.templates
    ]
    head = ("part", "alone", "left out", "of all parameters")
    return (
        f'<p class="finding">{esc(told_gap(found))}</p><div class="two uneven">'
        f"{table(head, rows, numeric=[3])}"
        f"{table(('template', 'weights', 'refusal log-odds'), cells)}</div>"
        + note(
            "Alone: the student with the teacher’s part. Left out: what the teacher loses with the "
            f"student’s part. Parts do not add up. n = {found.whole.n} prompts, 95 % intervals."
        )
    )


views.add("gap", "where at all")(
    View(
        "Where at all?",
        "Where the refusal gap sits",
        "Each part of the model alone and left out, then both models under each template: look "
        "here before any search.",
        _gap,
        _draw_gap,
        lambda found, dark: [
            ("by part of the model", gap_chart(found, dark)),
            ("by chat template", template_chart(found, dark)),
        ],
        by_layer=False,
    )
)


def _weights(bench: Workbench, ask: Ask, told: Progress, stop: threading.Event) -> WeightMap:
    return bench.weights(None, ask.seed, counted(told, "tensors"), stop)


def _draw_weights(found: WeightMap) -> str:
    equal = sum(t.relative == 0 for t in found.tensors)
    far = sorted(found.tensors, key=lambda t: -(t.relative or 0.0))[:_MOST]
    rows = [
        (
            f"<code>{esc(t.name)}</code>",
            "–" if t.relative is None else f"{t.relative:.3g}",
            "–" if t.cosine is None else f"{t.cosine:.3g}",
            "–" if t.rank is None else f"{t.rank.value:.3g} of {min(t.shape)}",
        )
        for t in far
    ]
    head = ("tensor", "relative Frobenius", "cosine distance", "effective rank of the difference")
    return (
        f'<p class="finding">{equal:,} of {len(found.tensors):,} tensors are equal in both models.'
        f"</p>{table(head, rows, numeric=[1, 2, 3])}"
        + note(f"The {len(far)} furthest apart; the CSV has all. A large change need not matter.")
    )


views.add("weights", "weights")(
    View(
        "Weights",
        "How far the weights are apart, tensor by tensor",
        "Read from the files. A large change need not matter: what matters is told by the causal "
        "views.",
        _weights,
        _draw_weights,
        lambda found, dark: [
            (f"by {title}", weights_heatmap(found, name, dark)) for name, title in MEASURES.items()
        ],
    )
)
