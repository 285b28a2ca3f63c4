"""c: toggle one layer until the next forward is ready, against really copied weights.

Microseconds are taken from the wall: asking for CPU seconds would take as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import torch

from dapa.bench.rivals import Copied, padded, save_and_load
from dapa.bench.row import Row, faster, wrong
from dapa.bench.scene import Scene, own_gates
from dapa.bench.timing import now, once
from dapa.model.transplant import masked
from dapa.records import Mask, Unit

TOGGLES = 60
FAR = {torch.float32: 1e-3, torch.bfloat16: 1.0}
"""How far logits of up to 40 may be apart."""


def _toggled(scene: Scene, copied: Copied) -> tuple[list[float], list[float], float]:
    """Seconds of each toggle, ours and by copying, and how far the logits behind them differ."""
    pair, layers = scene.pair, scene.size.layers
    tokens, attention = padded(scene.ids[:1], pair.device)
    on: set[int] = set()
    ours: list[float] = []
    theirs: list[float] = []
    worst = 0.0
    with torch.inference_mode():
        for i in range(TOGGLES):
            layer = (7 * i) % layers
            on ^= {layer}
            start = perf_counter()
            plan = pair.plan([Mask.of(map(Unit, on))])
            ours.append(perf_counter() - start)
            with masked(plan):
                mine = pair.student(input_ids=tokens, attention_mask=attention).logits
            now(scene.device)
            start = perf_counter()
            copied.toggle(layer, layer in on)
            now(scene.device)
            theirs.append(perf_counter() - start)
            other = copied.model(input_ids=tokens, attention_mask=attention).logits
            worst = max(worst, float((mine - other).abs().max()))
    return ours, theirs, worst


def rows(
    scene: Scene, goals: tuple[str, str] = (">= 4", ">= 1e4"), loads: int = 5
) -> Iterator[Row]:
    """c1 against an in-place copy, c2 against saving and loading.

    Layers are toggled on one by one and then off, so that no mask comes twice in a round, and
    between two toggles a forward of each side runs, as in use: the weights lie where it left them.
    """
    student, teacher = scene.rivals
    copied = Copied(own_gates(student), teacher, scene.pair.family)
    ours, theirs, worst = _toggled(scene, copied)
    what = f"toggle one of {scene.size.layers} gates until the next forward is ready"
    if worst > FAR[scene.dtype]:
        yield wrong("c1", what, "s", "in-place copy", goals[0], f"logits differ by {worst:.2g}")
        return
    mine = median(ours)
    yield faster("c1", what, mine, "in-place copy", median(theirs), goals[0])
    with TemporaryDirectory() as folder:
        took = [
            once(lambda: save_and_load(copied.model, copied, 0, Path(folder)), scene.device)
            for _ in range(loads)
        ]
    yield faster("c2", what, mine, "save and load", median(took), goals[1])
