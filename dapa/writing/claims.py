"""What is said of a found set's standing: firm and undecided removals, target, smaller sets.

Screen and command line say it in the same words. A set with an undecided removal is never plainly
called 1-minimal, and none is called the least there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dapa.core.records import Rate, Removal, Unit
from dapa.writing.numbers import percent, rate_text
from dapa.writing.unit_names import unit_name, units_text


class Claimed(Protocol):
    """What openings and whole replies bear together; see `search.engine.claim.Claim`."""

    @property
    def one_minimal(self) -> bool:
        """No single removal reaches the target, neither by openings nor by whole replies."""

    @property
    def sure(self) -> bool:
        """The same, with every removal firm."""

    @property
    def firm(self) -> tuple[Unit, ...]:
        """Units whose removal is shown to lose."""

    @property
    def undecided(self) -> tuple[Unit, ...]:
        """Units whose removal is not shown either way."""

    @property
    def contradicted(self) -> tuple[Unit, ...]:
        """Units without which whole replies still reach the target."""

    @property
    def reached(self) -> bool | None:
        """Does the set reach the target by whole replies? None where that was not judged."""

    @property
    def target(self) -> Rate | None:
        """The target with its interval, where it derives from two rates."""


class Offered(Protocol):
    """A set of fewer units that satisfies too; see `search.engine.checked.Smaller`."""

    @property
    def units(self) -> tuple[Unit, ...]:
        """The set."""

    @property
    def source(self) -> str:
        """Which search saw it."""

    @property
    def held_out(self) -> Rate | None:
        """Its DSR on held-out prompts."""

    @property
    def tried(self) -> int:
        """How many such sets were measured."""


def headline(claim: Claimed) -> str:
    """`5 firm, 3 undecided`, or `1-minimal, all 5 removals firm`; empty without a certificate."""
    firm, undecided = len(claim.firm), len(claim.undecided)
    if not firm + undecided:
        return ""
    if claim.sure:
        return "1-minimal, its one removal firm" if firm == 1 else (
            f"1-minimal, all {firm} removals firm"
        )  # fmt: skip
    return f"{firm} firm, {undecided} undecided"


def standing(claim: Claimed) -> str:
    """What may be said of the set's single removals, in a sentence or two."""
    told = []
    if claim.reached is False:
        told.append("By whole replies the set itself misses the target.")
    if claim.contradicted:
        names = ", ".join(map(unit_name, claim.contradicted))
        told.append(
            f"By whole replies the target is still reached without {names}: the set is not shown "
            "to be 1-minimal."
        )
    head = headline(claim)
    if not head:
        told.insert(0, "The set is not shown to be 1-minimal.")
    elif claim.sure:
        told.append(
            "The set is 1-minimal: every single removal misses the target, and each is firm."
        )
    else:
        chance = " That an undecided one misses the target by its opening may be chance."
        told.insert(0, f"{head}.{chance if claim.undecided else ''}")
    return " ".join(told)


def target_text(claim: Claimed, target: float) -> str:
    """The target, with its own uncertainty where it derives from measured rates."""
    if claim.target is None:
        return f"target {percent(target)}"
    between = "set between the rates of the student and of every unit moved"
    return f"target {rate_text(claim.target)}, {between}"


def basis_text(removals: Sequence[Removal]) -> str:
    """What the word firm rests on; empty without a certificate."""
    if not removals:
        return ""
    first = removals[0]
    replies = "whole replies" if first.whole else "openings"
    n, basis = first.outcome.asked, first.basis
    if basis == "reserve":
        return f"Firm by {replies} to the {first.more} prompts of the reserve, which chose nothing."
    if basis == "search":
        return (
            f"Firm by {replies} to the {n} search prompts, which chose the set: no prompt was left "
            "in reserve."
        )
    more = max(removal.more for removal in removals)
    return f"Firm by openings of the {n} search prompts" + (f" and {more} more." if more else ".")


FEWER = "Fewer units reach the target on the search prompts too"
"""Begins what is said of smaller sets, by which a report finds it among a measurement's notes."""


def smaller_text(offered: Sequence[Offered]) -> str:
    """Sets of fewer units that satisfy too, with their held-out DSR; empty where none was seen."""
    if not offered:
        return ""
    tried = offered[0].tried
    names = []
    for one in offered:
        rate = "not measured held out" if one.held_out is None else rate_text(one.held_out)
        where = "" if one.source == "this search" else f", from {one.source}"
        names.append(f"also {units_text(one.units)}: {rate}{where}")
    measured = any(one.held_out is not None for one in offered)
    wider = f", each interval widened for the {tried}" if measured and tried > 1 else ""
    held = "held-out rates" if measured else ""
    many = "the only one tried" if tried == 1 else f"of {tried} tried"
    told = ", ".join(filter(None, (held, many)))
    return f"{FEWER}: {'; '.join(names)} ({told}{wider})."


class Short(Protocol):
    """A larger set that falls short; see `search.engine.checked.Violation`."""

    @property
    def added(self) -> tuple[Unit, ...]:
        """What was transplanted beside the found set."""

    @property
    def firm(self) -> bool:
        """Is more lost than chance would lose?"""


def larger_text(tried: int, short: Sequence[Short]) -> str:
    """What larger sets do: only a loss beyond chance says that more is not always better."""
    if not tried:
        return ""
    if not short:
        return f"All {tried} larger sets tried refuse as well: adding layers undid nothing."
    firm = [one for one in short if one.firm]
    where = "; ".join(_added(one.added) for one in (firm or short)[:4])
    kept = f"Of {tried} larger sets tried, {tried - len(short)} reach the target"
    if firm:
        return f"More is not always better. {kept}; adding {where} undoes it."
    return f"{kept}; adding {where} falls short of it, by no more than chance would."


def _added(units: Sequence[Unit]) -> str:
    return f"{len(units)} units together" if len(units) > 4 else units_text(units)


def looks_text(looks: int) -> str:
    """How often a held-out set was looked at by the end of one job; empty where nobody counted.

    A page may tell of several jobs, each with its own count: hence "by then".
    """
    if not looks:
        return ""
    times = "once, here" if looks == 1 else f"{looks} times, this one included"
    return f"By then the held-out set had been looked at {times}."
