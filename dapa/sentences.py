"""The written sentence on top of a result, for screen, command line and report alike."""

from __future__ import annotations

from collections.abc import Sequence

from dapa.records import Rate

THIN = "\u202f"
"""A narrow no-break space, before the per cent sign."""

SITE_TITLES = {
    "residual": "residual",
    "attention": "attention out",
    "mlp": "MLP out",
    "gate": "gate",
    "up": "up",
    "down": "down",
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
    """0.954 -> `95 %`, with a thin space."""
    return f"{100 * value:.{digits}f}{THIN}%"


def rate_text(rate: Rate) -> str:
    """A rate with its interval and n, as in `96 % [90 %, 99 %], n = 64`."""
    return f"{percent(rate.value)} [{percent(rate.low)}, {percent(rate.high)}], n = {rate.n}"


def layers_text(layers: Sequence[int]) -> str:
    """`layer 3`, `layers 3 and 5`, `layers 3, 5 and 7`."""
    if not layers:
        return "no layer"
    if len(layers) == 1:
        return f"layer {layers[0]}"
    return f"layers {', '.join(map(str, layers[:-1]))} and {layers[-1]}"


_PLURALS = {
    "gate": "gates",
    "up": "up projections",
    "down": "down projections",
    "mlp": "MLPs",
    "block": "parts",
}
"""`block` stands for a mixture of matrices and blocks of neurons."""


def kind_text(kind: str, count: int) -> str:
    """`gate` or `gates`."""
    plural = _PLURALS.get(kind, f"{kind} sites")
    return plural if count != 1 else plural.removesuffix("s")


def result_sentence(
    moved: int,
    total: int,
    kind: str,
    layers: Sequence[int],
    share: float,
    student: Rate | None,
    found: Rate | None,
    tests: int,
    seconds: float,
) -> str:
    """What a search found, in one sentence, hedged where the intervals overlap.

    Args:
        moved: Units transplanted.
        total: Units that could be.
        kind: Their kind of site.
        layers: The layers they stand in.
        share: Share of the student's parameters that they hold.
        student: The student's DSR, preferably on held-out prompts.
        found: The found set's DSR on the same prompts.
        tests: Tests the search made.
        seconds: How long it took.
    """
    head = (
        f"Moving {moved} of {total} {kind_text(kind, total)} ({layers_text(layers)}), "
        f"{percent(share, 1)} of the parameters, "
    )
    cost = f"; {tests} {'test' if tests == 1 else 'tests'}, {seconds:.1f} s."
    if student is None or found is None:
        return head + "is the best so far, not yet measured on held-out prompts" + cost
    change = (
        f"refusals from {percent(student.value)} to {percent(found.value)} "
        f"[{percent(found.low)}, {percent(found.high)}] of {found.n} held-out harmful prompts"
    )
    if found.low > student.high:
        return head + "raises " + change + cost
    return head + "may change " + change + " (the intervals overlap)" + cost
