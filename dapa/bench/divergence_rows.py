"""a: the divergence map of both models, against the usual loop over hidden states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from dapa.bench.extras import MAPS, there
from dapa.bench.live import peak_bytes
from dapa.bench.rivals import hidden_state_map
from dapa.bench.row import BenchRow, absent, higher, share, wrong
from dapa.bench.scene import FILLER, Scene, requests
from dapa.bench.timing import interleaved
from dapa.localize.divergence.divergence import divergence
from dapa.prompts.format import PromptFormat

BATCH = 16
LOOP = "transformers output_hidden_states loop, equal batch"
UNIT = "prompts x layers / s"
SYSTEM = " ".join((FILLER.split() * 5)[:100])
NEAR = {torch.float32: 1e-3, torch.bfloat16: 2e-2}
"""How far two maps of the same may be apart."""
Map = Callable[[], Any]


def sides(scene: Scene, texts: list[str], how: PromptFormat) -> tuple[Map, Map]:
    """Ours and the rival's, each from texts to (prompts, layers) distances."""

    def ours() -> Any:
        found = divergence(
            scene.pair,
            texts,
            how,
            metric="cosine",
            reading="total",
            position="last",
            sites=("residual",),
            batch_size=BATCH,
        )
        return found.per_prompt[:, :, 0]

    def rival() -> Any:
        return hidden_state_map(*scene.rivals, scene.encoded(texts, how), BATCH).numpy()

    return ours, rival


def cases(scene: Scene) -> dict[str, tuple[list[str], PromptFormat, str]]:
    """Row -> (requests, format, what it is)."""
    low, high = scene.size.length
    count = 4 * BATCH if scene.size.prompts >= 4 * BATCH else 2 * BATCH
    mixed = (4, 2 * high)
    return {
        "a1": (
            requests(count, (high, high)),
            PromptFormat(),
            f"divergence map, {count} prompts of {high} words, all layers, both models",
        ),
        "a2": (
            requests(count, mixed),
            PromptFormat(system=SYSTEM),
            f"the same, prompts of {mixed[0]} to {mixed[1]} words behind a shared system prompt of "
            "100 tokens",
        ),
    }


def rows(
    scene: Scene, goals: tuple[str, str, str, str] = (">= 1.0", ">= 3.3", "<= 0.35", "<= 1.6")
) -> Iterator[BenchRow]:
    """a1, a2, a3 and a1's limit; goals in that order."""
    for (name, (texts, how, what)), goal in zip(cases(scene).items(), goals[:2], strict=True):
        ours, rival = sides(scene, texts, how)
        apart = float(np.abs(ours() - rival()).max())
        if not apart < NEAR[scene.dtype]:
            yield wrong(name, what, UNIT, LOOP, goal, f"the two maps differ by {apart:.2g}")
            continue
        mine, theirs = interleaved(ours, rival, rounds=scene.rounds, device=scene.device)
        work = len(texts) * scene.size.layers
        yield higher(name, what, work / mine, LOOP, work / theirs, goal, UNIT)
        if name == "a1":
            yield _over_limit(scene, mine, scene.encoded(texts, how), goals[3])
        for extra in MAPS:
            yield _against(extra, scene, f"{name}-{extra}", what, (texts, how), goal)
    texts, how, what = cases(scene)["a1"]
    ours, rival = sides(scene, texts, how)
    weights = [p for m in (scene.pair.student, scene.pair.teacher) for p in m.parameters()]
    weights += [p for m in scene.rivals for p in m.parameters()]
    mine, theirs = (peak_bytes(side, weights) for side in (ours, rival))
    what = f"most bytes of activations alive at once in a1, counted tensor by tensor ({what})"
    yield share("a3", what, mine, LOOP, theirs, goals[2], "bytes")


def _over_limit(scene: Scene, mine: float, ids: list[tuple[int, ...]], goal: str) -> BenchRow:
    """The map's time over that of the layers' matrix products alone, which both sides pay."""
    weights = [
        module.weight
        for model in scene.rivals
        for module in model.get_decoder().layers.modules()
        if isinstance(module, torch.nn.Linear)
    ]
    tokens = sum(map(len, ids[:BATCH]))
    kind: dict[str, Any] = dict(device=scene.device, dtype=scene.dtype)
    inputs = {wide: torch.randn(tokens, wide, **kind) for wide in {w.shape[1] for w in weights}}

    def products() -> None:
        with torch.inference_mode():
            for weight in weights:
                torch.nn.functional.linear(inputs[weight.shape[1]], weight)

    (took,) = interleaved(products, rounds=scene.rounds, device=scene.device)
    least = took * len(ids) / BATCH
    what = (
        f"a1's seconds over those of its {len(weights)} matrices alone, {tokens} tokens at a time, "
        "measured here (attention's own products and norms not counted)"
    )
    return share("a1-limit", what, mine, "measured limit of its products", least, goal, "s")


def _against(
    rival: str, scene: Scene, name: str, what: str, case: tuple[list[str], PromptFormat], goal: str
) -> BenchRow:
    """The same against a package, where it is installed."""
    package, make, own = MAPS[rival]
    goal = own if name.startswith("a1") else goal
    if not there(package):
        return absent(name, what, UNIT, rival, goal, f"{rival} is not installed")
    texts, how = case
    ours, _ = sides(scene, texts, how)
    work = make(scene)

    def theirs() -> Any:
        return work(scene.encoded(texts, how), BATCH).numpy()

    apart = float(np.abs(ours() - theirs()).max())
    if not apart < NEAR[scene.dtype]:
        return wrong(name, what, UNIT, rival, goal, f"the two maps differ by {apart:.2g}")
    took = interleaved(ours, theirs, rounds=scene.rounds, device=scene.device)
    mine, other = (len(texts) * scene.size.layers / seconds for seconds in took)
    return higher(name, what, mine, rival, other, goal, UNIT)
