"""What may be said of a found set: the certificate held against the whole replies.

The certificate is of openings, since a search asks openings. The rates on a card are of whole
replies. Where the two disagree the claim falls to what both bear: a removal that still reaches the
target by whole replies is not firm, and the set is not called 1-minimal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dapa.core.records import Rate, Removal, Unit
from dapa.search.engine.checked import Recheck, units_of


@dataclass(frozen=True)
class Claim:
    """The standing of a result, by openings and by whole replies together."""

    one_minimal: bool
    """Did every single removal fail by openings, and none reach the target by whole replies?"""
    firm: tuple[Unit, ...]
    """Units whose removal is shown to lose."""
    undecided: tuple[Unit, ...]
    """The other units of a certificate."""
    contradicted: tuple[Unit, ...]
    """Units without which whole replies still reach the target."""
    reached: bool | None
    """Does the found set reach the target by whole replies? None where they were not judged."""
    target: Rate | None = None
    """The target with its interval; None where it was given, or the run did not tell."""

    @property
    def sure(self) -> bool:
        """1-minimal, and each removal firm?"""
        return self.one_minimal and not self.undecided

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "one_minimal": self.one_minimal,
            **{name: [str(unit) for unit in getattr(self, name)] for name in _UNITS},
            "reached": self.reached,
            "target": self.target and self.target.as_dict(),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Claim:
        """Read `as_dict` back."""
        return cls(
            one_minimal=body["one_minimal"],
            **{name: units_of(body[name]) for name in _UNITS},
            reached=body["reached"],
            target=Rate(**body["target"]) if body["target"] else None,
        )


_UNITS = ("firm", "undecided", "contradicted")


def still_reach(found: Sequence[Unit], rechecks: Sequence[Recheck]) -> tuple[Unit, ...]:
    """The units of the found set whose removal reaches the target by whole replies."""
    masks = [r.mask.units for r in rechecks if r.role == "removal" and r.satisfied]
    return tuple(unit for unit in found if any(unit not in units for units in masks))


def claim_of(
    found: Sequence[Unit],
    one_minimal: bool,
    removals: Sequence[Removal],
    rechecks: Sequence[Recheck],
    target: Rate | None = None,
) -> Claim:
    """What openings and whole replies bear together.

    Args:
        found: The found set.
        one_minimal: Did every single removal fail by openings?
        removals: The certificate.
        rechecks: The same masks by whole replies; empty where they were not judged.
        target: The target with its interval.
    """
    against = still_reach(found, rechecks)
    best = [r.satisfied for r in rechecks if r.role == "best"]
    firm = tuple(r.unit for r in removals if r.firm and r.unit not in against)
    reached = best[0] if best else None
    return Claim(
        one_minimal=one_minimal and not against and reached is not False,
        firm=firm,
        undecided=tuple(r.unit for r in removals if r.unit not in firm),
        contradicted=against,
        reached=reached,
        target=target,
    )
