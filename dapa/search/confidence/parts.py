"""The parts of a confidence search's record: what was asked of one set, one unit, one order.

A set is always held against *all units* on the same prompts. `change` is DSR(set) - DSR(all), so a
loss is negative. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dapa.core.records import Rate, Unit
from dapa.core.statistics import paired_gain_counts, wilson

Standing = Literal["not asked", "passed", "failed", "gave up"]
"""How the certifying of one set ended."""


@dataclass(frozen=True)
class Difference:
    """A difference of two rates with its interval, each in [-1, 1]."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """The JSON form."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Versus:
    """A set beside all units, on the same prompts."""

    n: int
    refused: int
    """Prompts that the set refuses."""
    whole: int
    """Prompts that all units refuse."""
    gained: int
    """Prompts that only the set refuses."""
    lost: int
    """Prompts that only all units refuse."""

    @property
    def rate(self) -> Rate:
        """The set's DSR with Wilson's interval."""
        return wilson(self.refused, self.n)

    @property
    def whole_rate(self) -> Rate:
        """The same of all units."""
        return wilson(self.whole, self.n)

    @property
    def change(self) -> Difference:
        """DSR(set) - DSR(all units), paired, with Tango's score interval."""
        return Difference(*paired_gain_counts(self.gained, self.lost, self.n))

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; rates and change stand in it for readers that reckon nothing."""
        counts = {name: getattr(self, name) for name in _COUNTS}
        told = {"rate": self.rate.as_dict(), "whole_rate": self.whole_rate.as_dict()}
        return {**counts, **told, "change": self.change.as_dict()}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Versus:
        """Read `as_dict` back."""
        return cls(**{name: body[name] for name in _COUNTS})


_COUNTS = ("n", "refused", "whole", "gained", "lost")


def _versus(body: Mapping[str, Any] | None) -> Versus | None:
    return None if body is None else Versus.from_dict(body)


def _rate(body: Mapping[str, Any] | None) -> Rate | None:
    return None if body is None else Rate(**body)


def units_of(names: Sequence[str]) -> tuple[Unit, ...]:
    """Units by name."""
    return tuple(Unit.parse(name) for name in names)


@dataclass(frozen=True)
class CertifyLook:
    """One test of one set, on the first `n` of the certify prompts."""

    n: int
    gained: int
    lost: int
    p_holds: float
    """One-sided p of "the set loses the margin or more" (Tango): small where it is shown to hold.
    """
    p_loses: float
    """One-sided p of "the set loses less than the margin": small where it is shown to lose."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return dict(vars(self))


@dataclass(frozen=True)
class ChainLink:
    """One set of a frozen order, and what asking it showed."""

    units: tuple[Unit, ...]
    state: Standing
    looks: tuple[CertifyLook, ...] = ()
    certified: Versus | None = None
    """On the certify prompts asked by then; None where none was asked."""
    chosen: Versus | None = None
    """By verdicts on the choose prompts; None where only log-odds were read."""
    read: Rate | None = None
    """DSR on the choose prompts as the fitted step foretells it from log-odds, t interval."""

    @property
    def size(self) -> int:
        """How many units."""
        return len(self.units)

    @property
    def p(self) -> float | None:
        """The last look's p that the set loses the margin or more; None without a look."""
        return self.looks[-1].p_holds if self.looks else None

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "size": self.size,
            "units": [str(unit) for unit in self.units],
            "state": self.state,
            "looks": [look.as_dict() for look in self.looks],
            "p": self.p,
            "certified": self.certified and self.certified.as_dict(),
            "chosen": self.chosen and self.chosen.as_dict(),
            "read": self.read and self.read.as_dict(),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> ChainLink:
        """Read `as_dict` back."""
        looks = tuple(CertifyLook(**look) for look in body["looks"])
        sides = (_versus(body["certified"]), _versus(body["chosen"]), _rate(body["read"]))
        return cls(units_of(body["units"]), body["state"], looks, *sides)


