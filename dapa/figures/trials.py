"""A test of a search in words and marks."""

from __future__ import annotations

from dapa.figures.theme import Palette, safe
from dapa.records import Trial


def kinds(colours: Palette) -> list[tuple[str, bool | None, str, str, str]]:
    """(words, satisfied, colour, symbol, hollow symbol)."""
    return [
        ("reaches the target", True, colours.blue, "circle", "circle-open"),
        ("does not", False, colours.orange, "x", "x-open"),
        ("open", None, colours.grey, "square", "square-open"),
    ]


def describe(trial: Trial) -> str:
    """A test in words, for the hover."""
    outcome = trial.outcome
    low, high = outcome.bounds
    score = f"DSR {low:.2f}" if outcome.full else f"DSR between {low:.2f} and {high:.2f}"
    layers = ", ".join(map(str, outcome.mask.layers[:8])) or "none"
    more = " …" if len(outcome.mask.layers) > 8 else ""
    word = {True: "satisfies", False: "fails", None: "open"}[outcome.satisfied]
    parts = [
        f"<b>test {trial.index + 1} · {word}</b>",
        f"{score}, {outcome.judged} of {outcome.asked} prompts judged",
        f"{len(outcome.mask)} transplanted, layers {layers}{more}",
        safe(trial.phase)
        + (f" · {trial.granularity} chunks" if trial.granularity else "")
        + (" · from memory" if trial.memo else f" · {trial.seconds:.1f} s"),
    ]
    return "<br>".join(parts)
