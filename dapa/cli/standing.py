"""`directions`: where student, patched and teacher stand between harmless and harmful."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dapa.cli import options as o
from dapa.cli.exports import Csv, Exports, Html
from dapa.cli.output import progress, table

_LIMIT = 128


def directions(
    pair: o.PairName = None,
    student: o.Student = None,
    teacher: o.Teacher = None,
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    memory: o.Memory = "auto",
    layers: Annotated[
        str | None,
        typer.Option(
            help="Layers of the patched model; by default what the newest stored search of this "
            "pair found, else all of them."
        ),
    ] = None,
    sites: o.Sites = "gate",
    projection: Annotated[
        bool, typer.Option(help="Add each prompt's place in two dimensions, layer by layer.")
    ] = False,
    prompts: o.Prompts = None,
    harmless: o.Harmless = None,
    prompt_limit: Annotated[
        int, typer.Option(help="At most so many prompts of each class, by category and seed.")
    ] = _LIMIT,
    seed: o.Seed = 0,
    run_dir: o.RunDir = Path("runs"),
    json: o.Json = None,
    html: Html = None,
    csv: Csv = None,
) -> None:
    """Fit the refusal direction at every layer, and place student, patched and teacher along it.

    It is fitted on one half of the prompts and shown on the other. With --html a picture of the
    prompts in two dimensions comes with it, and with --projection --csv writes that one.
    """
    exports = Exports(json, html, csv)
    chosen = None if layers is None else o.mask_of(o.parse_layers(layers), sites)
    spec = o.spec_of(pair, student, teacher, dtype, device, memory, sites)
    from dapa.workbench import Workbench

    bench = Workbench(run_dir)
    with progress() as report, exports.stoppable() as stop:
        bench.load(spec, report)
        mask = bench.likely_mask(sites) if chosen is None else chosen
        bad, good = _sets(bench, prompts, harmless, prompt_limit, seed)
        found = bench.directions(
            bad,
            good,
            mask=mask,
            seed=seed,
            progress=lambda done, total: report("reading prompts", done / total),
            stop=stop,
        )
        plane = None
        if (projection or html is not None) and not stop.is_set():
            plane = bench.projection(
                bad,
                good,
                mask=mask,
                progress=lambda done, total: report("placing prompts", done / total),
                stop=stop,
            )

    def drawings() -> list[tuple[str, Any]]:
        from dapa.figures.directions import direction_chart, projection_slides, separation_chart

        made = [
            ("Along the refusal direction", direction_chart(found)),
            ("How well harmful and harmless stand apart along it", separation_chart(found)),
        ]
        if plane is not None and plane.prompts:
            made.append(("Prompts in two dimensions, by layer", projection_slides(plane)))
        return made

    rows = []
    for i, layer in enumerate(found.layers):
        for pane in found.panes:
            ends = [found.along[pane][kind].values[i] for kind in ("harmful", "harmless")]
            told = found.separation[pane][i]
            separated = f"{told.value:.2f} [{told.low:.2f}, {told.high:.2f}]"
            numbers = (*(f"{end:.2f}" for end in ends), separated, f"{found.cosine[pane][i]:.2f}")
            rows.append((layer, pane, *numbers))
    origin = o.sourced(found.provenance, bench, prompts, seed)
    body = found.as_dict()
    if projection and plane is not None:
        body["projection"] = plane.as_dict()
    exports.result(
        body,
        "The refusal direction",
        origin,
        plane.table() if projection and plane is not None else found.table(),
        drawings,
        origin,
        table(("layer", "model", "harmful", "harmless", "AUC", "cosine with the teacher's"), rows),
        note="0: the teacher on harmless prompts; 1: the teacher on harmful ones. Fitted on one "
        "half of the prompts, shown on the other. Components are fitted once per layer on student "
        "and teacher together.",
    )


def _sets(
    bench: Any, prompts: str | None, harmless: str | None, limit: int, seed: int
) -> tuple[list[str], list[str]]:
    """Harmful and harmless prompts, twin by twin where the harmful ones name their twins."""
    bad = o.search_set(bench, prompts, "harmful", limit, seed)
    if harmless is None and all(prompt.twin for prompt in bad):
        return [p.text for p in bad], [p.twin for p in bad]
    return [p.text for p in bad], o.search_prompts(bench, harmless, "harmless", limit, seed)
