"""What single units do: alone, left out, flipped on screen.

Every effect is a difference of refusal log-odds (`decode.log_odds`), since under an AND of layers a
single one changes no reply: its DSR effect is 0 and its log-odds effect is not. A left-out effect
is the sharper of the two there. This module does not know screens or figures.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dapa.core.masks import moved_text
from dapa.core.records import EMPTY, Mask, PromptError, SettingError, Unit
from dapa.core.statistics import LEVEL, mean_interval
from dapa.model.decode.log_odds import Ids, refusal_log_odds
from dapa.model.decode.openers import Openers, find_openers
from dapa.model.pair import Pair

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]
"""(prompts done, prompts in all)."""


@dataclass(frozen=True)
class Effect:
    """A mean difference of refusal log-odds over prompts, with Student's t interval."""

    value: float
    """Natural log units; above 0 it brings refusal."""
    low: float
    high: float
    n: int
    """Prompts; fewer than two give no interval (NaN)."""

    def as_dict(self) -> dict[str, float | int | None]:
        """The JSON form, None for what is not defined."""
        ends = {"value": self.value, "low": self.low, "high": self.high}
        return {**{k: v if np.isfinite(v) else None for k, v in ends.items()}, "n": self.n}


@dataclass(frozen=True, eq=False)
class Effects:
    """The effect of each of several units."""

    kind: str
    """`alone` (added to the student) or `left out` (taken from the full mask)."""
    units: tuple[Unit, ...]
    effects: tuple[Effect, ...]
    """In the order of `units`."""
    per_prompt: Floats  # (units, prompts)
    whole: Effect
    """Log-odds of the full mask minus the student's: what there is to explain."""
    pair: str
    asked: int
    """How many prompts were asked for; more than counted where the sweep was stopped."""
    harmless: int = 0
    """Harmless prompts whose effects were subtracted; 0 where none were."""
    openers: tuple[str, ...] = ()
    """What counted as the opening of a refusal."""

    @property
    def values(self) -> Floats:
        """The mean effects, (units,)."""
        return np.array([effect.value for effect in self.effects])

    @property
    def ranked(self) -> tuple[Unit, ...]:
        """The units, the one that brings most refusal first."""
        return tuple(self.units[i] for i in np.argsort(-self.values, kind="stable"))

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""
        less = f" less {self.harmless} harmless" if self.harmless else ""
        n = counted(self.whole.n, self.asked)
        return f"{self.pair} · refusal log-odds, {self.kind} · {n}{less}"

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        pairs = zip(self.units, self.effects, strict=True)
        rows = [{"unit": str(u), "layer": u.place, **e.as_dict()} for u, e in pairs]
        told = {"kind": self.kind, "rows": rows, "whole": self.whole.as_dict()}
        return {**told, "harmless": self.harmless, "openers": list(self.openers)}


@dataclass(frozen=True)
class WhatIf:
    """One unit flipped, for the prompt on screen."""

    unit: Unit
    added: bool
    """True where the flip transplants it, False where it takes it back."""
    refusal: float
    """Probability that the reply opens with a refusal, after the flip."""
    log_odds: float
    effect: float
    """Log-odds after the flip minus before."""


