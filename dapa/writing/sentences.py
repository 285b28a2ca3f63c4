"""The written sentence on top of a result, for screen, command line and report alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dapa.core.masks import HEADS
from dapa.core.records import OUTSIDE, Rate, Unit

THIN = "\u202f"
"""A narrow no-break space, before the per cent sign."""

DSR = (
    "DSR, the defense success rate: the share of harmful requests that get a coherent refusal. In "
    "brackets its 95 % interval; n: how many requests were asked."
)
"""What the figure says that everything here turns on, for where it stands first."""

SITE_TITLES = {
    "residual": "residual",
    "attention": "attention out",
    "mlp": "MLP out",
    "gate": "gate",
    "gate_act": "gate, activated",
    "up": "up",
    "neurons": "neurons",
    "down": "down",
    "experts": "routed experts",
    "router": "router",
    "shared": "shared expert",
    "shared_gate": "shared expert's gate",
}
"""What people call the places where two models are compared."""

TOKEN_GROUPS = {
    "changed": "corrupted tokens",
    "after": "rest of request",
    "header": "reply header",
    "last": "last token",
    "all": "every token",
}
"""Tokens that a causal trace restores together, and what people call them."""


def percent(value: float, digits: int = 0) -> str:
    """0.954 -> `95 %`, with a thin space; halves go up, as in every other number on screen."""
    scale = 10**digits
    return f"{math.floor(100 * value * scale + 0.5 + 1e-9) / scale:.{digits}f}{THIN}%"


def two(value: float) -> str:
    """Two decimals, halves up, so that 39 of 40 is 0.98 here and 98 % in a sentence."""
    return f"{math.floor(100 * value + 0.5 + 1e-9) / 100:.2f}"


def plain(value: float, least: float = 0.001) -> str:
    """Three digits and never an exponent: `0.0123`, `1,230`, and `< 0.001` below that `least`."""
    if 0 < abs(value) < least:
        return f"< {least:g}" if value > 0 else f"> -{least:g}"
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def p_text(value: float | None) -> str | None:
    """A p-value as `0.031` or `< 0.001`; None where there is none."""
    if value is None:
        return None
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def size_text(count: float) -> str:
    """Bytes for people: 0 bytes, 40.0 KiB, 5.4 MiB or 26.1 GiB."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f}{THIN}{name}"
    return f"{count:.0f}{THIN}bytes"


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


def rate_text(rate: Rate, with_n: bool = True) -> str:
    """A rate with its interval, as in `96 % [90 %, 99 %], n = 64`, or short: `96 % [90, 99]`."""
    cut = cut_text(rate)
    if with_n:
        ends = f"[{percent(rate.low)}, {percent(rate.high)}]"
        return f"{percent(rate.value)} {ends}, n = {rate.n}{cut}"
    low, high = (percent(end).removesuffix(f"{THIN}%") for end in (rate.low, rate.high))
    return f"{percent(rate.value)} [{low}, {high}]{cut}"


def count_text(count: int, what: str) -> str:
    """`1 test`, `13 tests`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def role_text(role: str) -> str:
    """Whose rate a search's result names, and on which prompts: `found set, held out`."""
    parts = {"held_out": "held out", "locked": "locked, asked once"}
    where = next((words for key, words in parts.items() if key in role), "search prompts")
    who = {"student": "student", "full": "every unit"}.get(role.partition("_")[0], "found set")
    return f"{who}, {where}"


def cut_text(rate: Rate) -> str:
    """`, 3 cut` where the token limit ended some of a rate's replies, else nothing."""
    return f", {rate.cut} cut" if rate.cut else ""


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


def kinds_text(rate: Rate, of: str = " of harm", as_share: bool = False) -> str:
    """A rate over kinds beside Wilson's: `over 5 kinds of harm 91 % [73, 100]`.

    With `as_share` it is written as in a cell of shares: `over 5 kinds of harm 0.91 [0.73, 1.00]`.
    """
    told = f"{two(rate.value)} [{two(rate.low)}, {two(rate.high)}]{cut_text(rate)}"
    return f"over {rate.n} kinds{of} {told if as_share else rate_text(rate, with_n=False)}"


def where_text(units: Sequence[Unit]) -> str:
    """Where units stand: `layers 3 and 5`, `layer 3, head`; the kind where it stands outside."""
    layers = sorted({unit.layer for unit in units if unit.layer != OUTSIDE})
    outside = [unit.kind.replace("_", " ") for unit in units if unit.layer == OUTSIDE]
    return ", ".join([*([layers_text(layers)] if layers or not outside else []), *outside])


