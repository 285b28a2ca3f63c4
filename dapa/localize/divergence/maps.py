"""The records of a divergence: what figures draw and the command line prints. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapa.core.masks import moved_text
from dapa.localize.divergence.significance import adjusted, significant

Floats = NDArray[np.float64]
FEW = 3
"""The dimensions whose share of a distance is told: real models have a few that drown the others
(rogue dimensions, arXiv 2109.04404; massive activations, arXiv 2402.17762)."""


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
    p: Floats | None = None  # (layers, sites)
    """Two-sided bootstrap p-value of no difference."""

    @property
    def q(self) -> Floats:
        """P adjusted over every defined cell (Benjamini and Hochberg)."""
        return adjusted(np.full(self.values.shape, np.nan) if self.p is None else self.p)

    @property
    def significant(self) -> NDArray[np.bool_]:
        """Which cells can be told from zero."""
        return significant(self.q)


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
    share: Floats | None = None  # (layers, sites)
    """Share of the distance that the few largest dimensions hold (`few`), mean over
    prompts; of a pooled metric the share of the states' variance. NaN where not defined."""
    sinks: tuple[int, int] | None = None
    """(tokens left out as attention sinks, tokens in all), where every token was asked for."""
    few = FEW

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
            k = self.contrast.n_harmless
            parts.append(
                f"minus their {k} twins" if self.contrast.paired else f"minus {k} harmless"
            )
        if self.sinks:
            parts.append(f"{self.sinks[0]} sinks of {self.sinks[1]} tokens left out")
        parts += [moved_text(self.mask), f"seed {self.seed}"]
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
        body = {
            "metric": self.metric,
            "reading": self.reading,
            "sites": list(self.sites),
            "layers": list(self.layers),
            "values": plain(shown.values),
            "low": plain(shown.low),
            "high": plain(shown.high),
            "n": self.n,
            "share": None if self.share is None else plain(self.share),
        }
        if isinstance(shown, Contrast):
            body |= {"p": plain(self._p(shown)), "q": plain(shown.q)}
            body["significant"] = shown.significant.tolist()
        return body

    @staticmethod
    def _p(contrast: Contrast) -> Floats:
        return np.full(contrast.values.shape, np.nan) if contrast.p is None else contrast.p

    def table(self, contrast: bool = False) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows, for a file: a row a cell."""
        body = self.as_dict(contrast)
        names = ["values", "low", "high", "share", *(["p", "q", "significant"] if contrast else [])]
        grids = [body[name] or np.full(self.values.shape, None) for name in names]
        rows = [
            (layer, site, *(grid[i][j] for grid in grids), self.n)
            for i, layer in enumerate(self.layers)
            for j, site in enumerate(self.sites)
        ]
        return ("layer", "site", "value", *names[1:], "n"), rows

    def prompt_table(self, site: str) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows of one site, for a file: a row a prompt and layer."""
        j = self.sites.index(site)
        rows = [
            (prompt, layer, site, float(self.per_prompt[k, i, j]))
            for k, prompt in enumerate(self.prompts)
            for i, layer in enumerate(self.layers)
        ]
        return ("prompt", "layer", "site", "value"), rows


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
    sinks: tuple[int, ...] = ()
    """Indices of attention sinks, the first token among them: shown, but not in the scale."""

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""
        return (
            f"{self.pair} · {self.title}, {self.reading} reading, along one prompt of "
            f"{len(self.tokens)} tokens · 1 prompt · {moved_text(self.mask)}"
        )

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows, for a file."""
        rows = [
            (self.layers[i], self.sites[j], t, self.tokens[t], float(value), t in self.sinks)
            for (i, j, t), value in np.ndenumerate(self.values)
        ]
        return ("layer", "site", "index", "token", "value", "sink"), rows

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; `values` is [layer][site][token], null where not defined."""
        return {
            "metric": self.metric,
            "reading": self.reading,
            "sites": list(self.sites),
            "layers": list(self.layers),
            "tokens": list(self.tokens),
            "values": plain(self.values),
            "sinks": list(self.sinks),
        }


def plain(values: Any) -> Any:
    """Nested lists with None for what is not a finite number, as JSON knows no NaN."""
    if np.ndim(values) == 0:
        return float(values) if np.isfinite(values) else None
    return [plain(part) for part in values]
