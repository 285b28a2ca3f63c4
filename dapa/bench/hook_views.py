"""The summary's columns as a researcher gets them by hand: plain models, hooks, copied weights.

Nothing is shared between layers: each layer's transplant is a copy of its weights and a pass over
every prompt, each restored or patched place is a hook and a pass. The columns by layer are timed on
three layers and multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dapa.bench.real_scene import RealScene, seconds
from dapa.bench.rivals import Copied, padded
from dapa.core.records import Mask, Prompt
from dapa.localize.causes.corruption import with_twins
from dapa.localize.causes.gradients import POINTS
from dapa.localize.divergence.tokens import encoded
from dapa.localize.summary import Summary, summary
from dapa.model.decode.branches import branched
from dapa.model.decode.log_odds import Ids, log_odds_of, past_blanks
from dapa.model.decode.openers import Openers, find_openers
from dapa.model.decode.serving import row_capacity
from dapa.model.families import submodule
from dapa.prompts.format import PromptFormat
from dapa.search.priors import weight_distance

TIMED = 3


@dataclass
class PlainViews:
    """What the plain way gave for the timed layers, and what all of it takes."""

    layers: tuple[int, ...]
    values: dict[str, dict[int, float]]
    """Column -> layer -> its value."""
    seconds: float


def ours_of(scene: RealScene, prompts: Sequence[Prompt]) -> Summary:
    """The product's own summary."""
    return summary(scene.pair, prompts, PromptFormat(), scene.kind, weigh=weight_distance)


class _Plain:
    """Two plain models, and log-odds of prompts in equal batches."""

    def __init__(self, scene: RealScene, prompts: Sequence[Prompt]) -> None:
        self.scene, self.pair = scene, scene.pair
        self.student, self.teacher = scene.plain
        self.copied = Copied(self.student, self.teacher, self.pair.family, scene.kind)
        self.openers: Openers = find_openers(self.pair)
        self.batch = row_capacity(self.pair)
        how = PromptFormat()
        texts = [encoded(self.pair, prompt.text, how).ids for prompt in prompts]
        self.ids = past_blanks(self.pair, texts, Mask.of(self.pair.units(scene.kind)))

    def layer(self, model: Any, index: int) -> Any:
        return submodule(model, self.pair.family.layers)[index]

    def odds(self, model: Any, ids: Ids) -> Tensor:  # (prompts,)
        parts = []
        for start in range(0, len(ids), self.batch):
            tokens, attention = padded(ids[start : start + self.batch], self.pair.device)
            inputs = {
                "input_ids": tokens,
                "attention_mask": attention,
                "position_ids": (attention.cumsum(1) - 1).clamp(min=0),
            }
            named, keep = branched(model, inputs, self.openers.nodes)
            logits = model(**named, use_cache=False, logits_to_keep=keep).logits[:, -keep:]
            parts.append(log_odds_of(logits, self.openers))
        return torch.cat(parts)

    def mean(self, model: Any, ids: Ids) -> float:
        with torch.inference_mode():
            return float(self.odds(model, ids).double().mean())


