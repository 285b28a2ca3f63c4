"""`dose`: strength of a transplant against DSR, the found set beside a sham."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dapa.cli import options as o
from dapa.cli.beside import Algorithm, Retain, search_of, searched
from dapa.cli.evaluating import stopping
from dapa.cli.output import Output, progress, table
from dapa.core.records import Prompt, SettingError
from dapa.writing.sentences import layers_text


def dose(
    pair: o.PairName = None,
    student: o.Student = None,
    teacher: o.Teacher = None,
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    memory: o.Memory = "auto",
    layers: Annotated[
        str, typer.Option(help="The set, such as 4-8; without it, what a search finds.")
    ] = "",
    sites: o.Sites = "gate",
    strengths: Annotated[
        str, typer.Option(help="From 0 to 1, with commas; eleven steps by default.")
    ] = "",
    sham: Annotated[str, typer.Option(help="permuted, other-layer or flipped.")] = "permuted",
    algorithm: Algorithm = None,
    retain: Retain = 0.9,
    prompts: o.Prompts = None,
    max_new_tokens: o.MaxNewTokens = 48,
    prompt_limit: o.PromptLimit = None,
    seed: o.Seed = 0,
    run_dir: o.RunDir = Path("runs"),
    json: o.Json = None,
) -> None:
    """Raise the transplant's strength step by step, and a sham's beside it, and count refusals."""
    output = Output(json)
    steps = _steps(strengths)
    chosen = o.mask_of(o.parse_layers(layers), sites)
    with progress() as report, stopping() as stop:
        models = (pair, student, teacher, dtype, device, memory, sites)
        if chosen.entries:
            spec = o.spec_of(*models)
            from dapa.workbench import Workbench

            bench = Workbench(run_dir)
            bench.load(spec, report)
            mask, asked = chosen, _held_out(bench, prompts, seed)
        else:
            search = search_of(
                sites, algorithm, retain, prompts, max_new_tokens, prompt_limit, seed
            )
            bench, job = searched(models, search, run_dir, report)
            assert job.report is not None, "a search that ends well has a report"
            mask, asked = job.report.mask, job.held_out or job.prompts
        found = bench.dose(
            asked,
            mask,
            max_new_tokens=max_new_tokens,
            sham=sham,
            seed=seed,
            progress=report,
            stop=stop,
            **({"strengths": steps} if steps else {}),
        )
    curves = [found.curve(name) for name in ("found", "sham")]
    beside = {point.strength: point for point in curves[1]}
    rows: list[tuple[Any, ...]] = []
    for point in curves[0]:
        other = beside.get(point.strength)
        rows.append(
            (f"{point.strength:g}", point.dsr, point.incoherent, other and other.dsr,
             other and other.incoherent)
        )  # fmt: skip
    half = "never" if found.half is None else f"at strength {found.half:g}"
    output.result(
        found.as_dict(),
        f"Moving {layers_text(list(mask.layers))} by parts; half of the highest DSR is reached "
        f"{half}.",
        table(("strength", "DSR", "incoherent", f"DSR, sham ({sham})", "incoherent, sham"), rows),
        *([] if found.complete else ["Stopped early; the same command again goes on."]),
    )
    if stop.is_set():
        raise typer.Exit(130)


def _steps(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise SettingError(f"strengths {text[:60]!r} are no numbers; write 0,0.5,1") from None


def _held_out(bench: Any, prompts: str | None, seed: int) -> tuple[Prompt, ...]:
    """Prompts that chose nothing, or all where the set is not split."""
    found = bench.prompts(prompts, "harmful")
    own: tuple[Prompt, ...] = tuple(p for p in found.prompts if p.split == "held_out")
    return own or tuple(found.prompts)
