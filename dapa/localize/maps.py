"""The records of a divergence: what figures draw and the command line prints. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Contrast:
    """Harmful minus harmless, cell by cell; above zero the models part more on harmful prompts."""

    values: Floats  # (layers, sites)
    low: Floats  # (layers, sites)
    high: Floats  # (layers, sites)
    n: int
    """Harmful prompts counted."""
    n_harmless: int
    paired: bool
    """Was each harmful prompt compared with its own twin?"""


@dataclass(frozen=True, eq=False)
class DivergenceMap:
    """How far student and teacher are apart, by layer and site, over a set of prompts."""

    metric: str
    title: str
    """The metric for people."""
    unit: str
    reading: str
    """`local` or `total`."""
    position: str
    sites: tuple[str, ...]
    layers: tuple[int, ...]
    values: Floats  # (layers, sites), NaN where not defined
    low: Floats  # (layers, sites)
    high: Floats  # (layers, sites)
    prompts: tuple[str, ...]
    """The prompts counted, in the order of `per_prompt`."""
    per_prompt: Floats  # (prompts, layers, sites)
    """Each prompt's own distance; for pooled metrics its jackknife pseudo-value."""
    asked: int
    """How many prompts were asked for; more than counted where the sweep was stopped."""
    contrast: Contrast | None
    pair: str
    mask: str
    """The key of the student's mask."""
    seed: int

    @property
    def n(self) -> int:
        """How many prompts the values are taken over."""
        return len(self.prompts)

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""
        parts = [
            self.pair,
            f"{self.title}, {self.reading} reading, {self.position} token"
            + ("s" if self.position == "all" else ""),
            f"{self.n} prompts" + (f" of {self.asked}" if self.n < self.asked else ""),
        ]
        if self.contrast:
            twins = "their twins" if self.contrast.paired else "harmless ones"
            parts.append(f"minus {self.contrast.n_harmless} {twins}")
        parts += [f"mask {self.mask or 'empty'}", f"seed {self.seed}"]
        return " · ".join(parts)

    def behind(self, layer: int, site: str) -> list[tuple[str, float]]:
        """The prompts behind a cell with their values, furthest apart first."""
        column = self.per_prompt[:, self.layers.index(layer), self.sites.index(site)]
        order = np.argsort(-np.nan_to_num(column, nan=-np.inf), kind="stable")
        return [(self.prompts[i], float(column[i])) for i in order]

    def as_dict(self, contrast: bool = False) -> dict[str, Any]:
        """The JSON form; `contrast` puts harmful minus harmless in the values' place."""
        shown: DivergenceMap | Contrast = self
        if contrast:
            assert self.contrast is not None, "this map was made without harmless prompts"
            shown = self.contrast
        return {
            "metric": self.metric,
            "reading": self.reading,
            "sites": list(self.sites),
            "layers": list(self.layers),
            "values": _plain(shown.values),
            "low": _plain(shown.low),
            "high": _plain(shown.high),
            "n": self.n,
        }


@dataclass(frozen=True, eq=False)
class TokenMap:
    """How far student and teacher are apart along one prompt."""

    metric: str
    title: str
    unit: str
    reading: str
    sites: tuple[str, ...]
    layers: tuple[int, ...]
    tokens: tuple[str, ...]
    """As text, special ones visible."""
    values: Floats  # (layers, sites, tokens), NaN where not defined
    prompt: str
    pair: str
    mask: str

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; `values` is [layer][site][token], null where not defined."""
        return {
            "metric": self.metric,
            "reading": self.reading,
            "sites": list(self.sites),
            "layers": list(self.layers),
            "tokens": list(self.tokens),
            "values": [_plain(layer) for layer in self.values],
        }


def _plain(values: Floats) -> list[list[float | None]]:
    """Nested lists with None for what is not defined, as JSON knows no NaN."""
    return [[float(v) if np.isfinite(v) else None for v in row] for row in values]