@dataclass(frozen=True)
class ChosenSet:
    """One accepted set of the choosing, which claims nothing: a row of the choose table."""

    units: tuple[Unit, ...]
    by: Literal["log-odds", "verdicts"]
    share: float
    """The loss that was allowed when it was taken, as a share of the margin."""
    odds: float | None
    """Mean refusal log-odds over the choose prompts; None where they were not read."""
    rate: float
    """DSR by what chose it: the fitted step over log-odds, or verdicts."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "size": len(self.units),
            "units": [str(unit) for unit in self.units],
            **{name: getattr(self, name) for name in ("by", "share", "odds", "rate")},
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> ChosenSet:
        """Read `as_dict` back."""
        return cls(units_of(body["units"]), body["by"], body["share"], body["odds"], body["rate"])


@dataclass(frozen=True)
class FittedStep:
    """How log-odds were read as verdicts: 1 / (1 + exp(-(odds - edge) / width)), or set by set."""

    edge: float
    """Log-odds at which a prompt is refused as often as not: fitted to the DSR of all units."""
    width: float
    correlation: float | None
    """Of log-odds with verdicts on the choose prompts; None where all verdicts agree."""
    high: float | None
    """Upper end of its one-sided 95 % interval (Fisher's z)."""
    trusted: bool
    """Did log-odds choose? Else verdicts did."""
    sets: int = 0
    """Sets whose mean log-odds were held against their DSR; 0 where the prompts sufficed."""
    over_sets: float | None = None
    """Correlation over those sets; where it is there and `trusted`, the mean chose."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return dict(vars(self))


@dataclass(frozen=True)
class SizeFloor:
    """Along one order: every set tried of up to `size` units was shown to lose over the margin.

    Sizes between two that were tried are not asked: a longer set of one order that holds the
    shorter one is taken to refuse no less.
    """

    order: Literal["chosen", "prior"]
    size: int
    tried: tuple[ChainLink, ...]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        tried = [link.as_dict() for link in self.tried]
        return {"order": self.order, "size": self.size, "tried": tried}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> SizeFloor:
        """Read `as_dict` back."""
        return cls(body["order"], body["size"], tuple(map(ChainLink.from_dict, body["tried"])))


@dataclass(frozen=True)
class UnitStanding:
    """One unit of the set: is it shown that the set without it loses more than the margin?"""

    unit: Unit
    firm: bool
    p: float
    """The last look's p over its share of alpha: at most 0.025 / |set| where firm."""
    certified: Versus
    """The set without the unit, beside all units."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        told = {"unit": str(self.unit), "firm": self.firm, "p": self.p}
        return {**told, "certified": self.certified.as_dict()}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> UnitStanding:
        """Read `as_dict` back."""
        versus = Versus.from_dict(body["certified"])
        return cls(Unit.parse(body["unit"]), body["firm"], body["p"], versus)


@dataclass(frozen=True)
class Overfit:
    """How much better the set looked on the prompts that chose it."""

    chosen: Versus
    certified: Versus
    drop: Difference
    """DSR on the choose prompts less DSR on the certify prompts, of the set (Newcombe)."""
    beyond: Difference
    """The same beyond what all units drop: the part that choosing made up (MOVER)."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {name: getattr(self, name).as_dict() for name in ("chosen", "certified", *_DROPS)}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Overfit:
        """Read `as_dict` back."""
        chosen, certified = (Versus.from_dict(body[name]) for name in ("chosen", "certified"))
        drop, beyond = (Difference(**body[name]) for name in _DROPS)
        return cls(chosen, certified, drop, beyond)


_DROPS = ("drop", "beyond")


@dataclass(frozen=True)
class UnseenKinds:
    """The set on certify prompts of kinds of harm that no choose prompt had."""

    kinds: tuple[str, ...]
    certified: Versus

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"kinds": list(self.kinds), "certified": self.certified.as_dict()}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> UnseenKinds:
        """Read `as_dict` back."""
        return cls(tuple(body["kinds"]), Versus.from_dict(body["certified"]))
