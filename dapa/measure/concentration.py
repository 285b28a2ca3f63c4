"""How concentrated is refusal? Nested sets of units against refusals, before any set is claimed.

Orders are made on search prompts (`search.orders`); every set that some order begins with is
decoded once, on search and on held-out prompts; what is told comes from the held-out ones, along
the order whose curve stands highest on the search prompts, so that what chose it is not what tells.
Intervals of a size's refusals are Wilson's; all others are bootstrapped over prompts, paired over
sizes (`size_curve`). Prompts of one kind are answered alike, which neither knows.

How it is asked stands in `concentrating`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from dapa.core.records import Rate, Unit
from dapa.localize.causes.flips import Effect
from dapa.measure.other_sites import Site
from dapa.measure.size_curve import MARGIN, CurveFigures
from dapa.search.engine.contract import Mode
from dapa.search.orders import ORDERS, Order

Form = Literal["nothing", "concentrated", "graded", "spread", "open"]
"""`open`: it was stopped before it could be told."""
FEW = 3
"""Concentrated: a third of the units are enough."""
HALF = 2
"""Spread: no half is."""


@dataclass(frozen=True)
class SizePoint:
    """One nested set."""

    size: int
    search: Rate
    held_out: Rate | None
    odds: float | None
    """Refusal log-odds, mean over search prompts."""
    odds_held_out: float | None
    loss: tuple[float, float, float]
    """Refusals that the full set has more, with Tango's paired 95 % interval; on the prompts that
    tell."""

    @property
    def told(self) -> Rate:
        """On held-out prompts, where there are any."""
        return self.held_out or self.search

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "size": self.size,
            "search": self.search.as_dict(),
            "held_out": None if self.held_out is None else self.held_out.as_dict(),
            "log_odds": self.odds,
            "log_odds_held_out": self.odds_held_out,
            "loss": dict(zip(("value", "low", "high"), self.loss, strict=True)),
        }


@dataclass(frozen=True)
class SizeCurve:
    """One order, and how many refusals its beginnings bring."""

    name: str
    order: Order
    points: tuple[SizePoint, ...]
    """From the student to the full set."""
    search: CurveFigures
    held_out: CurveFigures | None

    @property
    def title(self) -> str:
        """What people call the order."""
        return ORDERS.get(self.name, self.name)

    @property
    def told(self) -> CurveFigures:
        """On held-out prompts, where there are any."""
        return self.held_out or self.search

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "order": self.name,
            "units": [str(unit) for unit in self.order],
            "points": [point.as_dict() for point in self.points],
            "search": self.search.as_dict(),
            "held_out": None if self.held_out is None else self.held_out.as_dict(),
        }


@dataclass(frozen=True)
class Concentration:
    """How concentrated refusal is among some units."""

    units: tuple[Unit, ...]
    student: Rate | None
    """On the prompts that tell; None where it was stopped before."""
    full: Rate | None
    gain: tuple[float, float, float]
    """Full less student, all prompts together, Tango's paired 95 % interval."""
    minimum: float
    """The gain must surely exceed this, or there is nothing here."""
    least: float = 0.0
    """The smaller gain of the two lists of prompts; it must exceed the margin."""
    curves: tuple[SizeCurve, ...] = ()
    margin: float = MARGIN
    odds_gain: Effect | None = None
    """Full less student in refusal log-odds, search prompts."""
    searched: int = 0
    """Search prompts."""
    held_out: int = 0
    mode: Mode = "opening"
    kind: str = "gate"
    """Of the units; `block` where sites are cut."""
    sites: tuple[Site, ...] = ()
    """Other kinds of site that differ, the most promising first."""
    finer: bool = False
    """Can the units be cut?"""
    complete: bool = True
    masks: int = 0
    """Distinct sets that were judged."""
    looks: int = 0
    """How often the held-out prompts were looked at on this pair by now; 0 where nobody counted."""
    seed: int = field(default=0, compare=False)

    @property
    def where(self) -> str:
        """Which prompts tell."""
        return "held-out" if self.held_out else "search"

    @property
    def something(self) -> bool:
        """Does the full set surely gain enough?"""
        return self.gain[1] > self.minimum and self.least > self.margin

    @property
    def main(self) -> SizeCurve:
        """The order that stands highest on the search prompts."""
        return max(self.curves, key=lambda curve: curve.search.cpr.value)

    @property
    def floor(self) -> int:
        """Up to this size every set that was measured loses more than the margin, in all orders."""
        return min(curve.told.floor for curve in self.curves)

    @property
    def verdict(self) -> tuple[Form, bool]:
        """Concentrated, graded, spread or nothing here, and whether the intervals settle it.

        Spread where no set up to half of the units is enough, in any order; concentrated where a
        third is, by the upper end of the interval along the main order.
        """
        if not self.units:
            return "nothing", True
        if self.student is None:
            return "open", False
        if not self.something:
            return "nothing", True
        if not self.curves or not self.complete:
            return "open", False
        n, enough = len(self.units), self.main.told.enough
        if HALF * self.floor >= n:
            return "spread", True
        if FEW * enough.high <= n:
            return "concentrated", True
        if FEW * enough.value <= n:
            return "concentrated", False
        if enough.low * HALF > n:
            return "spread", False
        return "graded", FEW * enough.low > n

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from, the pair apart."""
        orders = f"{len(self.curves)} order{'' if len(self.curves) == 1 else 's'}"
        return (
            f"{orders} of {len(self.units)} units, {self.masks} sets · "
            f"{self.searched} search and {self.held_out} held-out prompts · seed {self.seed}"
        )

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows of the CSV: a row an order and size."""
        rates = [f"{split}{end}" for split in ("search", "held_out") for end in _ENDS]
        head = ("order", "size", "added", *rates, "log_odds", "log_odds_held_out",
                "loss", "loss_low", "loss_high")  # fmt: skip
        rows: list[tuple[Any, ...]] = []
        for curve in self.curves:
            before = 0
            for p in curve.points:
                added = " ".join(map(str, curve.order[before : p.size]))
                before = p.size
                both = (*_numbers(p.search), *_numbers(p.held_out))
                odds = (p.odds, p.odds_held_out)
                rows.append((curve.name, p.size, added, *both, *odds, *p.loss))
        if not rows:
            for size, rate in ((0, self.student), (len(self.units), self.full)):
                cells = (_numbers(None), _numbers(rate)) if self.held_out else (
                    _numbers(rate), _numbers(None))  # fmt: skip
                rows.append(("", size, "", *cells[0], *cells[1], *[None] * 5))
        return head, rows

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        form, sure = self.verdict
        return {
            "form": form,
            "sure": sure,
            "units": [str(unit) for unit in self.units],
            "student": None if self.student is None else self.student.as_dict(),
            "full": None if self.full is None else self.full.as_dict(),
            "gain": dict(zip(("value", "low", "high"), self.gain, strict=True)),
            "kind": self.kind,
            "minimum_gain": self.minimum,
            "margin": self.margin,
            "log_odds_gain": None if self.odds_gain is None else self.odds_gain.as_dict(),
            "search_prompts": self.searched,
            "held_out_prompts": self.held_out,
            "verdicts": self.mode,
            "main": self.main.name if self.curves else None,
            "floor": self.floor if self.curves else None,
            "curves": [curve.as_dict() for curve in self.curves],
            "sites": [site.as_dict() for site in self.sites],
            "finer": self.finer,
            "masks": self.masks,
            "looks": self.looks,
            "complete": self.complete,
            "seed": self.seed,
        }


_ENDS = ("", "_low", "_high", "_n")


def _numbers(rate: Rate | None) -> tuple[Any, ...]:
    return (None,) * 4 if rate is None else (rate.value, rate.low, rate.high, rate.n)
