"""The same rows on a 7B and an 8B pair in bf16 on a GPU, and h: a whole search in seconds.

The weights are random but for the planted refusal: what is measured does not depend on them. The
same functions run on a CPU with a small size, which is how they are tested where there is no GPU.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from dapa.bench import chat_rows, divergence_rows, memory_rows, search_rows, toggle_rows
from dapa.bench.machine import describe
from dapa.bench.real_scene import RealScene
from dapa.bench.row import BenchRow, absent, alone, wrong
from dapa.bench.scene import Scene, Size
from dapa.bench.timing import once
from dapa.core.records import Prompt
from dapa.planted.pairs import harmful_prompts
from dapa.planted.wiring import ModelShape
from dapa.prompts.sets import PromptSet

_CARD = dict(hidden=4096, head_dim=128, context=4096, dtype=torch.bfloat16, device="cuda")
LLAMA_2_7B = Size(
    "llama-2-7b",
    32,
    ModelShape(neurons=11008, heads=32, kv_heads=32, **_CARD),  # type: ignore[arg-type]
    100,
    (20, 40),
    32,
    vocabulary=32_000,
)
LLAMA_3_8B = Size(
    "llama-3-8b",
    32,
    ModelShape(neurons=14336, heads=32, kv_heads=8, **_CARD),  # type: ignore[arg-type]
    100,
    (20, 40),
    32,
    vocabulary=128_256,
)
GOALS: dict[str, str | None] = {
    "a1": ">= 1.0", "a2": ">= 3.3", "a3": "<= 0.15", "a1-limit": "<= 1.5",
    "b1": ">= 2", "b2": ">= 8", "b3": ">= 300", "b4": "<= 4",
    "c1": ">= 3", "c2": ">= 1e5",
    "d1": "<= 0.7", "d2": "<= 0.5",
    "e1": "<= 1.05", "e2": "<= 0.62",
    "h": "<= 8", "h-confidence": None, "h-spread": None,
}  # fmt: skip
"""Row -> its goal on a GPU; None where there is none."""
MINUTES = 8.0
"""What all sizes together may take."""
ASKED = 400
"""Prompts of a confidence search: enough to choose and certify at a margin of 5 points."""
SLACK = 0.03
"""What a held-out DSR may lie below the margin by chance."""


def _id(name: str, size: Size) -> str:
    """A row's name on one of the sizes; the goal h is about the 7B pair."""
    return name if name == "h" and size is LLAMA_2_7B else f"{name}@{size.name}"


def _goals(letter: str) -> Any:
    return tuple(goal for name, goal in GOALS.items() if name[0] == letter)


def rows(
    sizes: Sequence[Size] = (LLAMA_2_7B, LLAMA_3_8B),
    tell: Callable[[dict[str, Any]], None] = lambda machine: None,
) -> Iterator[BenchRow]:
    """Every row of each size, or null rows where its device is absent."""
    for size in sizes:
        if size.shape.device == "cuda" and not torch.cuda.is_available():
            for name, goal in GOALS.items():
                what = f"row {name} on a random {size.name} in bf16 with a planted refusal"
                yield absent(_id(name, size), what, "", None, goal, "CUDA is absent here")
            continue
        machine = describe(size.shape.device, size.shape.dtype)
        tell(machine)
        start = time.perf_counter()
        for part in (_of(size, machine), _spread(size)):
            for row in part:
                yield replace(row, id=_id(row.id, size), what=f"{size.name}: {row.what}")
            del part
            gc.collect()
            if size.shape.device == "cuda":
                torch.cuda.empty_cache()
        took = time.perf_counter() - start
        what = f"all rows of {size.name}, its models' making included; both sizes under 8 minutes"
        yield alone(f"minutes@{size.name}", what, took / 60, f"<= {MINUTES / len(sizes):g}", "min")


def _of(size: Size, machine: dict[str, Any]) -> Iterator[BenchRow]:
    """The rows of one size, the searches first, since they matter most."""
    scene = Scene(size)
    for row in search_rows.rows(scene, machine, _goals("b"), tests=2):
        if row.id == "b2" and row.ours is not None:
            yield _h(scene, row)
        yield row
    yield _confident(scene, "h-confidence")
    yield from divergence_rows.rows(scene, _goals("a"))
    yield from toggle_rows.rows(scene, _goals("c"), loads=1)
    yield from chat_rows.rows(scene, _goals("d"))
    yield from memory_rows.rows(scene, _goals("e"))


def _spread(size: Size) -> Iterator[BenchRow]:
    """The same size with refusal spread over its layers."""
    yield _confident(Scene(replace(size, spread=True)), "h-spread")


def _confident(scene: Scene, name: str) -> BenchRow:
    """A whole confidence search of all gates, as the product runs it; right by what it measured."""
    prompts = tuple(map(Prompt, harmful_prompts(ASKED)))
    asked = PromptSet("planted", "harmful", prompts)
    ran = RealScene.given(scene.pair, asked, "confidence", "gate", scene.size.tokens).searched
    report, record = ran.report, ran.report.confidence
    assert record is not None, "a confidence search tells what it showed"
    held, full = report.rates["held_out"], report.rates["full_held_out"]
    costs = report.costs
    what = (
        f"whole confidence search of {scene.size.layers} gates, "
        f"{'spread' if scene.size.spread else 'concentrated'} refusal: {costs.prompts_judged} "
        f"replies, {record.readings} readings, {costs.tokens} tokens; {record.form}, "
        f"{len(report.units)} gates found"
    )
    if held is None or full is None:
        return wrong(name, what, "s", None, GOALS[name], f"it ended early: {report.stop_reason}")
    what += f", DSR held out {held.value:.2f} where all gates have {full.value:.2f}"
    lost = full.value - held.value > (record.margin or 0.0) + SLACK
    needed = set(scene.planting.needed) - {unit.layer for unit in report.units}
    if lost or needed:
        reason = f"gates {sorted(needed)} are missing" if needed else "it loses too much"
        return wrong(name, what, "s", None, GOALS[name], reason)
    return alone(name, what, ran.seconds, GOALS[name], "s")


def _h(scene: Scene, b2: BenchRow) -> BenchRow:
    """The whole search's seconds; with all closing checks as well, which the goal does not ask."""
    assert b2.ours is not None
    whole = once(
        lambda: search_rows.search(scene, check_supersets=True, full_length=True), scene.device
    )
    what = (
        f"whole search, {scene.size.layers} gates, {scene.size.prompts} prompts, "
        f"{scene.size.tokens} tokens; {whole:.2f} s with supersets and full-length checks behind it"
    )
    return alone("h", what, b2.ours, GOALS["h"], "s")
