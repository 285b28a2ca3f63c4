"""`weights` and `gap`: where the two models differ at all, before any layer is looked at."""

from __future__ import annotations

from typing import Any

from dapa.cli import options as o
from dapa.cli.exports import Csv, Exports, Html, stoppable
from dapa.cli.output import progress, table

_MOST = 12


def weights(
    pair: o.PairName = None,
    student: o.Student = None,
    teacher: o.Teacher = None,
    seed: o.Seed = 0,
    json: o.Json = None,
    html: Html = None,
    csv: Csv = None,
) -> None:
    """Compare every weight tensor of the two checkpoints, without building a model.

    Ctrl-C stops with the tensors compared so far.
    """
    exports = Exports(json, html, csv)
    spec = o.spec_of(pair, student, teacher, "auto", "auto")
    from dapa.localize.weights import MEASURES
    from dapa.workbench import Workbench

    with progress() as report, stoppable() as stop:
        found = Workbench().weights(
            spec, seed, lambda done, total: report("comparing tensors", done / total), stop
        )

    def drawings() -> list[tuple[str, Any]]:
        from dapa.figures.weights import weights_heatmap

        return [(f"By {title}", weights_heatmap(found, name)) for name, title in MEASURES.items()]

    far = sorted(found.tensors, key=lambda t: -(t.relative or 0.0))[:_MOST]
    rows = [
        (
            t.name,
            None if t.relative is None else f"{t.relative:.3g}",
            None if t.cosine is None else f"{t.cosine:.3g}",
            None if t.rank is None else f"{t.rank.value:.3g} of {min(t.shape)}",
        )
        for t in far
    ]
    equal = sum(t.relative == 0 for t in found.tensors)
    alone = [
        f"Only the {who} has {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}."
        for who, names in (("student", found.only_student), ("teacher", found.only_teacher))
        if names
    ]
    exports.result(
        found.as_dict(),
        "How far the weights are apart",
        found.provenance,
        found.table(),
        drawings,
        found.provenance,
        f"{equal} of {len(found.tensors)} tensors are equal. The {len(far)} furthest apart:",
        table(("tensor", "relative Frobenius", "cosine distance", "effective rank"), rows),
        *alone,
        note="A column per layer, a row per tensor. A large change need not matter: what matters "
        "is told by the causal maps.",
    )