@dataclass(frozen=True)
class WhatIfs:
    """The strip of what-if cells."""

    mask: Mask
    refusal: float
    """Probability under the mask as it stands."""
    log_odds: float
    cells: tuple[WhatIf, ...]
    pair: str = ""
    layers: int = 0
    """How many the models have."""

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""
        return (
            f"{self.pair} · what if one of {len(self.cells)} were flipped, refusal log-odds · "
            f"{moved_text(self.mask.key)} · 1 prompt"
        )

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows, for a file."""
        rows = [(c.unit, c.added, c.refusal, c.log_odds, c.effect) for c in self.cells]
        return ("unit", "added", "refusal", "log_odds", "effect"), rows

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        cells = [
            {"unit": str(c.unit), "added": c.added, "refusal": c.refusal, "effect": c.effect}
            for c in self.cells
        ]
        return {"mask": self.mask.key, "refusal": self.refusal, "cells": cells}


def effect_of(per_prompt: Floats) -> Effect:
    """Mean and 95 % interval of one number a prompt; NaN are prompts not measured."""
    mean, low, high = mean_interval(per_prompt)
    return Effect(float(mean), float(low), float(high), int((~np.isnan(per_prompt)).sum()))


def contrasted(bad: Floats, good: Floats, twins: bool) -> Effect:
    """The mean effect on harmful prompts less that on harmless ones, with a 95 % interval.

    What moves both alike is no refusal, only another way to begin a reply. Student's t over twins,
    else Welch's t; without harmless prompts the plain `effect_of`.

    Args:
        bad: One number a harmful prompt; NaN were not measured.
        good: The same of harmless prompts; may be empty.
        twins: The i-th of both belong together.
    """
    if not len(good):
        return effect_of(bad)
    if twins:
        return effect_of(bad - good)
    x, y = bad[~np.isnan(bad)], good[~np.isnan(good)]
    if not len(x) or not len(y):
        return Effect(np.nan, np.nan, np.nan, len(x))
    value = float(x.mean() - y.mean())
    if min(len(x), len(y)) < 2:
        return Effect(value, np.nan, np.nan, len(x))
    shares = [float(one.var(ddof=1)) / len(one) for one in (x, y)]
    if not sum(shares):
        return Effect(value, value, value, len(x))
    freedom = sum(shares) ** 2 / sum(
        share**2 / (len(one) - 1) for share, one in zip(shares, (x, y), strict=True)
    )
    reach = float(stats.t.ppf(0.5 + LEVEL / 2, freedom)) * sum(shares) ** 0.5
    return Effect(value, value - reach, value + reach, len(x))


def interleaved(bad: int, good: int) -> list[int]:
    """Places of harmful prompts (first) and harmless ones in turn: a stop leaves some of both."""
    fair = [(i / max(1, n), side, start + i) for side, (n, start) in enumerate(
        ((bad, 0), (good, bad))) for i in range(n)]  # fmt: skip
    return [place for _, _, place in sorted(fair)]


def _log_odds(
    pair: Pair,
    ids: Ids,
    harmless: Ids,
    masks: Sequence[Mask],
    openers: Openers,
    progress: Progress | None,
    stop: threading.Event | None,
) -> Floats:
    """Log-odds of harmful prompts, then harmless ones, (masks, prompts)."""
    every, order = [*ids, *harmless], interleaved(len(ids), len(harmless))
    read = refusal_log_odds(
        pair, [every[i] for i in order], masks, openers=openers, progress=progress, stop=stop
    )
    found = np.full_like(read, np.nan)
    found[:, order] = read
    return found


def single_effects(
    pair: Pair,
    ids: Ids,
    units: Sequence[Unit] | None = None,
    *,
    harmless: Ids = (),
    twins: bool = False,
    openers: Openers | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Effects:
    """Each unit alone: log-odds of the student with it, minus the student's.

    Args:
        pair: The two models.
        ids: Rendered prompts in the student's tokens.
        units: By default every gate that differs; together they are the full mask.
        harmless: Harmless prompts, whose effects are subtracted.
        twins: `harmless[i]` is the twin of `ids[i]`.
        openers: Of `find_openers`, if the caller has them.
        progress: Told after every block of prompts.
        stop: When set, the effects are those of the prompts measured so far.

    Raises:
        NoOpeners: The vocabulary has no refusal opener.
        SettingError: A unit that does not exist, or the same one twice.
        PromptError: No prompt.
    """
    units = checked(pair, ids, units)
    masks = [EMPTY, Mask.of(units), *(Mask.of([unit]) for unit in units)]
    openers = openers or find_openers(pair)
    f = _log_odds(pair, ids, harmless, masks, openers, progress, stop)
    sides = (f[2:] - f[0], f[1] - f[0])
    return _effects("alone", pair, units, *sides, len(ids), twins, openers)


def left_out_effects(
    pair: Pair,
    ids: Ids,
    units: Sequence[Unit] | None = None,
    *,
    harmless: Ids = (),
    twins: bool = False,
    openers: Openers | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Effects:
    """Each unit left out: log-odds of the full mask, minus the full mask without the unit.

    Arguments and errors are those of `single_effects`.
    """
    units = checked(pair, ids, units)
    without = [Mask.of(u for u in units if u != unit) for unit in units]
    masks = [EMPTY, Mask.of(units), *without]
    openers = openers or find_openers(pair)
    f = _log_odds(pair, ids, harmless, masks, openers, progress, stop)
    sides = (f[1] - f[2:], f[1] - f[0])
    return _effects("left out", pair, units, *sides, len(ids), twins, openers)


def what_if(
    pair: Pair,
    ids: tuple[int, ...],
    mask: Mask,
    units: Sequence[Unit],
    openers: Openers | None = None,
) -> WhatIfs:
    """Refusal at the first position if just one unit were flipped; all units in one batch.

    A unit that the mask holds (at any strength) is taken back, any other is transplanted whole.

    Raises:
        SettingError: A unit that does not exist, or that moves the same neurons as another unit
            of the mask at another strength.
    """
    held = set(mask.units)
    flipped = [
        Mask(tuple(e for e in mask.entries if e[0] != unit))
        if unit in held
        else Mask((*mask.entries, (unit, 1.0)))
        for unit in units
    ]
    openers = openers or find_openers(pair)
    f = refusal_log_odds(pair, [ids], [mask, *flipped], openers=openers, rows=1 + len(units))[:, 0]
    p = np.exp(-np.logaddexp(0.0, -f))
    cells = tuple(
        WhatIf(unit, unit not in held, float(p[i]), float(f[i]), float(f[i] - f[0]))
        for i, unit in enumerate(units, start=1)
    )
    return WhatIfs(mask, float(p[0]), float(f[0]), cells, pair.spec.title, pair.n_layers)


def checked(pair: Pair, ids: Ids, units: Sequence[Unit] | None) -> tuple[Unit, ...]:
    """The units to measure, the gates if none is named; an error where nothing can be measured."""
    if not len(ids):
        raise PromptError("there is no prompt to measure on; choose a prompt set with some")
    units = pair.units("gate") if units is None else tuple(units)
    twice = [unit for i, unit in enumerate(units) if unit in units[:i]]
    if twice:
        raise SettingError(f"{twice[0]} is named twice; name each unit once")
    return units


def _effects(
    kind: str,
    pair: Pair,
    units: tuple[Unit, ...],
    every: Floats,
    whole: Floats,
    asked: int,
    twins: bool,
    openers: Openers,
) -> Effects:
    """Effects of (units, harmful prompts and then harmless ones)."""
    bad, good = every[:, :asked], every[:, asked:]
    effects = tuple(contrasted(x, y, twins) for x, y in zip(bad, good, strict=True))
    per_prompt = bad
    if good.shape[1]:
        per_prompt = bad - (good if twins else nan_mean(good)[:, None])
    both = contrasted(whole[:asked], whole[asked:], twins)
    count = int((~np.isnan(whole[asked:])).sum())
    return Effects(kind, units, effects, per_prompt, both, pair.spec.title, asked, count,
                   openers.told)  # fmt: skip


def nan_mean(x: Floats) -> Floats:
    """Means over the last axis of what is defined; NaN where nothing is."""
    return mean_interval(x)[0]


def counted(n: int, asked: int) -> str:
    """How many prompts were measured, for a provenance line."""
    return f"{n} prompts" + (f" of {asked}" if n < asked else "")
