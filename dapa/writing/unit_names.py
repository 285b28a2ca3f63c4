"""What units, kinds of site, layers and places in a model are called wherever people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dapa.core.masks import HEADS
from dapa.core.records import OUTSIDE, Unit

SITE_TITLES = {
    "residual": "residual",
    "attention": "attention out",
    "mlp": "MLP out",
    "gate": "gate",
    "gate_act": "gate, activated",
    "up": "up",
    "neurons": "neurons",
    "down": "down",
    "experts": "routed experts",
    "router": "router",
    "shared": "shared expert",
    "shared_gate": "shared expert's gate",
}
"""What people call the places where two models are compared."""

TOKEN_GROUPS = {
    "changed": "corrupted tokens",
    "after": "rest of request",
    "header": "reply header",
    "last": "last token",
    "all": "every token",
}
"""Tokens that a causal trace restores together, and what people call them."""


def where_text(units: Sequence[Unit]) -> str:
    """Where units stand: `layers 3 and 5`, `layer 3, head`; the kind where it stands outside."""
    layers = sorted({unit.layer for unit in units if unit.layer != OUTSIDE})
    outside = [unit.kind.replace("_", " ") for unit in units if unit.layer == OUTSIDE]
    return ", ".join([*([layers_text(layers)] if layers or not outside else []), *outside])


def units_text(units: Iterable[Unit]) -> str:
    """Each unit by name: `layers 3, 5`, or `3.up, 5.gate` where kinds differ."""
    units = list(units)
    kinds = {unit.kind for unit in units}
    if len(kinds) == 1 and all(unit.place is not None and not unit.cut for unit in units):
        word = "layer" if len(units) == 1 else "layers"
        return f"{word} {', '.join(layer_names([unit.layer for unit in units]))}"
    return ", ".join(map(str, units))


def layer_names(layers: Sequence[int]) -> list[str]:
    """Each layer's number; of more than twelve, neighbours together, as in `7 to 31`."""
    if len(layers) <= _SINGLY:
        return [str(layer) for layer in layers]
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return [
        name
        for run in runs
        for name in (map(str, run) if len(run) < 3 else [f"{run[0]} to {run[-1]}"])
    ]


_SINGLY = 12


def layers_text(layers: Sequence[int]) -> str:
    """`layer 3`, `layers 3 and 5`, `layers 3, 5 and 7`, `layers 0 to 31`."""
    if not layers:
        return "no layer"
    word = "layer" if len(layers) == 1 else "layers"
    *most, last = layer_names(layers)
    return f"{word} {', '.join(most)} and {last}" if most else f"{word} {last}"


PLURALS = {
    "gate": "gates",
    "up": "up projections",
    "down": "down projections",
    "mlp": "whole MLPs",
    "experts": "layers' experts",
    "shared": "shared experts",
    "shared_gate": "gates of shared experts",
    "q": "query projections",
    "k": "key projections",
    "v": "value projections",
    "o": "attention outputs",
    "attention": "whole attentions",
    "heads": "attention heads",
    "kv": "key and value heads",
    "norms": "layers' norms",
    "layer": "whole layers",
    "embeddings": "embeddings",
    "all": "sites",
    "block": "parts",
}
"""`block` stands for a mixture of matrices and blocks of neurons."""


def kind_text(kind: str, count: int) -> str:
    """`gate` or `gates`; of several kinds, `units`."""
    if "," in kind:
        return "units" if count != 1 else "unit"
    plural = PLURALS.get(kind, kind.replace("_", " ") + "s")
    return plural if count != 1 or kind == "embeddings" else plural.removesuffix("s")


def searched_text(kind: str) -> str:
    """What a search went over: `gates`; of several kinds their names, as in `gate, up`."""
    return kind.replace(",", ", ") if "," in kind else kind_text(kind, 2)


def kind_told(units: Iterable[Unit], kind: str) -> str:
    """What to call units of a search over `kind`: that, or `block` where they are parts of it."""
    cut = any(unit.kind != kind or (unit.cut and kind not in HEADS) for unit in units)
    return "block" if cut else kind


def unit_name(unit: Unit) -> str:
    """`layer 3` for a whole gate, MLP or layer, else the unit's own name."""
    plain = unit.kind in ("gate", "mlp", "layer") and not unit.cut
    return f"layer {unit.layer}" if plain else str(unit)
