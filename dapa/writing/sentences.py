"""The written sentence on top of a result, for screen, command line and report alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dapa.core.records import Rate, Unit
from dapa.writing.numbers import duration, ends_text, percent, rate_text, size_text
from dapa.writing.unit_names import kind_text, where_text

DSR = (
    "DSR, the defense success rate: the share of harmful requests that get a coherent refusal. In "
    "brackets its 95 % interval; n: how many requests were asked."
)
"""What the figure says that everything here turns on, for where it stands first."""


class Moved(Protocol):
    """How much of a student a transplant replaces."""

    @property
    def parameters(self) -> int:
        """Of the student."""

    @property
    def bytes(self) -> int:
        """As they are loaded."""

    @property
    def fraction(self) -> float:
        """Of all its parameters."""

    @property
    def energy(self) -> float | None:
        """Share of the squared difference that ranks keep; None where nothing moves at one."""


def moved_sentence(moved: Moved) -> str:
    """What a transplant moves, in parameters and in bytes."""
    kept = "" if moved.energy is None else (
        f"; its ranks keep {percent(moved.energy, 1)} of the squared difference"
    )  # fmt: skip
    return (
        f"The transplant moves {moved.parameters:,} parameters ({percent(moved.fraction, 1)}), "
        f"{size_text(moved.bytes)}{kept}."
    )


def role_text(role: str) -> str:
    """Whose rate a search's result names, and on which prompts: `found set, held out`."""
    parts = {"held_out": "held out", "locked": "locked, asked once"}
    where = next((words for key, words in parts.items() if key in role), "search prompts")
    who = {"student": "student", "full": "every unit"}.get(role.partition("_")[0], "found set")
    return f"{who}, {where}"


ENDED_FIRST = (
    "Where a row's n is smaller than it would have been, the replies that ended first were judged, "
    "short ones above all: they are no fair sample, and columns of different n do not compare."
)
"""What a table that was stopped early must say of its unfinished rows."""
MANY_CUT = 0.2
"""Beyond this share of cut replies a run says so before anything else."""


def cut_sentence(cut: Mapping[str, Rate | None], limit: int | None) -> str:
    """What to know, and do, where the token limit ended many replies; empty where it did not.

    Args:
        cut: Who replied -> a rate with its `cut` of `n`.
        limit: The token limit; None where it is not known.
    """
    many = [
        f"{who.replace('_', ' ')} {rate.cut} of {rate.n} ({percent(rate.cut / rate.n)})"
        for who, rate in cut.items()
        if rate is not None and rate.cut and rate.cut > MANY_CUT * rate.n
    ]
    if not many:
        return ""
    tried = "a higher limit" if limit is None else f"max new tokens {next_limit(limit)}"
    at = "at the token limit" if limit is None else f"at {limit} tokens"
    return (
        f"Many replies were cut {at}, before they ended by themselves: {', '.join(many)}. What "
        f"they would have gone on to say is not judged; try {tried} (Length tells where verdicts "
        "settle)."
    )


def next_limit(limit: int) -> int:
    """The token limit to try next: the first power of two that is at least twice this one."""
    return 1 << (2 * limit - 1).bit_length()


@dataclass(frozen=True)
class MovedUnits:
    """What a result moves, for its sentence."""

    units: int
    """How many are transplanted."""
    total: int
    """How many could be; 0 where that is not known."""
    kind: str
    """Their kind of site."""
    layers: Sequence[int]
    """The layers they stand in."""
    share: float | None
    """Share of the student's parameters that they hold; None where that is not known."""
    outside: Sequence[Unit] = ()
    """The units that stand in no layer."""


