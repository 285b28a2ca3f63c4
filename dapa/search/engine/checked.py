"""What the closing checks of a search found, as frozen records with their JSON forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dapa.core.records import Mask, Outcome, Rate, Removal, Unit


@dataclass(frozen=True)
class Violation:
    """A superset of the found set that does not satisfy: refusal is not monotone here."""

    added: tuple[Unit, ...]
    """What was transplanted beside the found set."""
    outcome: Outcome
    p_value: float
    """Exact paired McNemar against the found set, Holm-adjusted over the violations."""
    firm: bool

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "added": [str(unit) for unit in self.added],
            **outcome_dict(self.outcome),
            "p_value": self.p_value,
            "firm": self.firm,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Violation:
        """Read `as_dict` back."""
        return cls(units_of(body["added"]), outcome_of(body), body["p_value"], body["firm"])


@dataclass(frozen=True)
class Recheck:
    """One mask judged again at full length, without early exit."""

    role: str
    """best, student, full or removal."""
    mask: Mask
    rate: Rate
    lost: int
    """Prompts whose opening refused and whose full reply does not."""
    gained: int
    """The reverse."""
    satisfied: bool
    """Is the target (set by openings) reached at full length?"""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "role": self.role,
            "units": [str(unit) for unit in self.mask],
            "dsr": self.rate.as_dict(),
            **{name: getattr(self, name) for name in ("lost", "gained", "satisfied")},
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Recheck:
        """Read `as_dict` back."""
        told = {name: body[name] for name in ("role", "lost", "gained", "satisfied")}
        return cls(mask=Mask.of(units_of(body["units"])), rate=Rate(**body["dsr"]), **told)


@dataclass(frozen=True)
class Smaller:
    """A set of fewer units than the found one that satisfies too, offered beside it."""

    outcome: Outcome
    """By openings on the search prompts, judged in full."""
    source: str
    """Which search saw it: `this search`, or another run's name."""
    held_out: Rate | None
    """By whole replies; its interval is at level 0.05 / `tried`. None where none are held out."""
    tried: int
    """How many such sets were measured held out: the interval pays for the choice."""

    @property
    def units(self) -> tuple[Unit, ...]:
        """The set."""
        return self.outcome.mask.units

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            **outcome_dict(self.outcome),
            "source": self.source,
            "held_out": self.held_out and self.held_out.as_dict(),
            "tried": self.tried,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Smaller:
        """Read `as_dict` back."""
        rate = body["held_out"]
        held_out = rate and Rate(**rate)
        return cls(outcome_of(body), body["source"], held_out, body["tried"])


def outcome_dict(outcome: Outcome) -> dict[str, Any]:
    """The JSON form of an outcome; `dsr` is null where curtailed, `low` and `high` its bounds."""
    return {
        "units": [str(unit) for unit in outcome.mask],
        **outcome.counts(),
        "dsr": outcome.dsr,
        "low": outcome.bounds[0],
        "high": outcome.bounds[1],
    }


def outcome_of(body: Mapping[str, Any]) -> Outcome:
    """Read `outcome_dict` back."""
    return Outcome.counted(Mask.of(units_of(body["units"])), body)


def removal_dict(removal: Removal) -> dict[str, Any]:
    """The JSON form of a line of the certificate; what an older version lacked is left out."""
    later = {name: getattr(removal, name) for name in ("basis", "whole") if removal.basis}
    return {
        "unit": str(removal.unit),
        "layer": removal.unit.place,
        **outcome_dict(removal.outcome),
        **{name: getattr(removal, name) for name in ("p_value", "flips", "firm", "more")},
        **later,
    }


def removal_of(body: Mapping[str, Any]) -> Removal:
    """Read `removal_dict` back; runs of older versions had no `more`, `basis` and `whole`."""
    names = ("p_value", "flips", "firm", "more", "basis", "whole")
    told = {name: body[name] for name in names if name in body}
    return Removal(Unit.parse(body["unit"]), outcome_of(body), **told)


def units_of(names: Sequence[str]) -> tuple[Unit, ...]:
    """Units by their names."""
    return tuple(Unit.parse(name) for name in names)
