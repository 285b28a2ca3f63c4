"""`categories` and `pareto`: what the verdicts of a finished search tell besides its set.

Each runs the search first; with a run store that has seen it, that decodes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dapa.cli import options as o
from dapa.cli.beside import Algorithm, Retain, search_of, searched, short_rate
from dapa.cli.output import Output, progress, table
from dapa.writing.sentences import layers_text, percent


def categories(
    pair: o.PairName = None,
    student: o.Student = None,
    teacher: o.Teacher = None,
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    memory: o.Memory = "auto",
    sites: o.Sites = "gate",
    algorithm: Algorithm = None,
    retain: Retain = 0.9,
    prompts: o.Prompts = None,
    max_new_tokens: o.MaxNewTokens = 48,
    prompt_limit: o.PromptLimit = None,
    seed: o.Seed = 0,
    run_dir: o.RunDir = Path("runs"),
    json: o.Json = None,
) -> None:
    """Show which layer carries which kind of harm: what each category loses without it."""
    output = Output(json)
    chosen = search_of(sites, algorithm, retain, prompts, max_new_tokens, prompt_limit, seed)
    with progress() as report:
        bench, job = searched(
            (pair, student, teacher, dtype, device, memory, sites), chosen, run_dir, report
        )
        found = bench.categories(job)
    rows: list[tuple[Any, ...]] = [
        ("found set", *(short_rate(found.found[name]) for name in found.categories))
    ]
    for unit in found.units:
        lost = found.carried(unit)
        cells = [found.cell(unit, name) for name in found.categories]
        told = [f"{short_rate(c.dsr)}{'*' if c.category in lost else ''}" for c in cells]
        rows.append((f"without {unit}", *told))
    counts = ", ".join(f"{name} {found.found[name].n}" for name in found.categories)
    output.result(
        {"run": job.id, **found.as_dict()},
        table(("DSR in %, 95 % interval", *found.categories), rows),
        f"*: fewer refusals than the found set (paired McNemar, Holm over all cells). n: {counts}.",
    )


def pareto(
    pair: o.PairName = None,
    student: o.Student = None,
    teacher: o.Teacher = None,
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    memory: o.Memory = "auto",
    sites: o.Sites = "gate",
    algorithm: Algorithm = None,
    retain: Retain = 0.9,
    prompts: o.Prompts = None,
    harmless: o.Harmless = None,
    max_new_tokens: o.MaxNewTokens = 48,
    prompt_limit: o.PromptLimit = None,
    every: Annotated[bool, typer.Option("--all", help="Show masks off the front too.")] = False,
    seed: o.Seed = 0,
    run_dir: o.RunDir = Path("runs"),
    json: o.Json = None,
) -> None:
    """Weigh every mask that was judged in full: refusals, size, and KL on harmless prompts."""
    output = Output(json)
    chosen = search_of(sites, algorithm, retain, prompts, max_new_tokens, prompt_limit, seed)
    with progress() as report:
        bench, job = searched(
            (pair, student, teacher, dtype, device, memory, sites), chosen, run_dir, report
        )
        report("measuring KL", None)
        points = bench.pareto(job, utility=True, harmless=harmless)
    shown = [point for point in points if every or point.on_front]
    rows = [
        (
            layers_text(point.mask.layers) if point.mask.entries else "the student",
            percent(point.size, 1),
            point.dsr,
            None if point.utility is None else f"{point.utility:.3g}",
            point.phase,
            "yes" if point.on_front else "",
        )
        for point in shown
    ]
    body = {"run": job.id, "points": [point.as_dict() for point in points]}
    output.result(
        body,
        table(("transplanted", "share", "DSR", "KL, bits/token", "judged in", "front"), rows),
        f"{sum(p.on_front for p in points)} of {len(points)} fully judged masks are on the front.",
    )
