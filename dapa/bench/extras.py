"""Rivals that need a package of their own: nnsight, TransformerLens, picire.

`tests/requirements-bench.txt` names the versions. Where one is absent its rows say so.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from dapa.bench.rivals import padded
from dapa.bench.scene import Scene
from dapa.core.records import Unit

Ids = Sequence[Sequence[int]]
Map = Callable[[Ids, int], Tensor]
"""(encoded prompts, batch) -> distances, (prompts, layers)."""


def there(package: str) -> bool:
    """Can it be imported?"""
    return importlib.util.find_spec(package) is not None


def _apart(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """Cosine distances of the last token's states, (rows, layers), from two lists over layers."""
    pairs = zip(ours, theirs, strict=True)
    rows = [1 - torch.cosine_similarity(a.float(), b.float(), dim=-1) for a, b in pairs]
    return torch.stack(rows, dim=1).cpu()


def _batches(ids: Ids, batch: int, device: Any) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(ids), batch):
        yield padded(ids[start : start + batch], device)


def nnsight_map(scene: Scene) -> Map:
    """Traces both models and saves the last token's state behind every layer."""
    from nnsight import NNsight

    models = [NNsight(deepcopy(model)) for model in scene.rivals]

    def states(model: Any, tokens: Tensor, attention: Tensor) -> list[Tensor]:
        kept: list[Tensor] = []
        with (
            torch.inference_mode(),
            model.trace(input_ids=tokens, attention_mask=attention, use_cache=False),
        ):
            saved = list().save()
            for layer in model.model.layers:
                saved.append(layer.output[:, -1])
        kept.extend(saved)
        return kept

    def work(ids: Ids, batch: int) -> Tensor:
        pieces = _batches(ids, batch, scene.device)
        return torch.cat([_apart(*(states(m, *piece) for m in models)) for piece in pieces])

    return work


def lens_map(scene: Scene) -> Map:
    """TransformerLens bridges over both models, caching what leaves every block."""
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    bridges = [
        build_bridge_from_module(
            deepcopy(model),
            type(model).__name__,
            hf_config=model.config,
            tokenizer=deepcopy(scene.tokenizer),
        )
        for model in scene.rivals
    ]
    names = [f"blocks.{layer}.hook_out" for layer in range(scene.size.layers)]

    def states(bridge: Any, tokens: Tensor, attention: Tensor) -> list[Tensor]:
        with torch.inference_mode():
            _, cache = bridge.run_with_cache(
                tokens, attention_mask=attention, names_filter=names, return_type=None
            )
        return [cache[name][:, -1] for name in names]

    def work(ids: Ids, batch: int) -> Tensor:
        pieces = _batches(ids, batch, scene.device)
        return torch.cat([_apart(*(states(b, *piece) for b in bridges)) for piece in pieces])

    return work


MAPS: dict[str, tuple[str, Callable[[Scene], Map], str]] = {
    "nnsight": ("nnsight", nnsight_map, ">= 1.1"),
    "transformer-lens": ("transformer_lens", lens_map, ">= 1.2"),
}
"""Comparison -> (package, how its map is made, the goal of a1 against it)."""


def picire_tests(units: tuple[Unit, ...], need: frozenset[Unit]) -> int:
    """How many tests picire's ddmin with its cache makes; its check of the whole not counted."""
    from picire import DD
    from picire.config_splitters import ZellerSplit
    from picire.outcome import Outcome
    from picire.outcome_cache import ConfigCache

    tests = 0

    def test(kept: list[Unit], _: Any) -> Any:
        nonlocal tests
        tests += 1
        return Outcome.FAIL if need <= set(kept) else Outcome.PASS  # FAIL is what is wanted

    found = DD(test, split=ZellerSplit(n=2), cache=ConfigCache())(list(units))
    assert set(found) == need, f"picire found {found}"
    return tests
