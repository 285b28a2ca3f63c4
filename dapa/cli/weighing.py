"""`weights` and `gap`: where the two models differ at all, before any layer is looked at."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dapa.cli import options as o
from dapa.cli.exports import Csv, Exports, Html
from dapa.cli.output import progress, table
from dapa.writing.sentences import percent

_MOST = 12


def weights(
    pair: o.PairName = None,
    student: o.Student = None,
    teacher: o.Teacher = None,
    rank: Annotated[
        bool, typer.Option(help="Effective ranks too; most of the time of a large pair goes there.")
    ] = True,
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

    with progress() as report, exports.stoppable() as stop:
        found = Workbench().weights(
            spec,
            seed,
            lambda done, total: report("comparing tensors", done / total),
            stop,
            ranks=rank,
        )

    def drawings() -> list[tuple[str, Any]]:
        from dapa.figures.weights import weights_heatmap

        shown = {k: title for k, title in MEASURES.items() if rank or k != "rank"}
        return [(f"By {title}", weights_heatmap(found, name)) for name, title in shown.items()]

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


def gap(
    pair: o.PairName = None,
    student: o.Student = None,
    teacher: o.Teacher = None,
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    memory: o.Memory = "auto",
    system: Annotated[
        str, typer.Option(help="A system prompt: the templates are told with and without it.")
    ] = "",
    prompts: o.Prompts = None,
    prompt_limit: o.PromptLimit = None,
    seed: o.Seed = 0,
    json: o.Json = None,
    html: Html = None,
    csv: Csv = None,
) -> None:
    """Tell where the refusal gap sits at all: gates, rest of the MLP, attention, norms, ends.

    Each part alone (the student with the teacher's part) and left out (the teacher with the
    student's), in refusal log-odds; then both models under each chat template.
    """
    exports = Exports(json, html, csv)
    spec = o.spec_of(pair, student, teacher, dtype, device, memory)
    from dapa.prompts.format import PromptFormat
    from dapa.workbench import Workbench

    bench = Workbench()
    with progress() as report, exports.stoppable() as stop:
        bench.load(spec, report)
        found = bench.gap(
            o.search_prompts(bench, prompts, "harmful", prompt_limit, seed),
            how=PromptFormat(system=system),
            progress=lambda done, total: report("measuring", done / total),
            stop=stop,
        )

    def drawings() -> list[tuple[str, Any]]:
        from dapa.figures.gap import gap_chart, template_chart

        return [
            ("Refusal gained by each part of the model", gap_chart(found)),
            ("Both models under each chat template", template_chart(found)),
        ]

    from dapa.figures.gap import template_title

    parts = [
        (row.title, o.effect_text(row.alone), o.effect_text(row.left_out), percent(row.share, 1))
        if row.differs
        else (row.title, "equal in both", "", percent(row.share, 1))
        for row in found.rows
    ]
    templates = [
        (template_title(c), c.weights, c.reason or o.effect_text(c.log_odds))
        for c in found.templates
    ]
    most, origin = found.largest, o.sourced(found.provenance, bench, prompts, seed)
    exports.result(
        found.as_dict(),
        "Where the refusal gap sits",
        origin,
        found.table(),
        drawings,
        origin,
        f"Refusal log-odds: student {found.student.value:+.2f}, teacher {found.teacher.value:+.2f};"
        f" the gap is {o.effect_text(found.whole)}."
        + (f" Most of it comes alone with: {most.title}." if most else " No part differs."),
        table(("part", "alone", "left out", "share of parameters"), parts),
        table(("template", "weights", "refusal log-odds"), templates),
        note="Alone: the student with the teacher's part. Left out: the teacher less the teacher "
        "with the student's part. Parts need not add up to the whole gap (dashed).",
    )
