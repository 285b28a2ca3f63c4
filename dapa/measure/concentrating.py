"""Ask how concentrated refusal is: orders, then every set that one of them begins with.

This module knows no pair: who answers and who reads log-odds is handed to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from dapa.core.records import EMPTY, Mask, Rate, Unit
from dapa.core.statistics import paired_gain, wilson
from dapa.localize.causes.flips import Effect, effect_of
from dapa.measure.concentration import Concentration, SizeCurve, SizePoint
from dapa.measure.other_sites import Site
from dapa.measure.size_curve import MARGIN, Hits, read_curve, sizes_of
from dapa.search.engine.contract import Mode, Workload
from dapa.search.engine.control import Halted
from dapa.search.engine.inquiry import Inquiry
from dapa.search.orders import Order, Read

Orders = Callable[[Callable[[str, float], None]], Mapping[str, Order]]
"""(progress) -> the orders by name; asked only where there is something to order."""
TOGETHER = 96
"""Replies that are asked for at once: enough to keep a batch filled, few enough to stop soon."""


@dataclass(frozen=True)
class Prompts:
    """One list of prompts: who answers and remembers, and who reads their log-odds."""

    split: Workload
    read: Read | None = None
    """None where the vocabulary has no refusal opener."""


@dataclass(frozen=True, kw_only=True)
class Concentrating:
    """How the question is asked."""

    sizes: Sequence[int] = ()
    """The sizes to measure; empty for the usual ones."""
    mode: Mode = "opening"
    """By which verdicts."""
    kind: str = "gate"
    """Of the units, for people."""
    minimum: float = 0.1
    margin: float = MARGIN
    seed: int = 0
    sites: Callable[[], Sequence[Site]] = tuple
    """Other kinds of site, asked where refusal is not concentrated."""
    finer: bool = False
    progress: Callable[[str, float], None] = lambda what, share: None
    stop: threading.Event | None = None


def concentration(
    units: Sequence[Unit],
    search: Prompts,
    held_out: Prompts | None,
    orders: Orders,
    asked: Concentrating | None = None,
) -> Concentration:
    """Measure size against refusals.

    Args:
        units: What there is to order, at least one.
        search: Prompts that may choose.
        held_out: Prompts that choose nothing; where there are none the search prompts tell too,
            which flatters the order that they chose.
        orders: Makes the orders; Halted where it was stopped.
        asked: The rest.

    Returns:
        What was measured; by a stop, as far as it came.

    Raises:
        SettingError: A size that does not exist.
    """
    how = asked or Concentrating()
    return _Asking(tuple(units), search, held_out, how).told(orders)


class _Asking:
    """One question, as far as it has come."""

    def __init__(
        self, units: Order, search: Prompts, held_out: Prompts | None, how: Concentrating
    ) -> None:
        self.units, self.how, self.full = units, how, Mask.of(units)
        self.sizes = sizes_of(len(units), how.sizes)
        self.sides = [side for side in (search, held_out) if side is not None]
        self.asked = [Inquiry(s.split, how.mode, stop=how.stop) for s in self.sides]
        self.judged: dict[Mask, None] = {}
        self.complete = True

    def told(self, orders: Orders) -> Concentration:
        made: Mapping[str, Order] = {}
        try:
            self.how.progress("student and full set", 0.0)
            self._judge([EMPTY, self.full])
            if self._gain()[1] > self.how.minimum and self._least() > self.how.margin:
                made = orders(lambda what, share: self.how.progress(what, 0.05 + 0.35 * share))
                self._judge_all(made)
        except Halted:
            self.complete = False
        opened = {EMPTY, self.full} <= self.judged.keys()
        curves = tuple(self._curve(name, order) for name, order in made.items())
        ends = [self._rate(mask, -1) if opened else None for mask in (EMPTY, self.full)]
        found = Concentration(
            self.units,
            ends[0],
            ends[1],
            self._gain() if opened else (0.0, -1.0, 1.0),
            self.how.minimum,
            self._least() if opened else 0.0,
            curves,
            self.how.margin,
            self._odds_gain() if opened else None,
            self.sides[0].split.prompts,
            self.sides[1].split.prompts if len(self.sides) > 1 else 0,
            self.how.mode,
            self.how.kind,
            finer=self.how.finer,
            complete=self.complete,
            masks=len(self.judged),
            seed=self.how.seed,
        )
        if found.verdict in (("open", False), ("concentrated", True)) or self._stopped():
            return found
        self.how.progress("other kinds of site", 0.97)
        return replace(found, sites=tuple(self.how.sites()))

    def _judge(self, masks: Sequence[Mask]) -> None:
        for asked in self.asked:
            asked.judge(masks)
        self.judged.update(dict.fromkeys(masks))

    def _judge_all(self, made: Mapping[str, Order]) -> None:
        every = [Mask.of(order[:size]) for size in self.sizes for order in made.values()]
        masks = [mask for mask in dict.fromkeys(every) if mask not in self.judged]
        step = ceil(TOGETHER / sum(side.split.prompts for side in self.sides))
        for start in range(0, len(masks), step):
            what = f"set {start + 1:,} of {len(masks):,}"
            self.how.progress(what, 0.4 + 0.55 * start / len(masks))
            self._judge(masks[start : start + step])

    def _stopped(self) -> bool:
        return self.how.stop is not None and self.how.stop.is_set()

    def _gain(self) -> tuple[float, float, float]:
        before = [hit for asked in self.asked for hit in asked.refused(EMPTY)]
        after = [hit for asked in self.asked for hit in asked.refused(self.full)]
        return paired_gain(before, after)

    def _least(self) -> float:
        return min(
            self._rate(self.full, i).value - self._rate(EMPTY, i).value
            for i in range(len(self.sides))
        )

    def _rate(self, mask: Mask, side: int) -> Rate:
        hits = self.asked[side].refused(mask)
        return wilson(sum(hits), len(hits))

    def _odds(self, masks: Sequence[Mask], side: int) -> list[float | None]:
        read = self.sides[side].read
        if read is None or self._stopped():
            return [None] * len(masks)
        return [float(x) if np.isfinite(x) else None for x in read(masks).mean(1)]

    def _odds_gain(self) -> Effect | None:
        read = self.sides[0].read
        if read is None or self._stopped():
            return None
        ends = read([EMPTY, self.full])
        return effect_of(ends[1] - ends[0])

    def _curve(self, name: str, order: Order) -> SizeCurve:
        kept = [(size, Mask.of(order[:size])) for size in self.sizes]
        kept = [(size, mask) for size, mask in kept if mask in self.judged]
        sizes, masks = [size for size, _ in kept], [mask for _, mask in kept]
        hits: list[Hits] = [
            np.array([asked.refused(mask) for mask in masks]) for asked in self.asked
        ]
        figures = [
            read_curve(sizes, rows, margin=self.how.margin, seed=self.how.seed) for rows in hits
        ]
        odds = [self._odds(masks, side) for side in range(len(self.sides))]
        apart = len(self.sides) > 1
        return SizeCurve(
            name,
            order,
            tuple(
                SizePoint(
                    size,
                    self._rate(mask, 0),
                    self._rate(mask, 1) if apart else None,
                    odds[0][i],
                    odds[1][i] if apart else None,
                    paired_gain(hits[-1][i].tolist(), hits[-1][-1].tolist()),
                )
                for i, (size, mask) in enumerate(kept)
            ),
            figures[0],
            figures[1] if apart else None,
        )
