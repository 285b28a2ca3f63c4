"""The columns of a search's tests, and the lines between its chunks."""

from __future__ import annotations

from collections.abc import Sequence

from dapa.core.records import Trial, Unit


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
