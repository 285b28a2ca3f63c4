"""What two units do together beyond what each does alone, in refusal log-odds."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from dapa.core.records import EMPTY, Mask, Unit
from dapa.core.statistics import mean_interval
from dapa.localize.causes.flips import Effect, Floats, Progress, checked, counted, effect_of
from dapa.model.decode.log_odds import Ids, refusal_log_odds
from dapa.model.decode.openers import Openers
from dapa.model.pair import Pair


@dataclass(frozen=True, eq=False)
class Interactions:
    """Pairwise non-additivity f(ij) - f(i) - f(j) + f(0) of log-odds.

    Above 0 two units bring more refusal together than apart. Log-odds are not a linear scale of
    the states, so a small value is no proof of independence in the network.
    """

    units: tuple[Unit, ...]
    values: Floats  # (units, units), symmetric, NaN on the diagonal
    low: Floats  # (units, units)
    high: Floats  # (units, units)
    n: int
    alone: tuple[Effect, ...]
    """f(i) - f(0)."""
    pair: str
    asked: int

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""
        return f"{self.pair} · interaction in refusal log-odds · {counted(self.n, self.asked)}"

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows, for a file: a row a pair of units."""
        rows = [
            (str(self.units[i]), str(self.units[j]), *map(float, ends), self.n)
            for i, j in combinations(range(len(self.units)), 2)
            for ends in [(self.values[i, j], self.low[i, j], self.high[i, j])]
        ]
        return ("first", "second", "value", "low", "high", "n"), rows

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, one row a pair of units."""
        rows = [
            {
                "units": [str(self.units[i]), str(self.units[j])],
                **Effect(self.values[i, j], self.low[i, j], self.high[i, j], self.n).as_dict(),
            }
            for i, j in combinations(range(len(self.units)), 2)
        ]
        return {"units": [str(unit) for unit in self.units], "rows": rows, "n": self.n}


def interactions(
    pair: Pair,
    ids: Ids,
    units: Sequence[Unit] | None = None,
    *,
    openers: Openers | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Interactions:
    """How far the effects of each two units do not add up: 1 + k (k + 1) / 2 masks for k units.

    Arguments and errors are those of `single_effects`.
    """
    units = checked(pair, ids, units)
    k = len(units)
    duos = list(combinations(range(k), 2))
    masks = [EMPTY, *(Mask.of([unit]) for unit in units)]
    masks += [Mask.of([units[i], units[j]]) for i, j in duos]
    f = refusal_log_odds(pair, ids, masks, openers=openers, progress=progress, stop=stop)
    first = [i for i, _ in duos]
    second = [j for _, j in duos]
    excess = f[1 + k :] - f[1:][first] - f[1:][second] + f[0]  # (duos, prompts)
    found = []
    for column in mean_interval(excess, axis=1):
        square = np.full((k, k), np.nan)
        square[first, second] = square[second, first] = column
        found.append(square)
    alone = tuple(effect_of(row) for row in f[1 : 1 + k] - f[0])
    n = int((~np.isnan(f[0])).sum())
    return Interactions(units, *found, n, alone, pair.spec.title, len(ids))
