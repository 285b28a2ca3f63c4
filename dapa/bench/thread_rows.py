"""t: a pair of real size after a toy was loaded, against the same before; on every thread.

The only rows that are not pinned to one thread, so their seconds are on the wall. A thread that a
neighbour holds up holds up the others (a run of 0.2 s then took up to 5 s, on either side), so not
the median but the best of the runs in turns counts: what the pair takes when it is left alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from dapa.bench import timing
from dapa.bench.row import BenchRow, absent, share, wrong
from dapa.bench.scene import Scene, requests
from dapa.core.records import Mask
from dapa.model.decode.generation import Row as Reply
from dapa.model.decode.generation import complete
from dapa.model.decode.sampling import Decoding
from dapa.model.machine import cores
from dapa.model.pair import Pair
from dapa.model.pair_loading import load_pair
from dapa.model.presets import DEFAULT, preset
from dapa.model.template import PromptFormat, Turn, encode, render
from dapa.planted.pairs import Planting, plant
from dapa.planted.wiring import ModelShape

SHAPE = ModelShape(hidden=640, neurons=1792, heads=10, kv_heads=10, head_dim=64)
LAYERS, ROWS, TOKENS = 8, 24, 4
GOAL = "<= 1.2"
RIVAL = "the same pair before the toy was loaded"


def rows(
    scene: Scene, shape: ModelShape = SHAPE, load_toy: Callable[[], Any] | None = None
) -> Iterator[BenchRow]:
    """t1; absent where one thread is all there is."""
    before, most = torch.get_num_threads(), cores()
    what = f"{ROWS} prompts read and {TOKENS} tokens each, a toy having been loaded since"
    if scene.device != "cpu" or most < 2:
        reason = "a GPU computes" if scene.device != "cpu" else "there is one core"
        yield absent("t1", what, "s", RIVAL, GOAL, reason)
        return
    torch.set_num_threads(most)
    try:
        yield _row(what, most, shape, load_toy or _toy)
    finally:
        torch.set_num_threads(before)


def _row(what: str, most: int, shape: ModelShape, load_toy: Callable[[], Any]) -> BenchRow:
    pair = plant(Planting(LAYERS, (1, 4)), shape=shape).pair("bench-threads")
    asked = _asked(pair)
    what += f"; {pair.parameters / 1e6:.0f} M parameters, {most} threads"
    sides: dict[str, list[float]] = {"after": [], "before": []}
    said: dict[str, list[list[int]]] = {}
    for turn in range(1 + timing.ROUNDS):
        for name, took in sides.items():
            if name == "after":
                load_toy()
            else:
                torch.set_num_threads(most)  # as it was when no toy had been loaded
            start = time.perf_counter()
            done = complete(pair, [Reply(ids, Mask.of(pair.units("gate"))) for ids in asked],
                            Decoding(TOKENS))  # fmt: skip
            if turn:
                took.append(time.perf_counter() - start)
            said[name] = [row.new_ids for row in done]
    if said["after"] != said["before"]:
        return wrong("t1", what, "s", RIVAL, GOAL, "the replies differ")
    after, before = (min(took) for took in sides.values())
    return share("t1", what, after, RIVAL, before, GOAL, "s")


def _asked(pair: Pair) -> list[tuple[int, ...]]:
    """Requests as the pair reads them."""
    how = PromptFormat()
    texts = requests(ROWS, (4, 8))
    return [encode(pair, render(pair, [Turn("user", text)], how), how) for text in texts]


def _toy() -> Pair:
    return load_pair(preset(DEFAULT).spec("float32", "cpu"))
