"""How far the weights are apart: layer x tensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import plotly.graph_objects as go

from dapa.core.html import Html, html
from dapa.figures.grid import Floats, grid
from dapa.figures.theme import lines_of, number, palette, safe

TITLES = {
    "relative": "relative Frobenius",
    "cosine": "cosine distance",
    "rank": "effective rank of the difference",
}


class Weights(Protocol):
    """Tensors by layer and part, as `localize.weights.WeightMap`."""

    @property
    def tensors(self) -> Sequence[Any]: ...  # noqa: D102
    @property
    def layers(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def parts(self) -> tuple[str, ...]: ...  # noqa: D102
    def grid(self, measure: str = "relative") -> Floats: ...  # noqa: D102


def weights_heatmap(
    found: Weights, measure: str = "relative", dark: bool = False, top: float | None = None
) -> go.Figure:
    """Layer x tensor: a column per layer, a row per tensor of a layer.

    Args:
        found: What was compared.
        measure: relative, cosine or rank.
        dark: Colours for a dark page.
        top: The end of the colour scale.
    """
    colours = palette(dark)
    values = found.grid(measure).T  # (parts, layers)
    places = {(t.layer, t.part): t for t in found.tensors if t.layer is not None}
    hovers = [
        [
            _hover(places[layer, part], measure) if (layer, part) in places else ""
            for layer in found.layers
        ]
        for part in found.parts
    ]
    names = short_parts(found.parts)
    return grid(
        values,
        names,
        found.layers,
        hovers,
        TITLES[measure],
        colours,
        top=top,
        row=24 if len(names) > 8 else 34,
        left=40 + 6 * max(11, *map(len, names)),
    )


def short_parts(parts: Sequence[str]) -> list[str]:
    """A short name for each tensor of a layer: its last word, its whole path where two agree."""
    short = [_short(part) for part in parts]
    count = Counter(short)
    return [name if count[name] == 1 else part for name, part in zip(short, parts, strict=True)]


def _short(part: str) -> str:
    *path, kind = part.split(".") if "." in part else ["", part]
    word = (path[-1] if path and path[-1] else kind).removesuffix("_proj")
    word = word.replace("layernorm", "norm").replace("_", " ")
    return word if kind == "weight" or not path or not path[-1] else f"{word} {kind}"


def _hover(tensor: Any, measure: str) -> Html:
    lines: list[str] = [html("<b>layer {} · {}</b>", tensor.layer, safe(tensor.part))]
    if tensor.relative is not None:
        lines.append(f"relative Frobenius {number(tensor.relative)}")
    if tensor.cosine is not None:
        lines.append(f"cosine distance {number(tensor.cosine)}")
    if tensor.rank is not None:
        rank = tensor.rank
        span = "" if rank.exact else f" [{number(rank.low)}, {number(rank.high)}]"
        of = min(int(np.prod(tensor.shape[:-1])), tensor.shape[-1])
        lines.append(f"effective rank {number(rank.value)}{span} of {of}")
    if tensor.note:
        lines.append(tensor.note)
    return lines_of(lines)
