"""A test of a search in words and marks."""

from __future__ import annotations

from collections.abc import Sequence

from dapa.core.records import Trial, Unit
from dapa.figures.theme import Palette, safe


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


def chunk_lines(trials: Sequence[Trial], units: Sequence[Unit]) -> list[tuple[int, int, int]]:
    """Where the algorithm cuts what is left: (column, first row, last row), counted from 0.

    A line stands before its column, through all rows in which it stays put.
    """
    place = {unit: i for i, unit in enumerate(units)}
    kept = tuple(units)
    open_lines: dict[int, int] = {}  # column -> the first row that the line passes
    lines: list[tuple[int, int, int]] = []
    for row, trial in enumerate(trials):
        here: set[int] = set()
        if trial.granularity and 1 < trial.granularity < len(kept):
            here = {place[kept[i]] for i in _starts(len(kept), trial.granularity)[1:]}
        for column in set(open_lines) - here:
            lines.append((column, open_lines.pop(column), row - 1))
        for column in here - set(open_lines):
            open_lines[column] = row
        if trial.granularity and trial.outcome.satisfied:
            kept = tuple(unit for unit in trial.outcome.mask.units if unit in place)
    lines += [(column, start, len(trials) - 1) for column, start in open_lines.items()]
    return sorted(lines)


def _starts(count: int, parts: int) -> list[int]:
    """Where `parts` runs begin whose lengths differ by at most one; as `search.ddmin` cuts."""
    size, rest = divmod(count, parts)
    return [i * size + min(i, rest) for i in range(parts)]


def plain(units: Sequence[Unit]) -> bool:
    """Is there one whole unit per layer, so that a layer's number names it?"""
    return len({u.place for u in units} - {None}) == len(units)


def column_names(units: Sequence[Unit]) -> list[str]:
    """What stands under each unit's column."""
    return [str(u.layer) for u in units] if plain(units) else [str(u) for u in units]
