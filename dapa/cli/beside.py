"""`baselines`, `stability` and `necessity`: what stands beside a search.

Each runs the search first; with a run store that has seen it, that decodes nothing. Ctrl-C loses at
most the reply in flight: whatever was judged is in the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dapa.cli import options as o
from dapa.cli.output import Output, Report, progress, table
from dapa.cli.searching import watch
from dapa.writing.sentences import percent, where_text

if TYPE_CHECKING:
    from dapa.core.records import Rate
    from dapa.measure.comparisons import Comparison
    from dapa.search.job import SearchJob
    from dapa.workbench import Workbench

Algorithm = Annotated[str | None, typer.Option(help="The search's algorithm.")]
Retain = Annotated[float, typer.Option(help="Share of the full mask's gain to keep.")]


def baselines(
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
    tests: Annotated[
        int | None,
        typer.Option(min=1, help="Tests each method may spend; the search's own by default."),
    ] = None,
    shams: Annotated[bool, typer.Option(help="Measure sham transplants too.")] = True,
    seed: o.Seed = 0,
    run_dir: o.RunDir = Path("runs"),
    json: o.Json = None,
) -> None:
    """Put the found set beside everything simpler, and beside shams, with the same budget."""
    output = Output(json)
    chosen = search_of(sites, algorithm, retain, prompts, max_new_tokens, prompt_limit, seed)
    with progress() as report:
        bench, job = searched(
            (pair, student, teacher, dtype, device, memory, sites), chosen, run_dir, report
        )
        found = bench.baselines(job, harmless, tests=tests, progress=report)
        body: dict[str, Any] = {"run": job.id, **found.as_dict()}
        rows = [*found.rows]
        if shams and job.report is not None and job.report.units:
            sham = bench.placebos(job, harmless, progress=report)
            body["placebos"] = sham.as_dict()
            rows += [row for row in sham.rows if row.role == "placebo"]
    headers = (
        "what", "units", "share", "DSR search", "DSR held out", "over-refusal", "incoherent",
        "KL, bits/token", "tests", "tokens", "s",
    )  # fmt: skip
    notes = [f"{row.title}: {row.note}." for row in rows if row.note]
    counts = {
        name: rate.n
        for name in ("search", "held_out", "over_refusal", "kl")
        if (rate := getattr(found.row("found"), name)) is not None
    }
    told = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in counts.items())
    output.result(
        body, table(headers, _rows(rows)), f"Rates in %, with 95 % intervals; n: {told}.", *notes
    )


def short_rate(rate: Rate | None) -> str | None:
    """A rate without its n, which all rows of a column share."""
    if rate is None:
        return None
    return f"{100 * rate.value:.0f} [{100 * rate.low:.0f}, {100 * rate.high:.0f}]"


def _rows(rows: Sequence[Comparison]) -> list[tuple[Any, ...]]:
    return [
        (
            row.title,
            len(row.mask),
            None if row.share is None else percent(row.share, 1),
            *map(short_rate, (row.search, row.held_out, row.over_refusal, row.incoherent)),
            None if row.kl is None else f"{row.kl.value:.2g} [{row.kl.low:.1g}, {row.kl.high:.1g}]",
            row.spent.tests,
            row.spent.tokens,
            f"{row.spent.seconds:.1f}",
        )
        for row in rows
    ]


def stability(
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
    orders: Annotated[int, typer.Option(min=0, help="Permutations of the units.")] = 10,
    bootstraps: Annotated[int, typer.Option(min=0, help="Resamples of the prompts.")] = 10,
    seed: o.Seed = 0,
    run_dir: o.RunDir = Path("runs"),
    json: o.Json = None,
) -> None:
    """Search again in other orders, on other prompts, to other targets: how often is each found?"""
    output = Output(json)
    chosen = search_of(sites, algorithm, retain, prompts, max_new_tokens, prompt_limit, seed)
    with progress() as report:
        bench, job = searched(
            (pair, student, teacher, dtype, device, memory, sites), chosen, run_dir, report
        )
        told = bench.stability(job, orders=orders, bootstraps=bootstraps, progress=report)
    often = [(str(unit), rate) for unit, rate in told.inclusion().items() if rate.value]
    sets = [(where_text(units), n) for units, n in told.sets().items()]
    sweep = [r for r in told.repetitions if r.kind == "retain"]
    swept = [(percent(r.retain), where_text(r.units), r.reason) for r in sweep]
    overlap = told.jaccard()
    other = "; ".join(where_text(units) for units in told.alternatives)
    output.result(
        {"run": job.id, **told.as_dict()},
        table(("unit", "in the found set"), often),
        table(("1-minimal set", "times found"), sets),
        table(("gain kept", "set", "ended"), swept),
        "Mean overlap of two sets (Jaccard): " + ("-" if overlap is None else f"{overlap:.2f}."),
        f"Without the commonest set, this satisfies too: {other}."
        if other
        else "Without the commonest set, nothing that is left satisfies.",
    )


def necessity(
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
    controls: Annotated[
        int, typer.Option(min=0, help="Random sets of the same size beside it.")
    ] = 3,
    seed: o.Seed = 0,
    run_dir: o.RunDir = Path("runs"),
    json: o.Json = None,
) -> None:
    """Put the student's weights of the found set into the teacher: does it still refuse?

    Measured only: such a model is never written.
    """
    output = Output(json)
    chosen = search_of(sites, algorithm, retain, prompts, max_new_tokens, prompt_limit, seed)
    with progress() as report:
        bench, job = searched(
            (pair, student, teacher, dtype, device, memory, sites), chosen, run_dir, report
        )
        told = bench.necessity(job, controls=controls, progress=report)
    rows = [
        (
            line.name,
            line.role,
            where_text(line.units),
            line.dsr,
            None if line.p_value is None else f"{line.p_value:.2g}",
        )
        for line in told.ablations
    ]
    output.result(
        {"run": job.id, **told.as_dict()},
        table(("teacher without", "role", "student's weights in", "DSR", "p"), rows),
        "The set is necessary: without it the teacher loses refusals."
        if told.necessary
        else "Not shown to be necessary: the teacher may refuse without it too.",
    )


def search_of(
    sites: str,
    algorithm: str | None,
    retain: float,
    prompts: str | None,
    max_new_tokens: int,
    prompt_limit: int | None,
    seed: int,
) -> dict[str, Any]:
    """What the options say of the search."""
    return {
        "kind": sites,
        **({"algorithm": algorithm} if algorithm else {}),
        "retain": retain,
        "prompts": str(Path(prompts).resolve()) if prompts and Path(prompts).is_file() else prompts,
        "max_new_tokens": max_new_tokens,
        "prompt_limit": prompt_limit,
        "seed": seed,
    }


def searched(
    models: tuple[Any, ...],
    chosen: dict[str, Any],
    run_dir: Path,
    report: Report,
) -> tuple[Workbench, SearchJob]:
    """The search behind the table, run to its end."""
    spec = o.spec_of(*models)
    from dapa.search.settings import SearchSettings
    from dapa.workbench import Workbench

    settings = SearchSettings(**chosen)
    bench = Workbench(run_dir)
    bench.load(spec, report)
    job = bench.search_job(settings)
    watch(job, report)
    return bench, job
