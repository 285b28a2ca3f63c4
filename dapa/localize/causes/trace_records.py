"""The records of a causal trace: what figures draw and the command line prints. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapa.localize.causes.flips import Effect
from dapa.localize.divergence.maps import plain
from dapa.localize.divergence.significance import adjusted, significant

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TraceMap:
    """What restoring one kind of module in a window of layers brings back, by group of tokens."""

    kinds: tuple[str, ...]
    layers: tuple[int, ...]
    """The window's middle."""
    groups: tuple[str, ...]
    per_prompt: Floats  # (prompts, kinds, layers, groups)
    """Log-odds restored minus corrupted; NaN where a prompt has no such token."""
    prompts: tuple[str, ...]
    clean: Effect
    """Refusal log-odds of the teacher on the harmful prompts."""
    corrupt: Effect
    whole: Effect
    """Clean minus corrupted: what there is to restore."""
    corruption: str
    window: int
    draws: int
    """Draws of noise a prompt; 1 for twins."""
    multiple: float
    """The noise's standard deviation in those of the embeddings; 0 for twins."""
    sd: float
    """The noise's standard deviation; 0 for twins."""
    skipped: int
    """Prompts without a twin of equal length."""
    asked: int
    pair: str
    seed: int
    values: Floats  # (kinds, layers, groups)
    low: Floats  # (kinds, layers, groups)
    high: Floats  # (kinds, layers, groups)
    p: Floats  # (kinds, layers, groups)

    @property
    def n(self) -> int:
        """How many prompts the values are taken over."""
        return len(self.prompts)

    @property
    def q(self) -> Floats:
        """p-values adjusted over all cells (Benjamini and Hochberg)."""
        return adjusted(self.p)

    @property
    def significant(self) -> NDArray[np.bool_]:
        """Which cells can be told from zero."""
        return significant(self.q)

    @property
    def corrupted_by(self) -> str:
        """The corruption in words."""
        if self.corruption == "twin":
            return "equal-length harmless twins"
        return (
            f"Gaussian noise, sd {self.sd:.3g} ({self.multiple:g} x the embeddings'), "
            f"{self.draws} draws"
        )

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""
        done = self.n + self.skipped
        skipped = f", {self.skipped} without an equal-length twin skipped" if self.skipped else ""
        stopped = f", stopped at {done} of {self.asked}" if done < self.asked else ""
        return (
            f"{self.pair} · causal trace on the teacher in refusal log-odds, corrupted by "
            f"{self.corrupted_by}, window {self.window} · {self.n} prompts{skipped}{stopped}"
        )

    def behind(self, kind: str, layer: int, group: str) -> list[tuple[str, float]]:
        """The prompts behind a cell with their values, the largest change first."""
        place = (self.kinds.index(kind), self.layers.index(layer), self.groups.index(group))
        column = self.per_prompt[(slice(None), *place)]
        kept = [i for i in np.argsort(-np.abs(column), kind="stable") if np.isfinite(column[i])]
        return [(self.prompts[i], float(column[i])) for i in kept]

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows, for a file."""
        headers = (
            "module",
            "layer",
            "tokens",
            "value",
            "low",
            "high",
            "n",
            "p",
            "q",
            "significant",
        )
        counts, mask, q = (~np.isnan(self.per_prompt)).sum(axis=0), self.significant, self.q
        rows = []
        for (k, i, j), value in np.ndenumerate(self.values):
            at = (k, i, j)
            numbers = (value, self.low[at], self.high[at], counts[at], self.p[at], q[at])
            name = (self.kinds[k], self.layers[i], self.groups[j])
            rows.append((*name, *(x.item() for x in map(np.asarray, numbers)), bool(mask[at])))
        return headers, rows

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; arrays are [kind][layer][group]."""
        return {
            "kinds": list(self.kinds),
            "layers": list(self.layers),
            "groups": list(self.groups),
            **{k: plain(getattr(self, k)) for k in ("values", "low", "high", "p", "q")},
            "significant": self.significant.tolist(),
            "clean": self.clean.as_dict(),
            "corrupt": self.corrupt.as_dict(),
            "whole": self.whole.as_dict(),
            "corruption": self.corruption,
            "window": self.window,
            "draws": self.draws,
            "multiple": self.multiple,
            "sd": self.sd,
            "n": self.n,
            "skipped": self.skipped,
        }


@dataclass(frozen=True, eq=False)
class TokenTrace:
    """The trace along one prompt, token by token."""

    kinds: tuple[str, ...]
    layers: tuple[int, ...]
    tokens: tuple[str, ...]
    """Every token as text; where the corruption changes it, `clean → corrupted`."""
    values: Floats  # (kinds, layers, tokens)
    """Log-odds restored minus corrupted; 0 before the first corrupted token."""
    whole: float
    corruption: str
    prompt: str
    twin: str
    window: int
    pair: str
    seed: int

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""
        return (
            f"{self.pair} · causal trace on the teacher along one prompt, in refusal log-odds, "
            f"corrupted by {self.corruption}, window {self.window} · 1 prompt · seed {self.seed}"
        )

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows, for a file."""
        rows = [
            (self.kinds[k], self.layers[i], t, self.tokens[t], float(value))
            for (k, i, t), value in np.ndenumerate(self.values)
        ]
        return ("module", "layer", "index", "token", "value"), rows

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; `values` is [kind][layer][token]."""
        return {
            "kinds": list(self.kinds),
            "layers": list(self.layers),
            "tokens": list(self.tokens),
            "values": plain(self.values),
            "whole": self.whole,
            "prompt": self.prompt,
            "twin": self.twin,
        }
