"""`divergence`: how far the two models' states are apart: a map, by prompt, along one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from dapa.cli import options as o
from dapa.cli.exports import Csv, Exports, Html
from dapa.cli.output import progress, table
from dapa.core.records import SettingError

if TYPE_CHECKING:
    from dapa.localize.divergence.maps import DivergenceMap, TokenMap
    from dapa.workbench import Workbench

_HOW = (
    "A column per layer of the two models, a row per place. Local reading: the teacher's module on "
    "the student's input; total: each model on its own."
)
_DOTS = " Dots: not told from zero, at 5 % false discoveries over all cells."


def divergence(
    pair: o.PairName = None,
    student: o.Student = None,
    teacher: o.Teacher = None,
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    memory: o.Memory = "auto",
    metric: Annotated[str, typer.Option(help="cosine, l2, cka, kl or another metric.")] = "cosine",
    reading: Annotated[
        str, typer.Option(help="local: both on the student's input; total: each on its own.")
    ] = "local",
    position: Annotated[
        str, typer.Option(help="last, all, instruction, or a token's index from either end.")
    ] = "last",
    prompt: Annotated[
        str | None, typer.Option(help="One prompt instead: its map by layer, site and token.")
    ] = None,
    sites: Annotated[
        str | None, typer.Option(help="Only these, as in gate,gate_act,neurons,residual.")
    ] = None,
    sinks: Annotated[
        bool, typer.Option(help="With --position all, count attention sinks too.")
    ] = False,
    contrast: Annotated[
        bool, typer.Option(help="Harmful minus harmless: minus their twins, where there are some.")
    ] = False,
    by_prompt: Annotated[
        str | None, typer.Option(help="Unfold this site by prompt, in --html and --csv.")
    ] = None,
    prompts: o.Prompts = None,
    harmless: o.Harmless = None,
    prompt_limit: o.PromptLimit = None,
    seed: o.Seed = 0,
    json: o.Json = None,
    html: Html = None,
    csv: Csv = None,
) -> None:
    """Measure how far the two models are apart, layer by layer and site by site.

    With --harmless or --contrast the values are harmful minus harmless. Ctrl-C stops with the
    prompts measured so far.
    """
    exports = Exports(json, html, csv)
    only = [part.strip() for part in sites.split(",")] if sites else None
    spec = o.spec_of(pair, student, teacher, dtype, device, memory)
    from dapa.workbench import Workbench

    bench = Workbench()
    with progress() as report, exports.stoppable() as stop:
        bench.load(spec, report)
        if prompt is not None:
            report("measuring", None)
            _along(exports, bench.token_map(prompt, metric=metric, reading=reading, sites=only))
            return
        from dapa.localize.divergence.recording import usual_sites

        shown = only or usual_sites(bench.pair)
        if by_prompt is not None and by_prompt not in shown:
            raise SettingError(
                f"{by_prompt!r} is not on the map of {', '.join(shown)}; add it there"
            )
        harmful, safe, twins = _sets(bench, prompts, harmless, contrast, prompt_limit, seed)
        found = bench.divergence(
            harmful,
            metric=metric,
            reading=reading,
            harmless=safe,
            twins=twins,
            position=position,
            sites=only,
            sink=sinks,
            seed=seed,
            progress=lambda done, total: report("measuring", done / total),
            stop=stop,
        )
    _over(exports, found, by_prompt, f"{found.provenance} · from {bench.prompts(prompts).name}")


def _sets(
    bench: Workbench,
    prompts: str | None,
    harmless: str | None,
    contrast: bool,
    limit: int | None,
    seed: int,
) -> tuple[list[str], list[str] | None, bool]:
    """Harmful prompts, those to subtract, and whether the two are twins in order."""
    harmful = o.search_set(bench, prompts, "harmful", limit, seed)
    texts = [one.text for one in harmful]
    if harmless is None and contrast and all(one.twin for one in harmful):
        return texts, [one.twin for one in harmful], True
    if harmless is None and not contrast:
        return texts, None, False
    return texts, o.search_prompts(bench, harmless, "harmless", limit, seed), False


def _over(exports: Exports, found: DivergenceMap, by_prompt: str | None, origin: str) -> None:
    """The result over a set of prompts."""
    minus = found.contrast is not None
    body = found.as_dict(contrast=minus)

    def drawings() -> Sequence[tuple[str, Any]]:
        from dapa.figures.maps import divergence_heatmap, layer_prompt_heatmap

        made = [("Where the two models part", divergence_heatmap(found))]
        if minus:
            made.append(("The harmful prompts alone", divergence_heatmap(found, contrast=False)))
        if by_prompt is not None:
            made.append((f"Prompt by prompt, {by_prompt}", layer_prompt_heatmap(found, by_prompt)))
        return made

    if by_prompt is not None:
        j = found.sites.index(by_prompt)
        body["prompts"] = [
            {"prompt": text, "values": [None if v != v else float(v) for v in values[:, j]]}
            for text, values in zip(found.prompts, found.per_prompt, strict=True)
        ]
    told = body.get("significant") or [[False] * len(found.sites) for _ in found.layers]
    rows = [
        [layer, *(_number(v) + ("*" if s else "") for v, s in zip(line, mask, strict=True))]
        for layer, line, mask in zip(body["layers"], body["values"], told, strict=True)
    ]
    exports.result(
        body,
        "Where the two models part",
        origin,
        found.prompt_table(by_prompt) if by_prompt is not None else found.table(minus),
        drawings,
        origin,
        table(("layer", *body["sites"]), rows),
        *(["*: told from zero, at 5 % false discoveries over all cells."] if minus else []),
        note=_HOW + (_DOTS if minus else ""),
    )


def _along(exports: Exports, along: TokenMap) -> None:
    """The result for one prompt: a table per site, a row per token, a column per layer."""

    def drawings() -> Sequence[tuple[str, Any]]:
        from dapa.figures.maps import layer_token_heatmap
        from dapa.writing.sentences import SITE_TITLES

        return [
            (SITE_TITLES.get(site, site).capitalize(), layer_token_heatmap(along, site))
            for site in along.sites
        ]

    body = along.as_dict()
    tables: list[RenderableType] = [
        table(
            ("token", *map(str, along.layers)),
            [
                (token, *(_number(layer[place][i]) for layer in body["values"]))
                for i, token in enumerate(along.tokens)
            ],
            title=site,
        )
        for place, site in enumerate(along.sites)
    ]
    exports.result(
        body,
        "Where the two models part along one prompt",
        along.provenance,
        along.table(),
        drawings,
        *tables,
        note=_HOW + " Attention sinks are shown, but do not count for the scale.",
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