def units_text(units: Iterable[Unit]) -> str:
    """Each unit by name: `layers 3, 5`, or `3.up, 5.gate` where kinds differ."""
    units = list(units)
    kinds = {unit.kind for unit in units}
    if len(kinds) == 1 and all(unit.place is not None and not unit.cut for unit in units):
        word = "layer" if len(units) == 1 else "layers"
        return f"{word} {', '.join(layer_names([unit.layer for unit in units]))}"
    return ", ".join(map(str, units))


def layer_names(layers: Sequence[int]) -> list[str]:
    """Each layer's number; of more than twelve, neighbours together, as in `7 to 31`."""
    if len(layers) <= _SINGLY:
        return [str(layer) for layer in layers]
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return [
        name
        for run in runs
        for name in (map(str, run) if len(run) < 3 else [f"{run[0]} to {run[-1]}"])
    ]


_SINGLY = 12


def layers_text(layers: Sequence[int]) -> str:
    """`layer 3`, `layers 3 and 5`, `layers 3, 5 and 7`, `layers 0 to 31`."""
    if not layers:
        return "no layer"
    word = "layer" if len(layers) == 1 else "layers"
    *most, last = layer_names(layers)
    return f"{word} {', '.join(most)} and {last}" if most else f"{word} {last}"


PLURALS = {
    "gate": "gates",
    "up": "up projections",
    "down": "down projections",
    "mlp": "whole MLPs",
    "experts": "layers' experts",
    "shared": "shared experts",
    "shared_gate": "gates of shared experts",
    "q": "query projections",
    "k": "key projections",
    "v": "value projections",
    "o": "attention outputs",
    "attention": "whole attentions",
    "heads": "attention heads",
    "kv": "key and value heads",
    "norms": "layers' norms",
    "layer": "whole layers",
    "embeddings": "embeddings",
    "all": "sites",
    "block": "parts",
}
"""`block` stands for a mixture of matrices and blocks of neurons."""


def kind_text(kind: str, count: int) -> str:
    """`gate` or `gates`; of several kinds, `units`."""
    if "," in kind:
        return "units" if count != 1 else "unit"
    plural = PLURALS.get(kind, kind.replace("_", " ") + "s")
    return plural if count != 1 or kind == "embeddings" else plural.removesuffix("s")


def searched_text(kind: str) -> str:
    """What a search went over: `gates`; of several kinds their names, as in `gate, up`."""
    return kind.replace(",", ", ") if "," in kind else kind_text(kind, 2)


def kind_told(units: Iterable[Unit], kind: str) -> str:
    """What to call units of a search over `kind`: that, or `block` where they are parts of it."""
    cut = any(unit.kind != kind or (unit.cut and kind not in HEADS) for unit in units)
    return "block" if cut else kind


def unit_name(unit: Unit) -> str:
    """`layer 3` for a whole gate, MLP or layer, else the unit's own name."""
    plain = unit.kind in ("gate", "mlp", "layer") and not unit.cut
    return f"layer {unit.layer}" if plain else str(unit)


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
    seconds: float,
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
        seconds: How long it took.
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
        f"{tests} {'test' if tests == 1 else 'tests'}, {duration(seconds)}."
    )
    if student is None or found is None:
        return head + "has not been measured on held-out prompts" + cost
    change = (
        f"refusals from {percent(student.value)} to {percent(found.value)} "
        f"[{percent(found.low)}, {percent(found.high)}] of {found.n} "
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


def duration(seconds: float) -> str:
    """`9.8 s`, or `2 min 05 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def estimate_sentence(costs: Mapping[str, Any]) -> str:
    """What a search would cost, from `search.estimate`'s JSON form."""

    def between(name: str, show: Callable[[float], str]) -> str:
        low, middle, high = (costs[name][key] for key in ("low", "middle", "high"))
        if show(low) == show(high):
            return show(low)
        return f"{show(low)} to {show(high)} (middle {show(middle)})"

    held_out = f" and {costs['held_out']} held out" if costs["held_out"] else ""
    sure = costs["algorithm"] in ("confidence", "quick")
    needed = "refusal concentrated or spread" if sure else "if 1 to 8 units are needed"
    gpus = f", as many GPU seconds: {between('gpu_seconds', lambda x: f'{x:.0f}')}"
    return (
        f"About {between('tests', lambda x: f'{x:.0f}')} tests, "
        f"{between('tokens', lambda x: f'{x:,.0f}')} tokens, "
        f"{between('seconds', duration)} on this machine"
        + (gpus if costs["gpu_seconds"]["high"] else "")
        + f". Reckoned for {costs['algorithm']} over {costs['units']} units, {costs['prompts']} "
        f"search prompts{held_out}, {needed}. Timed on this pair in "
        f"{duration(costs['timing_seconds'])}."
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
