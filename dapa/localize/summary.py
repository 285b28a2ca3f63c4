"""All measures of one pair side by side, a row per layer: which cheap map predicts the causal one?

Every column is signed so that higher matters more. A column that cannot be computed is left empty
with the reason; the others stand. This module knows no store: what a search found is handed in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapa.core.records import EMPTY, DapaError, Mask, Prompt, PromptError, SettingError, Unit
from dapa.core.settings import check_seed
from dapa.core.statistics import mean_interval
from dapa.localize.causes.gradients import integrated_gradients
from dapa.localize.causes.patching import patching
from dapa.localize.causes.trace import causal_trace
from dapa.localize.divergence.divergence import divergence
from dapa.localize.divergence.recording import sites_of_pair
from dapa.localize.divergence.tokens import encoded
from dapa.localize.rank_agreement import RankAgreement, best_agreement, rank_agreement
from dapa.model.decode.log_odds import past_blanks, refusal_log_odds
from dapa.model.families import KIND_TITLES
from dapa.model.pair import Pair
from dapa.prompts.format import PromptFormat

Floats = NDArray[np.float64]
Weigh = Callable[[Pair, Sequence[Unit]], Mapping[Unit, float]]
"""Each unit's change of weights, relative to the student's."""
Progress = Callable[[str, float], None]
"""(column that is being measured, share done)."""

COLUMNS = {
    "divergence": ("local divergence", "cosine distance, last token"),
    "weights": ("weight change", "relative Frobenius"),
    "single": ("transplanted alone", "refusal log-odds"),
    "left_out": ("left out", "refusal log-odds"),
    "trace": ("causal trace of the MLP", "refusal log-odds"),
    "patching": ("MLP patched into the student", "refusal log-odds"),
    "gradient": ("mask gradient", "refusal log-odds"),
    "in_search": ("found by the search", ""),
}
"""Column -> (title, unit), in the order of a row."""
CHEAP = ("divergence", "weights", "gradient", "trace", "patching")
"""Columns that no transplant was tried for."""
CAUSAL = "left_out"
"""The measure that the others are asked to predict: sharp under an AND of layers."""


@dataclass(frozen=True, eq=False)
class Column:
    """One measure of every layer."""

    name: str
    values: Floats  # (layers,)
    low: Floats  # (layers,), NaN where there is no interval
    high: Floats  # (layers,)
    n: int
    """Prompts behind it; 0 where it needs none."""


@dataclass(frozen=True, eq=False)
class Summary:
    """A row per layer, every measure beside the others."""

    kind: str
    """The kind of unit that was flipped."""
    layers: tuple[int, ...]
    columns: Mapping[str, Column]
    """Those that could be measured."""
    missing: Mapping[str, str]
    """Column -> why it could not."""
    pair: str
    n: int
    """Prompts asked."""
    seed: int
    run: str = ""
    """The stored run whose found set `in_search` tells."""
    agreements: tuple[tuple[str, str, RankAgreement], ...] = field(default=())

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dict a layer; None for what could not be measured."""
        return [
            {"layer": layer, **{name: self._cell(name, i) for name in COLUMNS}}
            for i, layer in enumerate(self.layers)
        ]

    def _cell(self, name: str, i: int) -> float | bool | None:
        if name not in self.columns:
            return None
        value = float(self.columns[name].values[i])
        if name == "in_search":
            return bool(value)
        return value if np.isfinite(value) else None

    @property
    def best_cheap(self) -> tuple[str, RankAgreement] | None:
        """The cheap measure that ranks layers most like leaving them out does, if any.

        Its interval and p hold for the best of as many as were tried (`of`).
        """
        if CAUSAL not in self.columns:
            return None
        cheap = {name: self.columns[name].values for name in CHEAP if name in self.columns}
        return best_agreement(cheap, self.columns[CAUSAL].values, self.seed)

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""
        run = f" · search {self.run}" if self.run else ""
        kind = KIND_TITLES.get(self.kind, self.kind)
        return f"{self.pair} · every measure by layer, {kind} · {self.n} prompts{run}"

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows, for a file."""
        return ("layer", *COLUMNS), [tuple(row.values()) for row in self.rows]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "rows": self.rows,
            "kind": self.kind,
            "missing": dict(self.missing),
            "intervals": {
                name: {"low": _plain(c.low), "high": _plain(c.high), "n": c.n}
                for name, c in self.columns.items()
                if np.isfinite(c.low).any()
            },
            "agreement": [{"a": a, "b": b, **found.as_dict()} for a, b, found in self.agreements],
            "best_cheap": self._best(),
            "n": self.n,
            "run": self.run or None,
        }

    def _best(self) -> dict[str, Any] | None:
        best = self.best_cheap
        return best and {"measure": best[0], **best[1].as_dict(), "of": best[1].of}


@dataclass(frozen=True, kw_only=True)
class Weighing:
    """How a summary is run."""

    seed: int = 0
    """Of every random choice."""
    progress: Progress | None = None
    """Told which column is being measured, and how far the whole is."""
    stop: threading.Event | None = None


def summary(
    pair: Pair,
    prompts: Sequence[Prompt],
    how: PromptFormat,
    kind: str = "gate",
    *,
    weigh: Weigh,
    found: tuple[str, Sequence[Unit]] | None = None,
    harmless: Sequence[str] = (),
    **options: Any,
) -> Summary:
    """Measure every column for one kind of unit, or for several that move together.

    Args:
        pair: The two models.
        prompts: Harmful requests, with their twins where they have some.
        how: How a request is rendered.
        kind: A kind of unit that stands in layers, such as `gate`, or several, as in `gate,up`: a
            layer's units then move together.
        weigh: The change of each unit's weights.
        found: A stored search of this pair and kind: its run and the units it found.
        harmless: For the trace, where prompts have no twin of their own.
        options: Of `Weighing`; where it is stopped, the columns not finished are left out.

    Raises:
        SettingError: A kind that does not exist, or that stands outside of the layers.
        PromptError: No prompt, or one that cannot be read.
    """
    asked = Weighing(**options)
    seed, progress, stop = asked.seed, asked.progress, asked.stop
    check_seed(seed)
    if not prompts:
        raise PromptError("there is no prompt to measure on; choose a prompt set with some")
    units = tuple(unit for unit in pair.units(kind) if 0 <= unit.layer < pair.n_layers)
    if not units:
        raise SettingError(f"{kind} stands outside of the layers; choose a kind inside of them")
    together = {unit.layer: [u for u in units if u.layer == unit.layer] for unit in units}
    texts = [prompt.text for prompt in prompts]
    ids = past_blanks(pair, [encoded(pair, text, how).ids for text in texts], Mask.of(units))
    layers = tuple(range(pair.n_layers))
    plan = list(COLUMNS)[:-1]

    def heard(name: str) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            if progress:
                progress(COLUMNS[name][0], (plan.index(name) + done / total) / len(plan))

        return tell

    def by_layer(name: str, per_prompt: Mapping[int, Floats], n: int) -> Column:
        """Effects of layers; one whose weights are equal has none, by construction."""
        sides = np.zeros((3, len(layers)))
        for layer, values in per_prompt.items():
            sides[:, layer] = mean_interval(values)
        return Column(name, *sides, n)

    def local() -> Column:
        here = sites_of_pair(pair)
        sites = {site.module for unit in units for site in pair.sites_of(unit)} & set(here)
        if not sites:
            raise SettingError(f"{kind} has no place on the map of states")
        seen = divergence(
            pair, texts, how, sites=sorted(sites), progress=heard("divergence"), stop=stop
        )
        _whole(seen.n, seen.asked)
        return Column("divergence", *mean_interval(seen.per_prompt.mean(axis=2), axis=0), seen.n)

    def weights() -> Column:
        values, told = np.zeros(len(layers)), weigh(pair, units)
        for layer, here in together.items():
            values[layer] = np.mean([told[unit] for unit in here])
        return Column("weights", values, *_no_interval(values), 0)

    def flipped(name: str) -> Column:
        """Each layer's units alone on the student, or taken from the full mask."""
        out = name == "left_out"
        sets = [Mask.of(set(units) - set(u) if out else u) for u in together.values()]
        f = refusal_log_odds(
            pair, ids, [EMPTY, Mask.of(units), *sets], progress=heard(name), stop=stop
        )
        n = int((~np.isnan(f[0])).sum())
        _whole(n, len(ids))
        effects = f[1] - f[2:] if out else f[2:] - f[0]
        return by_layer(name, dict(zip(together, effects, strict=True)), n)

    def trace() -> Column:
        made = causal_trace(
            pair, prompts, how, kinds=["mlp"], groups=["all"], harmless=harmless, seed=seed,
            progress=heard("trace"), stop=stop,
        )  # fmt: skip
        _whole(made.n + made.skipped, made.asked)
        return Column("trace", *(a[0, :, 0] for a in (made.values, made.low, made.high)), made.n)

    def patched() -> Column:
        made = patching(pair, texts, how, ["mlp"], seed=seed, progress=heard("patching"), stop=stop)
        _whole(made.n + made.skipped, made.asked)
        return Column("patching", *(a[:, 0] for a in (made.values, made.low, made.high)), made.n)

    def gradient() -> Column:
        made = integrated_gradients(pair, ids, units, progress=heard("gradient"), stop=stop)
        _whole(made.whole.n, made.asked)
        shares = dict(zip(made.units, made.per_prompt, strict=True))
        sums = {layer: sum(shares[u] for u in here) for layer, here in together.items()}
        return by_layer("gradient", sums, made.whole.n)

    def in_search() -> Column:
        if found is None:
            raise SettingError("no search of this pair and kind of site is stored yet")
        values = np.zeros(len(layers))
        for unit in found[1]:
            if 0 <= unit.layer < len(layers):
                values[unit.layer] = 1.0
        return Column("in_search", values, *_no_interval(values), 0)

    columns: dict[str, Column] = {}
    missing: dict[str, str] = {}
    alone, left_out = partial(flipped, "single"), partial(flipped, "left_out")
    makers = (local, weights, alone, left_out, trace, patched, gradient, in_search)
    for name, make in zip(COLUMNS, makers, strict=True):
        try:
            columns[name] = make()
        except DapaError as error:
            missing[name] = str(error)
    agreements = tuple(
        (a, b, rank_agreement(columns[a].values, columns[b].values, seed))
        for a, b in combinations(columns, 2)
    )
    run = found[0] if found is not None and "in_search" in columns else ""
    return Summary(
        kind, layers, columns, missing, pair.spec.title, len(prompts), seed, run, agreements
    )


def _whole(n: int, asked: int) -> None:
    """A column of fewer prompts than the others would not compare."""
    if n < asked:
        raise SettingError(f"stopped at {n} of {asked} prompts")


def _no_interval(values: Floats) -> tuple[Floats, Floats]:
    nothing = np.full(values.shape, np.nan)
    return nothing, nothing


def _plain(values: Floats) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]
