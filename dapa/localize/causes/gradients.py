"""Mask gradients: the slope of refusal log-odds in every site's and every neuron's strength.

Masks are continuous, so one backward pass through the row-masked student gives df/dm for all sites
at once. A shut gate has no slope at m = 0, so slopes are integrated while all sites' strengths move
together from 0 to 1; then they sum to the whole effect f(1) - f(0) (completeness of integrated
gradients, Sundararajan, Taly and Yan 2017, arXiv 1703.01365), up to the residual of the
quadrature, which is shown. The shares depend on that path: two sites that only work together share
their effect. No search decides by them.

This module does not know prompts as text, figures or searches.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapa.core.records import EMPTY, Mask, PromptError, SettingError, Site, Unit
from dapa.localize.causes.flips import Effect, Progress, counted, effect_of
from dapa.localize.causes.slopes import mask_gradients, part_of, within_memory
from dapa.localize.divergence.maps import plain
from dapa.model.decode.log_odds import Ids, refusal_log_odds
from dapa.model.decode.openers import Openers, find_openers
from dapa.model.decode.serving import row_capacity
from dapa.model.families import sites_of
from dapa.model.heads import HeadShape
from dapa.model.machine import backward_bytes
from dapa.model.pair import Pair
from dapa.model.strengths import reach

Floats = NDArray[np.float64]
_LEAST = 2**26
"""Bytes of states that a backward pass may keep beside the smallest pair."""
FEW_POINTS, POINTS = 4, 16
"""Gauss-Legendre points on the path: tried first, and taken where those miss. On planted pairs of
four families, whose gates swing from shut to open in up to four needed layers, the sum meets the
whole effect within 0.5 % by 16 points (8: within 9 %); on the real pair by 4 within 1.2 %, and the
ranks of 30 MLPs by 4 points and by 16 correlate at 0.996."""
MISSED = 0.02
"""Error from which more points are taken."""


@dataclass(frozen=True, eq=False)
class GradientMap:
    """Integrated mask gradients of units."""

    kind: str
    """Their kind, or their kinds, as in `gate, up`."""
    units: tuple[Unit, ...]
    effects: tuple[Effect, ...]
    """Each unit's share of the whole effect, in log-odds."""
    per_prompt: Floats  # (units, prompts)
    neurons: Mapping[Site, Floats]  # each (neurons,), mean over prompts
    whole: Effect
    """f(1) - f(0), from two plain forward passes."""
    residual: Effect
    """The shares' sum minus the whole effect: the error of the quadrature."""
    points: int
    pair: str
    asked: int
    """How many prompts were asked for; more than counted where the sweep was stopped."""
    heads: HeadShape | None = None
    """How the pair's heads lie, where units may be some of them."""

    @property
    def values(self) -> Floats:
        """The mean shares, (units,)."""
        return np.array([effect.value for effect in self.effects])

    @property
    def ranked(self) -> tuple[Unit, ...]:
        """The units, the largest share first."""
        return tuple(self.units[i] for i in np.argsort(-self.values, kind="stable"))

    @property
    def error(self) -> float:
        """The residual's share of the whole effect; 0.05 is 5 %."""
        return abs(self.residual.value) / max(abs(self.whole.value), 1e-12)

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""
        what = f"{self.kind} gradients of refusal log-odds over {self.points} points"
        return f"{self.pair} · {what} · {counted(self.whole.n, self.asked)}"

    def block(self, unit: Unit) -> float:
        """The share of a block of neurons, summed over the unit's sites: a prior for the search."""
        return sum(float(found.sum()) for _, found in self._neurons_of(unit))

    def strongest(self, unit: Unit, count: int) -> list[tuple[str, int, float]]:
        """The unit's neurons with the largest shares in size: (kind of site, neuron, share)."""
        every = [
            (site.module, start + i, float(value))
            for (site, start), found in self._neurons_of(unit)
            for i, value in enumerate(found)
        ]
        return sorted(every, key=lambda neuron: -abs(neuron[2]))[:count]

    def _neurons_of(self, unit: Unit) -> list[tuple[tuple[Site, int], Floats]]:
        """The shares of a unit's neurons, run by run, each with its site and first neuron."""
        return [
            ((site, start), self.neurons[site][start:stop])
            for site in sites_of(unit)
            if site in self.neurons
            for start, stop in reach(unit, site.module, self.heads)
            or ((0, len(self.neurons[site])),)
        ]

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows, for a file."""
        rows = [
            (str(unit), unit.layer, e.value, e.low, e.high, e.n)
            for unit, e in zip(self.units, self.effects, strict=True)
        ]
        return ("unit", "layer", "value", "low", "high", "n"), rows

    def as_dict(self, neurons: int = 0) -> dict[str, Any]:
        """The JSON form, with so many of each unit's strongest neurons."""
        rows = []
        for unit, effect in zip(self.units, self.effects, strict=True):
            row: dict[str, Any] = {"unit": str(unit), "layer": unit.place, **effect.as_dict()}
            if neurons:
                names = ("site", "neuron", "value")
                strongest = self.strongest(unit, neurons)
                row["neurons"] = [dict(zip(names, neuron, strict=True)) for neuron in strongest]
            rows.append(row)
        return {
            "kind": self.kind,
            "rows": rows,
            "total": plain(self.values.sum()),
            "whole": self.whole.as_dict(),
            "residual": self.residual.as_dict(),
            "error": plain(self.error),
            "points": self.points,
            "n": self.whole.n,
        }


class MovesWhole(SettingError):
    """A unit has no strengths between 0 and 1, so no slope in one either."""


