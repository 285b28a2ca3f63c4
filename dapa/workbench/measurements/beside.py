"""What measurements of a finished search have in common: a record that says which search it is of.

The rooms below measure and know no search's name; what reads their records on a page, in a terminal
or in a file wants to be told.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from dapa.core.measurement import Call
from dapa.core.rates import Rate
from dapa.core.records import Unit
from dapa.core.settings import Settings, setting
from dapa.prompts.settings import OFFERED

R = TypeVar("R")
Sheet = tuple[Sequence[str], Sequence[Sequence[Any]]]


@dataclass(frozen=True, eq=False)
class Beside(ABC, Generic[R]):
    """A record of the rooms below, and the search that it belongs to."""

    found: R
    """What was measured."""
    provenance: str
    """One line that says where the numbers come from."""
    run: str = ""
    """The search; empty where a set was given instead."""
    units: tuple[Unit, ...] = ()
    """The set that the search found, or that was given."""

    @classmethod
    def of(cls, call: Call, found: R, **more: Any) -> Self:
        """A record of the call's search."""
        job = call.job
        return cls(found, job.origin, job.id, job.report.units, **more)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form: that of the record, under the search's name."""
        return {**self.body(), **({"run": self.run} if self.run else {})}

    def body(self) -> dict[str, Any]:
        """The record's own JSON form."""
        told: dict[str, Any] = self.found.as_dict()  # type: ignore[attr-defined]
        return told

    @abstractmethod
    def table(self) -> Sheet:
        """Headers and rows of the CSV."""


@dataclass(frozen=True, kw_only=True)
class MostSettings(Settings):
    """How many prompts are asked where a set may be large."""

    most: int | None = setting(
        None,
        "prompts of a set at most",
        "At most so many prompts of each set.",
        low=1,
        high=1_000_000,
        preset=OFFERED,
        told=lambda most: f"{most:,} prompts of a set at most" if most else "all prompts",
    )


def ends(name: str) -> tuple[str, str, str, str]:
    """The CSV's headers of a rate."""
    return name, f"{name}_low", f"{name}_high", f"{name}_n"


def numbers(rate: Rate | None) -> tuple[Any, Any, Any, Any]:
    """A rate's cells under `ends`; empty ones where it was not measured."""
    return (None,) * 4 if rate is None else (rate.value, rate.low, rate.high, rate.n)


def listed(units: Sequence[Unit]) -> str:
    """Units as one cell of a file."""
    return " ".join(map(str, units))
