"""`gradients` and `interaction`: what units do to refusal log-odds, one by one and in pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dapa.cli import options as o
from dapa.cli.exports import Csv, Exports, Html
from dapa.cli.output import Report, progress, table
from dapa.core.records import Unit

if TYPE_CHECKING:
    from dapa.localize.causes.flips import Effect
    from dapa.workbench import Workbench

Few = Annotated[int | None, typer.Option(help="At most so many prompts, by category and seed.")]


def gradients(
    pair: o.PairName = None,
    student: o.Student = None,
    teacher: o.Teacher = None,
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    memory: o.Memory = "auto",
    sites: o.Sites = "gate",
    prompts: o.Prompts = None,
    prompt_limit: Few = 16,
    points: Annotated[int, typer.Option(help="Points on the path from student to full.")] = 16,
    neurons: Annotated[int, typer.Option(help="Name so many of each unit's neurons.")] = 0,
    check: Annotated[bool, typer.Option(help="Hold the ranking against true single flips.")] = True,
    seed: o.Seed = 0,
    json: o.Json = None,
    html: Html = None,
    csv: Csv = None,
) -> None:
    """Share the whole effect on refusal log-odds out among units, by mask gradients.

    Slopes are integrated while all strengths move from 0 to 1; the residual is what their sum
    misses. --sites takes several kinds, as in gate,up.
    """
    exports = Exports(json, html, csv)
    spec = o.spec_of(pair, student, teacher, dtype, device, memory, sites)
    from dapa.localize.rank_agreement import rank_agreement
    from dapa.workbench import Workbench

    bench = Workbench()
    with progress() as report:
        bench.load(spec, report)
        units, asked = _asked(bench, sites, prompts, prompt_limit, seed)
        seen = _listener(report, "taking gradients")
        found = bench.gradients(asked, units, points=points, progress=seen)
        body = found.as_dict(neurons)
        agreed = ""
        if check:
            flips = bench.flips(asked, units, progress=_listener(report, "flipping units"))
            held = {f.kind.replace(" ", "_"): rank_agreement(found.values, f.values) for f in flips}
            body["agreement"] = {name: agreement.as_dict() for name, agreement in held.items()}
            agreed = "; ".join(
                f"{name.replace('_', ' ')} {a.rho:.2f} [{a.low:.2f}, {a.high:.2f}]"
                for name, a in held.items()
            )
    rows: list[tuple[Any, ...]] = []
    for unit in found.ranked:
        effect = found.effects[found.units.index(unit)]
        named = [f"{s} {n} ({v:+.2f})" for s, n, v in found.strongest(unit, neurons)]
        rows.append((unit, _told(effect), *([", ".join(named)] if neurons else [])))
    sums = (
        f"The shares sum to {body['total']:.3f}; the whole effect is {_told(found.whole)}; "
        f"residual {found.residual.value:+.3f}, {100 * found.error:.1f} % of it."
    )
    headers = ("unit", "share of the effect", *(["strongest neurons"] if neurons else []))

    def drawings() -> list[tuple[str, Any]]:
        from dapa.figures.effects import effects_chart

        lines = [
            (str(unit), {"share of the effect": effect})
            for unit, effect in zip(found.units, found.effects, strict=True)
        ]
        return [("Each unit's share of the whole effect", effects_chart(lines, found.whole))]

    origin = o.sourced(found.provenance, bench, prompts, seed)
    exports.result(
        body,
        "Mask gradients",
        origin,
        found.table(),
        drawings,
        origin,
        table(headers, rows),
        sums,
        *([f"Rank correlation with true single flips: {agreed}."] if agreed else []),
        note=sums,
    )


def interaction(
    pair: o.PairName = None,
    student: o.Student = None,
    teacher: o.Teacher = None,
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    memory: o.Memory = "auto",
    layers: o.Layers = "",
    sites: o.Sites = "gate",
    prompts: o.Prompts = None,
    prompt_limit: Few = 16,
    seed: o.Seed = 0,
    json: o.Json = None,
    html: Html = None,
    csv: Csv = None,
) -> None:
    """Measure how far the effects of each two units do not add up, in refusal log-odds.

    All units that differ, or those of --layers.
    """
    exports = Exports(json, html, csv)
    chosen = o.parse_layers(layers)
    spec = o.spec_of(pair, student, teacher, dtype, device, memory, sites)
    from dapa.workbench import Workbench

    bench = Workbench()
    with progress() as report:
        bench.load(spec, report)
        units, asked = _asked(bench, sites, prompts, prompt_limit, seed)
        if chosen:
            units = o.mask_of(chosen, sites).units
        seen = _listener(report, "measuring pairs of units")
        found = bench.interaction(asked, units, progress=seen)

    def cell(i: int, j: int) -> str:
        if i == j:
            return f"({found.alone[i].value:+.2f})"
        sure = found.low[i, j] > 0 or found.high[i, j] < 0
        return f"{found.values[i, j]:+.2f}" + ("*" if sure else "")

    places = range(len(units))
    rows = [(units[i], *(cell(i, j) for j in places)) for i in places]

    def drawings() -> list[tuple[str, Any]]:
        from dapa.figures.inner import interaction_heatmap

        return [("Two units together, beyond the sum of each alone", interaction_heatmap(found))]

    origin = o.sourced(found.provenance, bench, prompts, seed)
    how = "Above 0: two units bring more refusal together than apart."
    exports.result(
        found.as_dict(),
        "Units in pairs",
        origin,
        found.table(),
        drawings,
        origin,
        table(("", *map(str, units)), rows),
        f"{how} On the diagonal each alone. *: the 95 % interval leaves out 0.",
        note=f"{how} Dots: the 95 % interval includes 0.",
    )


def _asked(
    bench: Workbench, sites: str, prompts: str | None, limit: int | None, seed: int
) -> tuple[tuple[Unit, ...], list[str]]:
    """The units of all the kinds named, and the prompts."""
    units = bench.pair.units(sites)
    return units, o.search_prompts(bench, prompts, "harmful", limit, seed)


def _listener(report: Report, what: str) -> Any:
    return lambda done, total: report(what, done / total)


def _told(effect: Effect) -> str:
    return f"{effect.value:+.3f} [{effect.low:+.3f}, {effect.high:+.3f}], n = {effect.n}"
