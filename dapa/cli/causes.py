"""`trace` and `patching`: what happens to refusal when activations are put in other places."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dapa.cli import options as o
from dapa.cli.exports import Csv, Exports, Html
from dapa.cli.output import progress, table
from dapa.core.records import Prompt

_LIMIT = 32
"""Prompts by default: each costs a pass of layers x places rows."""
Limit = Annotated[
    int, typer.Option("--prompt-limit", help="At most so many prompts, drawn by category and seed.")
]
_HOW_TRACE = (
    "The teacher reads a corrupted prompt; one kind of module in one window of layers is put back "
    "to what it was on the harmful prompt. Blue: refusal comes back. Dots: not told from zero."
)
_HOW_PATCHING = (
    "One model runs with the other's activations in one place. Blue: the place carries refusal. A "
    "residual site carries everything below it. Dots: not told from zero."
)


def trace(
    pair: o.PairName = None,
    student: o.Student = None,
    teacher: o.Teacher = None,
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    memory: o.Memory = "auto",
    corruption: Annotated[
        str, typer.Option(help="twin: an equal-length harmless twin; noise: on the embeddings.")
    ] = "twin",
    window: Annotated[int, typer.Option(help="Layers restored at once.")] = 1,
    kinds: Annotated[
        str, typer.Option("--modules", help="What is restored: mlp, attention, residual.")
    ] = "mlp,attention",
    noise: Annotated[float, typer.Option(help="The noise's sd in sd of the embeddings.")] = 3.0,
    draws: Annotated[int, typer.Option(help="Draws of noise a prompt.")] = 3,
    prompt: Annotated[
        str | None, typer.Option(help="One prompt instead, traced token by token; see --twin.")
    ] = None,
    twin: Annotated[str, typer.Option(help="The harmless twin of --prompt.")] = "",
    prompts: o.Prompts = None,
    harmless: o.Harmless = None,
    prompt_limit: Limit = _LIMIT,
    seed: o.Seed = 0,
    json: o.Json = None,
    html: Html = None,
    csv: Csv = None,
) -> None:
    """Trace refusal through the teacher: which layer's output brings it back, at which tokens.

    Prompts without an equal-length twin are skipped and counted; where the set names no twins, they
    are looked for among --harmless. Ctrl-C stops with the prompts measured so far.
    """
    exports = Exports(json, html, csv)
    spec = o.spec_of(pair, student, teacher, dtype, device, memory)
    from dapa.workbench import Workbench

    bench = Workbench()
    chosen: dict[str, Any] = {
        "corruption": corruption,
        "window": window,
        "kinds": tuple(part.strip() for part in kinds.split(",")),
        "multiple": noise,
        "draws": draws,
        "seed": seed,
    }
    with progress() as report, exports.stoppable() as stop:
        bench.load(spec, report)
        if harmless:
            chosen["harmless"] = bench.prompts(harmless, "harmless").texts
        if prompt is not None:
            report("tracing", None)
            _along(exports, bench.token_trace(Prompt(prompt, twin=twin), **chosen))
            return
        found = bench.trace(
            o.search_set(bench, prompts, "harmful", prompt_limit, seed),
            progress=lambda done, total: report("tracing", done / total),
            stop=stop,
            **chosen,
        )

    def drawings() -> list[tuple[str, Any]]:
        from dapa.figures.causal import trace_heatmap

        return [(_TITLES[kind], trace_heatmap(found, kind)) for kind in found.kinds]

    from dapa.writing.sentences import TOKEN_GROUPS

    tables = [
        table(
            ("layer", *(TOKEN_GROUPS[group] for group in found.groups)),
            [
                (layer, *map(_signed, line, mask))
                for layer, line, mask in zip(
                    found.layers, found.values[k], found.significant[k], strict=True
                )
            ],
            title=_TITLES[kind],
        )
        for k, kind in enumerate(found.kinds)
    ]
    origin = o.sourced(found.provenance, bench, prompts, seed)
    exports.result(
        found.as_dict(),
        "Causal trace on the teacher",
        origin,
        found.table(),
        drawings,
        origin,
        f"Refusal log-odds: harmful {o.effect_text(found.clean)}, corrupted "
        f"{o.effect_text(found.corrupt)}; there is {o.effect_text(found.whole)} to bring back.",
        *tables,
        _STAR,
        note=_HOW_TRACE,
    )


_TITLES = {
    "mlp": "MLPs restored",
    "attention": "Attention restored",
    "residual": "Residual states restored",
}
_STAR = "*: told from zero, at 5 % false discoveries over all cells."


def _signed(value: float, told: bool = False) -> str:
    return "-" if value != value else f"{value:+.2f}" + ("*" if told else "")


def _along(exports: Exports, along: Any) -> None:
    """The result for one prompt, token by token."""

    def drawings() -> list[tuple[str, Any]]:
        from dapa.figures.causal import token_trace_heatmap

        return [(_TITLES[kind], token_trace_heatmap(along, kind)) for kind in along.kinds]

    tables = [
        table(
            ("token", *map(str, along.layers)),
            [
                (token, *map(_signed, column))
                for token, column in zip(along.tokens, along.values[k].T, strict=True)
            ],
            title=_TITLES[kind],
        )
        for k, kind in enumerate(along.kinds)
    ]
    exports.result(
        along.as_dict(),
        "Causal trace along one prompt",
        along.provenance,
        along.table(),
        drawings,
        along.provenance,
        f"There is {along.whole:+.2f} refusal log-odds to bring back.",
        *tables,
        note=_HOW_TRACE,
    )


def patching(
    pair: o.PairName = None,
    student: o.Student = None,
    teacher: o.Teacher = None,
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    memory: o.Memory = "auto",
    sites: Annotated[str | None, typer.Option(help="Only these, as in mlp,attention.")] = None,
    position: Annotated[
        str, typer.Option(help="all: every token; last: the last token alone.")
    ] = "all",
    into: Annotated[
        str,
        typer.Option(help="student: it gets the teacher's activations; teacher: the reverse."),
    ] = "student",
    prompts: o.Prompts = None,
    prompt_limit: Limit = _LIMIT,
    seed: o.Seed = 0,
    json: o.Json = None,
    html: Html = None,
    csv: Csv = None,
) -> None:
    """Put the teacher's activations into the student, one layer and site at a time.

    Prompts that the two models read in different tokens are skipped and counted, unless only the
    last token is patched. Ctrl-C stops with the prompts measured so far.
    """
    exports = Exports(json, html, csv)
    spec = o.spec_of(pair, student, teacher, dtype, device, memory)
    from dapa.workbench import Workbench

    bench = Workbench()
    with progress() as report, exports.stoppable() as stop:
        bench.load(spec, report)
        found = bench.patching(
            o.search_prompts(bench, prompts, "harmful", prompt_limit, seed),
            sites=[part.strip() for part in sites.split(",")] if sites else None,
            position=position,
            into=into,
            seed=seed,
            progress=lambda done, total: report("patching", done / total),
            stop=stop,
        )

    def drawings() -> list[tuple[str, Any]]:
        from dapa.figures.causal import patching_heatmap

        return [("Refusal moved by the other model's activations", patching_heatmap(found))]

    rows = [
        (layer, *map(_signed, line, mask))
        for layer, line, mask in zip(found.layers, found.values, found.significant, strict=True)
    ]
    origin = o.sourced(found.provenance, bench, prompts, seed)
    exports.result(
        found.as_dict(),
        "Cross-model patching",
        origin,
        found.table(),
        drawings,
        origin,
        f"The teacher's refusal log-odds are {o.effect_text(found.whole)} above the student's.",
        table(("layer", *found.sites), rows),
        _STAR,
        note=_HOW_PATCHING,
    )