def refuse_whole(pair: Pair, units: Sequence[Unit]) -> None:
    """MovesWhole for units of a mixture of experts."""
    for unit in units:
        if any(site.module in pair.mixture for site in pair.sites_of(unit)):
            raise MovesWhole(
                f"{unit} moves whole, as all of a mixture of experts does, so there is no slope in "
                "its strength; rank by single, divergence or weights"
            )


def integrated_gradients(
    pair: Pair,
    ids: Ids,
    units: Sequence[Unit] | None = None,
    *,
    points: int | None = None,
    rows: int | None = None,
    openers: Openers | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> GradientMap:
    """Each unit's share of the whole effect of transplanting all `units`.

    Args:
        pair: The two models.
        ids: Rendered prompts in the student's tokens.
        units: By default every gate that differs. All their sites move whole along the path, also
            where a unit is a block of neurons, which gets its neurons' part.
        points: Gauss-Legendre points; one forward and one backward pass of each prompt at each.
            By default 4, and 16 where the sum then misses the whole effect by over 2 %.
        rows: Rows of one pass at most; a pass keeps its states, so a third of a forward's, and
            no more than take half of what the pair's weights take.
        openers: Of `find_openers`, if the caller has them.
        progress: Told (prompts done, prompts in all) after every pass.
        stop: When set, the map holds the prompts measured so far.

    Raises:
        NoOpeners: The vocabulary has no refusal opener.
        MovesWhole: Units of a mixture of experts.
        SettingError: Units that do not exist or move the same neurons twice; or no points.
        PromptError: No prompt.
        DapaError: Not even one row fits into memory.
    """
    units = pair.units("gate") if units is None else tuple(units)
    if not len(ids):
        raise PromptError("there is no prompt to measure on; choose a prompt set with some")
    if points is None:
        return _with_few(pair, ids, units, progress, rows=rows, openers=openers, stop=stop)
    if points < 1:
        raise SettingError(f"{points} points are too few; choose 1 or more")
    if not units:
        raise SettingError("there is no unit to integrate over; choose at least one")
    pair.validate(Mask.of(units))
    openers = openers or find_openers(pair)
    sites = list(
        dict.fromkeys(
            s for unit in units for s in pair.sites_of(unit) if s.layer in pair.differs[s.module]
        )
    )
    refuse_whole(pair, units)
    full = Mask.of(Unit(site.layer, site.module) for site in sites)
    places, weights = np.polynomial.legendre.leggauss(points)
    path = [float(x) for x in (places + 1) / 2]
    capacity = rows or _rows(pair, max(map(len, ids)) + len(openers.nodes))
    block = max(1, capacity // points)
    shares = np.zeros((len(units), len(ids)))
    neurons = {site: np.zeros(pair.sites[site].neurons) for site in sites}
    done = 0
    while done < len(ids) and not (stop is not None and stop.is_set()):
        here = ids[done : done + block]
        work = [
            (row, m, w) for m, w in zip(path, weights / 2, strict=True) for row in range(len(here))
        ]
        for start in range(0, len(work), capacity):
            part = work[start : start + capacity]
            at = np.array([row for row, _, _ in part])
            share = np.array([w for _, _, w in part])
            found = within_memory(
                pair, [here[r] for r in at], sites, [m for _, m, _ in part], openers
            )
            for site in sites:
                neurons[site] += share @ found.neurons[site]
            for i, unit in enumerate(units):
                np.add.at(shares[i], done + at, share * part_of(found, unit, pair.heads))
        done += len(here)
        if progress:
            progress(done, len(ids))
    ends = refusal_log_odds(pair, ids[:done], [EMPTY, full], openers=openers)
    per_prompt = shares[:, :done]
    whole = ends[1] - ends[0]
    return GradientMap(
        kind=", ".join(dict.fromkeys(unit.kind for unit in units)),
        units=units,
        effects=tuple(effect_of(row) for row in per_prompt),
        per_prompt=per_prompt,
        neurons={site: total / max(done, 1) for site, total in neurons.items()},
        whole=effect_of(whole),
        residual=effect_of(per_prompt.sum(0) - whole),
        points=points,
        pair=pair.spec.title,
        asked=len(ids),
        heads=pair.heads,
    )


def _with_few(
    pair: Pair, ids: Ids, units: Sequence[Unit], progress: Progress | None, **given: Any
) -> GradientMap:
    """By few points, and by more where those miss; told as the share of both."""
    tell = progress or (lambda done, of: None)
    share = FEW_POINTS / (FEW_POINTS + POINTS)
    found = integrated_gradients(
        pair,
        ids,
        units,
        points=FEW_POINTS,
        progress=lambda n, of: tell(int(share * n), of),
        **given,
    )
    if found.error <= MISSED or found.whole.n < found.asked:
        tell(found.whole.n, found.asked)
        return found
    start = int(share * len(ids))
    return integrated_gradients(
        pair,
        ids,
        units,
        points=POINTS,
        progress=lambda n, of: tell(start + n * (of - start) // of, of),
        **given,
    )


def _rows(pair: Pair, tokens: int) -> int:
    """Rows of one backward pass: their states lie beside the pair, and stay small beside it."""
    each = backward_bytes(pair.student.config.get_text_config(), tokens)
    room = max(_LEAST, pair.weight_bytes // 2)
    return max(1, min(row_capacity(pair) // 3, room // each))


__all__ = ["FEW_POINTS", "POINTS", "GradientMap", "integrated_gradients", "mask_gradients"]