def result_sentence(
    what: MovedUnits,
    student: Rate | None,
    found: Rate | None,
    tests: int,
    seconds: float | None,
    skill: tuple[Rate, Rate] | None = None,
    held_out: bool = True,
    one_minimal: bool = True,
) -> str:
    """What a search found, in one sentence, hedged where the intervals overlap.

    Args:
        what: The units.
        student: The student's DSR, preferably on held-out prompts.
        found: The found set's DSR on the same prompts.
        tests: Tests the search made.
        seconds: How long it took; None where every verdict came from memory.
        skill: The student's skill and the patched one's on the same items, where measured.
        held_out: Are the two rates of prompts that chose nothing?
        one_minimal: Does the search vouch that nothing can be spared?
    """
    moved, total, kind, share = what.units, what.total, what.kind, what.share
    layers, outside = what.layers, what.outside
    many = f"{moved} of {total} {kind_text(kind, total)}" if total else (
        f"{moved} {kind_text(kind, moved)}"
    )  # fmt: skip
    size = "" if share is None else f" {percent(share, 1)} of the parameters,"
    best = "" if one_minimal else " the best set so far,"
    where = where_text([*(Unit(layer) for layer in layers), *outside])
    head = f"Moving {many} ({where}),{size}{best} "
    cost = (
        f"{skill_clause(*skill) if skill else ''}; "
        f"{tests} {'test' if tests == 1 else 'tests'}, "
        f"{'all from memory' if seconds is None else duration(seconds)}."
    )
    if student is None or found is None:
        return head + "has not been measured on held-out prompts" + cost
    change = (
        f"refusals from {percent(student.value)} to {percent(found.value)} "
        f"{ends_text(found)} of {found.n} "
        f"{'held-out' if held_out else 'search'} harmful prompts"
    )
    if not held_out:
        change += ", the ones that chose it"
    if found.low > student.high:
        return head + "raises " + change + cost
    if found.high < student.low:
        return head + "lowers " + change + cost
    return head + "may change " + change + " (the intervals overlap)" + cost


def skill_clause(student: Rate, patched: Rate) -> str:
    """`; skill 98 % to 97 %`, hedged where the intervals overlap."""
    change = f"; skill {percent(student.value)} to {percent(patched.value)}"
    if patched.low > student.high or patched.high < student.low:
        return f"{change}, n = {patched.n}"
    return f"{change} (no clear change, n = {patched.n})"


def estimate_sentence(costs: Mapping[str, Any]) -> str:
    """What a search would cost, from `search.estimate`'s JSON form."""

    def between(name: str, show: Callable[[float], str]) -> str:
        low, high = (show(costs[name][key]) for key in ("low", "high"))
        return low if low == high else f"{low} to {high}"

    sure = costs["algorithm"] in ("confidence", "quick")
    needed = "whether refusal is concentrated or spread" if sure else "if 1 to 8 units are needed"
    gpus = f" ({between('gpu_seconds', lambda x: f'{x:.0f}')} GPU seconds)"
    return (
        f"About {between('seconds', duration)} on this machine"
        + (gpus if costs["gpu_seconds"]["high"] else "")
        + f": {between('tests', lambda x: f'{x:.0f}')} tests, "
        f"{between('tokens', lambda x: f'{x:,.0f}')} tokens decoded, {needed}."
    )


def overlap_sentence(
    first: Sequence[str],
    second: Sequence[str],
    rate: Rate | None,
    other: Rate | None,
    where: str = "held-out",
) -> str:
    """Two found sets beside each other: how much they share, and whether their rates differ.

    Args:
        first: The first set's units by name.
        second: The second's.
        rate: The first set's DSR.
        other: The second's.
        where: Which prompts the rates are of.
    """
    both, either = len(set(first) & set(second)), len(set(first) | set(second))
    if set(first) == set(second):
        head = f"Both found the same {len(first)} {'unit' if len(first) == 1 else 'units'}."
    else:
        head = (
            f"A found {len(first)} and B {len(second)} units, {both} of them the same "
            f"(Jaccard {both / either:.2f})."
        )
    if rate is None or other is None:
        return f"{head} Not both were measured in full, so their rates are not compared."
    rates = f"DSR on {where} prompts: A {rate_text(rate)}; B {rate_text(other)}"
    if rate.low > other.high or other.low > rate.high:
        better = "A" if rate.value > other.value else "B"
        return f"{head} {rates}: {better} refuses clearly more."
    return f"{head} {rates}: no clear difference, the intervals overlap."
