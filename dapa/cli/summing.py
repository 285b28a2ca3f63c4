"""`summary` and `whatif`: all measures by layer in one look, and one prompt under single flips."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dapa.cli import options as o
from dapa.cli.causes import Limit
from dapa.cli.exports import Csv, Exports, Html
from dapa.cli.output import one_line, progress, table


def summary(
    pair: o.PairName = None,
    student: o.Student = None,
    teacher: o.Teacher = None,
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    memory: o.Memory = "auto",
    sites: o.Sites = "gate",
    prompts: o.Prompts = None,
    harmless: o.Harmless = None,
    prompt_limit: Limit = 32,
    seed: o.Seed = 0,
    run_dir: o.RunDir = Path("runs"),
    json: o.Json = None,
    html: Html = None,
    csv: Csv = None,
) -> None:
    """Put every measure of every layer side by side: which cheap map predicts the causal one?

    A column that cannot be computed stays empty, with a word on stderr. Ctrl-C leaves out the
    columns that are not finished.
    """
    exports = Exports(json, html, csv)
    spec = o.spec_of(pair, student, teacher, dtype, device, memory, sites)
    from dapa.localize.summary import COLUMNS
    from dapa.workbench import Workbench

    bench = Workbench(run_dir)
    with progress() as report, exports.stoppable() as stop:
        bench.load(spec, report)
        found = bench.summary(
            o.search_set(bench, prompts, "harmful", prompt_limit, seed),
            sites,
            harmless=bench.prompts(harmless, "harmless").texts if harmless else (),
            seed=seed,
            progress=report,
            stop=stop,
        )
    for name, why in found.missing.items():
        print(one_line(f"{name} is left out: {why}"), file=sys.stderr)

    def drawings() -> list[tuple[str, Any]]:
        from dapa.figures.summary import agreement_heatmap, summary_heatmap

        return [
            ("Every measure by layer", summary_heatmap(found)),
            ("Do the measures rank the layers alike?", agreement_heatmap(found)),
        ]

    best = found.best_cheap
    told = "No cheap measure can be held against leaving layers out."
    if best is not None:
        told = (
            f"Of the cheap measures, {COLUMNS[best[0]][0]} ranks the layers most like leaving them "
            f"out does: rank correlation {best[1].rho:.2f} [{best[1].low:.2f}, {best[1].high:.2f}],"
            f" permutation p {best[1].p:.2g}, {best[1].n} layers."
        )
    origin = o.sourced(found.provenance, bench, prompts, seed)
    exports.result(
        found.as_dict(),
        "All measures by layer",
        origin,
        found.table(),
        drawings,
        origin,
        table(
            ("layer", *(name.replace("_", " ") for name in COLUMNS)),
            [[_cell(value) for value in row.values()] for row in found.rows],
        ),
        told,
        note="Each row is a share of its own largest value. Blue: the layer carries refusal. "
        "The second picture correlates the rows; dots: p above 0.05.",
    )


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else value


def whatif(
    prompt: Annotated[str, typer.Option(help="The request.")],
    pair: o.PairName = None,
    student: o.Student = None,
    teacher: o.Teacher = None,
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    memory: o.Memory = "auto",
    layers: o.Layers = "",
    sites: o.Sites = "gate",
    units: o.Units = "",
    json: o.Json = None,
    html: Html = None,
    csv: Csv = None,
) -> None:
    """Tell how likely a reply opens with a refusal if just one layer more, or less, were moved.

    --layers is what is transplanted now.
    """
    exports = Exports(json, html, csv)
    mask = o.chosen_mask(layers, sites, units)
    spec = o.spec_of(pair, student, teacher, dtype, device, memory, sites, units)
    from dapa.workbench import Workbench

    bench = Workbench()
    with progress() as report:
        bench.load(spec, report)
        report("flipping layers", None)
        found = bench.what_if(prompt, mask, sites)

    def drawings() -> list[tuple[str, Any]]:
        from dapa.figures.whatif import what_if_strip

        return [
            ("Refusal if just this layer were flipped", what_if_strip(found, bench.pair.n_layers))
        ]

    cells = [(c.unit, c.added, c.refusal, c.log_odds, c.effect) for c in found.cells]
    shown = [
        (str(unit), "put in" if added else "taken out", f"{100 * p:.1f} %", f"{effect:+.2f}")
        for unit, added, p, _, effect in cells
    ]
    origin = (
        f"{bench.pair.spec.title} · what if one of {len(cells)} were flipped, refusal log-odds · "
        f"mask {found.mask.key or 'empty'} · 1 prompt"
    )
    exports.result(
        found.as_dict(),
        "What if one layer were flipped",
        origin,
        (("unit", "added", "refusal", "log_odds", "effect"), cells),
        drawings,
        origin,
        f"Now the reply opens with a refusal with probability {100 * found.refusal:.1f} %.",
        table(("unit", "flipped", "refusal then", "change of log-odds"), shown),
        note="Probability, after the flip, that the first word of the reply opens a refusal.",
    )