@contextmanager
def _hooked(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def plain_views(scene: RealScene, prompts: Sequence[Prompt]) -> PlainViews:
    """Every column but the search's: whole ones timed, those by layer on three layers."""
    plain = _Plain(scene, prompts)
    count = scene.pair.n_layers
    layers = tuple(dict.fromkeys(count * (2 * i + 1) // (2 * TIMED) for i in range(TIMED)))
    values: dict[str, dict[int, float]] = {}
    total = seconds(lambda: weight_distance(scene.pair, scene.pair.units(scene.kind)))
    total += seconds(lambda: _local(plain))
    for name, once, each in (
        ("single", lambda: _under(plain, set()), _single(plain)),
        ("left_out", lambda: _under(plain, set(range(count))), _left_out(plain)),
        ("patching", lambda: _under(plain, set()), _patched(plain)),
        ("trace", lambda: None, _traced(plain, prompts)),
    ):
        kept: dict[str, Any] = {}
        total += seconds(lambda once=once, kept=kept: kept.update(base=once()))
        found: dict[int, float] = {}

        def work(each: Any = each, found: Any = found, base: Any = kept["base"]) -> None:
            found.update({layer: each(layer, base) for layer in layers})

        total += seconds(work) * count / len(layers)
        values[name] = found
    plain.copied.transplant(set())
    total += seconds(lambda: values.update(gradient=_gradients(plain, layers)))
    return PlainViews(layers, values, total)


def _local(plain: _Plain) -> None:
    """Both models' sites on the student's own input, cosine at the last token."""
    apart: list[Tensor] = []
    parts = plain.pair.family.parts(plain.scene.kind)
    paths = [plain.pair.family.site_path(part) for part in parts]

    def look(other: nn.Module) -> Callable[..., None]:
        def hook(module: Any, args: Any, output: Tensor) -> None:
            theirs = other(args[0][:, -1:])[:, -1].float()
            apart.append(1 - torch.cosine_similarity(output[:, -1].float(), theirs, dim=-1))

        return hook

    handles = []
    for index in range(plain.pair.n_layers):
        for path in paths:
            ours = submodule(plain.layer(plain.student, index), path)
            other = submodule(plain.layer(plain.teacher, index), path)
            handles.append(ours.register_forward_hook(look(other)))
    try:
        plain.mean(plain.student, plain.ids)
    finally:
        for handle in handles:
            handle.remove()


def _single(plain: _Plain) -> Callable[[int, float], float]:
    def each(layer: int, base: float) -> float:
        return _under(plain, {layer}) - base

    return each


def _under(plain: _Plain, layers: set[int]) -> float:
    """Mean log-odds with these layers transplanted."""
    plain.copied.transplant(layers)
    return plain.mean(plain.student, plain.ids)


def _left_out(plain: _Plain) -> Callable[[int, float], float]:
    def each(layer: int, base: float) -> float:
        return base - _under(plain, set(range(plain.pair.n_layers)) - {layer})

    return each


def _exchanged(plain: _Plain, layer: int, giver: Any, taker: Any, read: Ids, into: Ids) -> Tensor:
    """Log-odds of `into` with the giver's MLP outputs on `read` in the taker's places."""
    found = []
    for ours, theirs in zip(read, into, strict=True):
        kept: list[Tensor] = []

        def keep(module: Any, args: Any, output: Tensor, kept: list[Tensor] = kept) -> None:
            kept.append(output)

        def put(module: Any, args: Any, output: Tensor, kept: list[Tensor] = kept) -> Tensor:
            length = kept[0].shape[1]
            return torch.cat([kept[0], output[:, length:]], 1)

        with torch.inference_mode():
            tokens, _ = padded([ours], plain.pair.device)
            with _hooked(plain.layer(giver, layer).mlp, keep):
                giver(input_ids=tokens, use_cache=False, logits_to_keep=1)
            with _hooked(plain.layer(taker, layer).mlp, put):
                found.append(plain.odds(taker, [theirs]))
    return torch.cat(found)


def _patched(plain: _Plain) -> Callable[[int, float], float]:
    def each(layer: int, base: float) -> float:
        parts = (plain.teacher, plain.student, plain.ids, plain.ids)
        return float(_exchanged(plain, layer, *parts).double().mean()) - base

    return each


def _traced(plain: _Plain, prompts: Sequence[Prompt]) -> Callable[[int, Any], float]:
    ready = with_twins(plain.pair, prompts, PromptFormat(), ())
    both = [(one.clean.ids, one.twin_ids) for one in ready if one is not None]
    clean, corrupt = [a for a, _ in both], [b for _, b in both]
    known: dict[str, float] = {}

    def each(layer: int, base: Any) -> float:
        if not both:
            return 0.0
        if not known:
            known["corrupt"] = plain.mean(plain.teacher, corrupt)
        parts = (plain.teacher, plain.teacher, clean, corrupt)
        return float(_exchanged(plain, layer, *parts).double().mean()) - known["corrupt"]

    return each


def _gradients(plain: _Plain, layers: Sequence[int]) -> dict[int, float]:
    """Integrated gradients: every site a blend under one number, a hook on each."""
    import numpy as np

    family = plain.pair.family
    parts = family.parts(plain.scene.kind)
    count, device = plain.pair.n_layers, plain.pair.device
    places, weights = np.polynomial.legendre.leggauss(POINTS)
    total = torch.zeros(count)
    handles = []
    now: dict[str, Tensor] = {}

    def blend(index: int, other: nn.Module) -> Callable[..., Tensor]:
        def hook(module: Any, args: Any, output: Tensor) -> Tensor:
            m = now["m"][index]
            return (output + m * (other(args[0]) - output)).to(output.dtype)

        return hook

    for index in range(count):
        for part in parts:
            path = family.site_path(part)
            other = submodule(plain.layer(plain.teacher, index), path)
            ours = submodule(plain.layer(plain.student, index), path)
            handles.append(ours.register_forward_hook(blend(index, other)))
    batch = max(1, plain.batch // 3)
    try:
        for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
            for start in range(0, len(plain.ids), batch):
                now["m"] = torch.full((count,), float(place), device=device, requires_grad=True)
                with torch.enable_grad():
                    plain.odds(plain.student, plain.ids[start : start + batch]).sum().backward()
                total += float(weight) * now["m"].grad.cpu() / len(plain.ids)
    finally:
        for handle in handles:
            handle.remove()
    return {layer: float(total[layer]) for layer in layers}


__all__ = ["PlainViews", "ours_of", "plain_views"]
