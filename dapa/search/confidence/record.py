"""What a confidence search hands over: one frozen record with its JSON form, and its plan.

`SearchReport.confidence` holds it. Its parts are in `parts`. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dapa.core.records import Unit
from dapa.search.confidence.parts import (
    ChainLink,
    ChosenSet,
    FittedStep,
    Overfit,
    SizeFloor,
    UnitStanding,
    UnseenKinds,
    units_of,
)

RefusalForm = Literal["concentrated", "graded", "spread", "nothing", "unclaimed"]
"""What the evidence says of where refusal sits; `unclaimed`: too few prompts, or stopped early."""


@dataclass(frozen=True)
class ConfidencePlan:
    """What a confidence search can show with the prompts at hand; known before it starts."""

    claim: Literal["confidence", "quick"]
    units: int
    choose: int
    more: int
    """Prompts that join the choosing where log-odds do not follow verdicts; they certify else."""
    certify: int
    locked: int
    margin: float | None
    """A loss of this much or more is what the certificate rules out; None: no claim is made."""
    holds: tuple[tuple[float, float], ...] = ()
    """(true loss, chance to show that such a set holds)."""
    firm: tuple[tuple[float, float], ...] = ()
    """(true loss of a removal, chance to show it firm, in a set of four)."""
    kinds: int = 0
    """Kinds of harm among all prompts."""
    unseen: tuple[str, ...] = ()
    """Kinds that certify alone."""
    note: str = ""
    """How the prompts were divided."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        lists: dict[str, Any] = {
            "holds": [list(pair) for pair in self.holds],
            "firm": [list(p) for p in self.firm],
        }
        return {**vars(self), **lists, "unseen": list(self.unseen)}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> ConfidencePlan:
        """Read `as_dict` back."""
        lists: dict[str, Any] = {
            name: tuple((x, y) for x, y in body[name]) for name in ("holds", "firm")
        }
        return cls(**{**body, **lists, "unseen": tuple(body["unseen"])})


@dataclass(frozen=True)
class ConfidenceRecord:
    """The end of a confidence search; `SearchReport.confidence` holds it."""

    plan: ConfidencePlan
    form: RefusalForm
    margin: float | None
    """As the plan has it."""
    units: tuple[Unit, ...]
    """The last set that passed; all units where none did."""
    chosen: tuple[ChosenSet, ...]
    """The choose table, largest first."""
    step: FittedStep | None
    """None where the vocabulary has no refusal opener, so that verdicts chose."""
    chain: tuple[ChainLink, ...]
    """The frozen chain, largest first; its first link is all units."""
    ended: str
    """Why the certifying ended, in plain words."""
    floors: tuple[SizeFloor, ...] = ()
    """Along the chosen order, and along the prior's where the first reached half of the units."""
    standings: tuple[UnitStanding, ...] = ()
    overfit: Overfit | None = None
    unseen: UnseenKinds | None = None
    looks: int = 0
    """How many searches had certified on these prompts by then, this one included."""
    replies: int = 0
    """Verdicts that rest on replies: choosing and certifying, those from memory included."""
    readings: int = 0
    """Prompts that were only read for their log-odds."""

    @property
    def total(self) -> int:
        """How many units could be moved."""
        return self.plan.units

    @property
    def floor(self) -> int:
        """L: along every order tried, every set tried of up to L units loses over the margin."""
        return min((floor.size for floor in self.floors), default=0)

    @property
    def firm(self) -> tuple[Unit, ...]:
        """Units whose removal is shown to lose more than the margin."""
        return tuple(one.unit for one in self.standings if one.firm)

    @property
    def undecided(self) -> tuple[Unit, ...]:
        """The other units of the set, where their removals were asked."""
        return tuple(one.unit for one in self.standings if not one.firm)

    @property
    def link(self) -> ChainLink | None:
        """The chain's link that is the set; None where there is no chain."""
        return next((link for link in self.chain if set(link.units) == set(self.units)), None)

    @property
    def best_return(self) -> ChosenSet | None:
        """The point of best return: furthest above the line from no unit to all units."""
        if not self.chosen:
            return None
        top, total = self.chosen[0].rate or 1.0, max(self.total, 1)
        return max(self.chosen, key=lambda one: one.rate / top - len(one.units) / total)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "plan": self.plan.as_dict(),
            **{name: getattr(self, name) for name in _PLAIN},
            "units": [str(unit) for unit in self.units],
            "floor": self.floor,
            "firm": [str(unit) for unit in self.firm],
            "undecided": [str(unit) for unit in self.undecided],
            **{name: [one.as_dict() for one in getattr(self, name)] for name in _LISTS},
            **{name: one and one.as_dict() for name in _SINGLE for one in [getattr(self, name)]},
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> ConfidenceRecord:
        """Read `as_dict` back."""
        lists: dict[str, Any] = {
            name: tuple(made.from_dict(one) for one in body.get(name) or ())
            for name, made in _LISTS.items()
        }
        single: dict[str, Any] = {
            name: made(body[name]) if body.get(name) else None for name, made in _SINGLE.items()
        }
        return cls(
            plan=ConfidencePlan.from_dict(body["plan"]),
            units=units_of(body["units"]),
            **{name: body[name] for name in _PLAIN},
            **lists,
            **single,
        )


_PLAIN = ("form", "margin", "ended", "looks", "replies", "readings")
_LISTS: Mapping[str, Any] = {
    "chosen": ChosenSet,
    "chain": ChainLink,
    "floors": SizeFloor,
    "standings": UnitStanding,
}
_SINGLE: Mapping[str, Any] = {
    "step": lambda body: FittedStep(**body),
    "overfit": Overfit.from_dict,
    "unseen": UnseenKinds.from_dict,
}


def chose_more(record: ConfidenceRecord) -> bool:
    """Did verdicts choose, so that the plan's `more` prompts joined and certify nothing?"""
    return record.step is None or not record.step.trusted
