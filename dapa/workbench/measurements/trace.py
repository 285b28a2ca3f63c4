"""Causal trace: what brings refusal back in a teacher that reads a corrupted prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapa.core.measurement import Call, Interval, Measurement, Shown, Table, measurements
from dapa.core.records import Prompt
from dapa.core.settings import setting
from dapa.prompts.settings import BothSettings
from dapa.workbench.measurements import asking
from dapa.writing.unit_names import TOKEN_GROUPS

if TYPE_CHECKING:
    from dapa.localize.causes.trace_records import TokenTrace, TraceMap

_CORRUPTIONS = {"twin": "harmless twins", "noise": "Gaussian noise"}
_KINDS = {"mlp": "MLPs restored", "attention": "attention restored", "residual": "states restored"}
_MOST = 10


@dataclass(frozen=True, kw_only=True)
class TraceSettings(BothSettings):
    """How the prompt is corrupted, and what is put back."""

    corruption: str = setting(
        "twin",
        "corrupted by",
        "twin: an equal-length harmless twin; noise: on the embeddings.",
        choices=lambda: _CORRUPTIONS,
        told=lambda corruption: _CORRUPTIONS[corruption],
    )
    window: int = setting(
        1,
        "layers at once",
        "Layers restored at once.",
        low=1,
        high=1000,
        told=lambda window: f"{window} layer{'s' if window > 1 else ''} at once",
    )
    kinds: tuple[str, ...] = setting(
        ("mlp", "attention"),
        "restored",
        "What is restored: mlp, attention, residual.",
        choices=lambda: _KINDS,
        flag="--modules",
    )
    noise: float = setting(
        3.0, "noise", "The noise's sd in sd of the embeddings.", low=0, above=True, high=1000, row=1
    )
    draws: int = setting(3, "draws of noise", "Draws of noise a prompt.", low=1, high=1000, row=1)
    prompt: str | None = setting(
        None, "prompt", "One prompt instead, traced token by token; see --twin.", form=False
    )
    twin: str = setting("", "twin", "The harmless twin of --prompt.", form=False)


def _measure(call: Call) -> TraceMap | TokenTrace:
    asked: TraceSettings = call.settings
    bench = call.bench
    chosen: dict[str, Any] = {
        "how": asked.format(),
        "corruption": asked.corruption,
        "window": asked.window,
        "kinds": asked.kinds,
        "multiple": asked.noise,
        "draws": asked.draws,
        "seed": asked.seed,
    }
    if asked.harmless:
        chosen["harmless"] = bench.named_set(asked, "harmless").texts
    found: TraceMap | TokenTrace
    if asked.prompt is not None:
        call.progress("tracing", None)
        found = bench.token_trace(Prompt(asked.prompt, twin=asked.twin), **chosen)
    else:
        found = bench.trace(
            asking.harmful(call), progress=call.counted("prompts"), stop=call.stop, **chosen
        )
    return found


def _origin(call: Call, found: Any) -> str:
    along = call.settings.prompt is not None
    return str(found.provenance) if along else asking.origin(call, found)


def _describe(found: TraceMap | TokenTrace) -> Shown:
    if hasattr(found, "tokens"):
        return _along(found)
    if not found.n:
        return asking.NOTHING
    cells = [
        (float(found.values[k, i, g]), k, i, g)
        for k in range(len(found.kinds))
        for i in range(len(found.layers))
        for g in range(len(found.groups))
        if found.values[k, i, g] == found.values[k, i, g]
    ]
    cells.sort(key=lambda cell: -abs(cell[0]))
    sure = found.significant
    rows = [
        (
            f"layer {found.layers[i]}",
            _KINDS.get(found.kinds[k], found.kinds[k]),
            TOKEN_GROUPS.get(found.groups[g], found.groups[g]),
            Interval(value, float(found.low[k, i, g]), float(found.high[k, i, g])),
            "yes" if sure[k, i, g] else "may be 0 by chance",
        )
        for value, k, i, g in cells[:_MOST]
    ]
    grids = [
        Table(
            ("layer", *(TOKEN_GROUPS.get(group, group) for group in found.groups)),
            [
                (layer, *map(asking.signed, line, told))
                for layer, line, told in zip(found.layers, found.values[k], sure[k], strict=True)
            ],
            title=_KINDS.get(kind, kind).capitalize(),
            about=asking.STARS,
            drawn=True,
        )
        for k, kind in enumerate(found.kinds)
    ]
    skipped = (
        f" {found.skipped} of {found.asked} prompts have no equal-length twin and were skipped."
        if found.skipped
        else ""
    )
    return Shown(
        f"On harmful prompts the teacher’s refusal log-odds are {found.clean.value:+.1f}, "
        f"corrupted {found.corrupt.value:+.1f}: there are {asking.effect_text(found.whole)} to "
        f"bring back.{skipped}",
        (*grids, Table(("restored", "what", "at", "brings back", "significant"), rows)),
        (
            f"Corrupted by {found.corrupted_by}; a window of {found.window} "
            f"layer{'s' if found.window > 1 else ''}; n = {found.n} prompts; significant at 5 % "
            "false discoveries over all cells (Benjamini and Hochberg).",
        ),
    )


def _along(along: Any) -> Shown:
    grids = [
        Table(
            ("token", *map(str, along.layers)),
            [
                (token, *map(asking.signed, column))
                for token, column in zip(along.tokens, along.values[k].T, strict=True)
            ],
            title=_KINDS.get(kind, kind).capitalize(),
            drawn=True,
        )
        for k, kind in enumerate(along.kinds)
    ]
    return Shown(f"There are {along.whole:+.2f} refusal log-odds to bring back.", tuple(grids))


def _figures(found: TraceMap | TokenTrace, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures.causes import token_trace_heatmap, trace_heatmap

    if hasattr(found, "tokens"):
        return [(_KINDS[kind], token_trace_heatmap(found, kind, dark)) for kind in found.kinds]
    return [(_KINDS[kind], trace_heatmap(found, kind, dark)) for kind in found.kinds]


def _behind(found: TraceMap, layer: int, row: str) -> list[tuple[str, float]]:
    """A row is a group of tokens; both pictures share it, so the MLP's values are shown."""
    groups = {TOKEN_GROUPS.get(group, group): group for group in found.groups}
    if row not in groups or layer not in found.layers:
        return []
    return found.behind(found.kinds[0], layer, groups[row])


measurements.add("trace", "causal trace")(
    Measurement(
        "Causal trace",
        "What brings refusal back in the teacher",
        "Trace refusal through the teacher: which layer's output brings it back, at which tokens."
        "\n\nPrompts without an equal-length twin are skipped and counted; where the set names no "
        "twins, they are looked for among --harmless. Each prompt costs a pass of layers x places "
        "rows. Ctrl-C stops with the prompts measured so far.",
        "The teacher reads a corrupted prompt; one kind of module in one place is put back to what "
        "it was on the harmful prompt. Blue: refusal comes back. Dots: it may be 0 by chance.",
        "pair",
        TraceSettings,
        _measure,
        _describe,
        _figures,
        origin=_origin,
        by_layer=True,
        behind=_behind,
    )
)
