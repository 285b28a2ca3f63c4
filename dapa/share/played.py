"""A search as data for the picture that `assets/js/replay.js` draws: live, stored, in a report.

The browser gets numbers, not markup: it draws only what is in sight, so a picture of 80 units by
500 tests costs no more than a small one, and a scrubber needs no server.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

from dapa.core.masks import HEADS
from dapa.core.records import OUTSIDE, Mask, Outcome, Trial, Unit
from dapa.figures.trials import chunk_lines, column_names, plain
from dapa.model.families import GROUPS
from dapa.writing.costs import PHASES

_COUNTING = (
    "search",
    "certificate",
)  # of these the set of fewest units is the best so far
_SHOWN = ("opening", "search", "certificate", "superset")  # judged alike, so on one curve
_CONFIDENT = ("choose", "certify", "floor", "removals")
"""Phases of a confidence search, in which no single test is held against a target."""


def encode(
    name: str,
    head: str,
    trials: Sequence[Trial],
    units: Sequence[Unit] = (),
    target: float | None = None,
    asking: Sequence[Outcome] = (),
    live: bool = False,
    tests: int | None = None,
) -> str:
    """A search's log as the picture's value.

    Args:
        name: The run's id: another name makes the picture start anew.
        head: The picture's title.
        trials: The log.
        units: The columns; by default those of the largest mask that was asked.
        target: The DSR that satisfies.
        asking: What is being judged now.
        live: Does it still grow?
        tests: How many of its steps the search counts as tests; None where nobody counted. Not told
            of a confidence search: most of its tests only read the prompts, and are no steps.
    """
    if not trials:
        return ""
    columns = tuple(units) or max((t.outcome.mask.units for t in trials), key=len)
    phases = list(dict.fromkeys(trial.phase for trial in trials))
    confident = any(phase in _CONFIDENT for phase in phases)
    tests = None if confident else tests
    if not live and target is None:  # it ended before there was a target: nothing was held to one
        confident |= all(trial.outcome.satisfied is None for trial in trials)
    body = {
        "id": name,
        "head": head,
        "columns": column_names(columns),
        "axis": "layer" if plain(columns) else "unit",
        "groups": [] if plain(columns) else _groups(columns),
        "target": None if confident else target,
        "live": live,
        "tests": tests,
        "phases": [PHASES.get(phase, phase) for phase in phases],
        "opening": phases.index("opening") if "opening" in phases and not confident else -1,
        "counting": [i for i, phase in enumerate(phases) if phase in _COUNTING],
        "shown": [i for i, phase in enumerate(phases) if phase in (*_SHOWN, *_CONFIDENT)],
        "lines": chunk_lines(trials, columns),
        "rows": [_row(trial, columns, phases) for trial in trials],
        "asking": [_asked(outcome, columns) for outcome in asking[:2]] if live else [],
    }
    return json.dumps(body, separators=(",", ":"))


def _groups(columns: Sequence[Unit]) -> list[tuple[int, int, str]]:
    """Neighbouring columns of one layer: first, how many, the layer's name."""
    found = []
    for layer, run in groupby(enumerate(columns), key=lambda pair: pair[1].layer):
        places = [place for place, _ in run]
        found.append((places[0], len(places), "other" if layer == OUTSIDE else str(layer)))
    return found


def _row(trial: Trial, columns: tuple[Unit, ...], phases: list[str]) -> list[Any]:
    """The order of these is `names` in replay.js."""
    outcome = trial.outcome
    whole, part = cells(outcome.mask, columns)
    low, high = outcome.bounds
    return [
        phases.index(trial.phase), whole, part, len(outcome.mask), state(outcome),
        round(low, 4), round(high, 4), outcome.judged, outcome.asked, int(trial.memo),
        trial.granularity or 0, round(trial.seconds, 2),
    ]  # fmt: skip


def _asked(outcome: Outcome, columns: tuple[Unit, ...]) -> dict[str, Any]:
    whole, part = cells(outcome.mask, columns)
    return {"cells": whole, "parts": part, "judged": outcome.judged, "asked": outcome.asked}


def state(outcome: Outcome) -> int:
    """0 fails, 1 satisfies, 2 measured in full outside the search, 3 still open."""
    if outcome.satisfied is None:
        return 2 if outcome.full else 3
    return int(outcome.satisfied)


@lru_cache(maxsize=8192)
def cells(mask: Mask, columns: tuple[Unit, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The columns that a mask fills, and those of which it fills a part: start, length, ..."""
    place = {unit: i for i, unit in enumerate(columns)}
    whole, part = set(), set()
    for unit in mask.units:
        if unit in place:
            whole.add(place[unit])
            continue
        part |= {i for i, column in enumerate(columns) if _touches(unit, column)}
    return _runs(whole), _runs(part - whole)


def _touches(unit: Unit, column: Unit) -> bool:
    """Do they share neurons? Blocks of one column's kind, or one matrix of a whole MLP."""
    if unit.layer != column.layer or not set(GROUPS[unit.kind]) & set(GROUPS[column.kind]):
        return False
    if {unit.kind, column.kind} == set(HEADS):  # of one fused matrix each moves its own rows
        return False
    if unit.block is None or column.block is None:
        return True
    return unit.block[0] < column.block[1] and column.block[0] < unit.block[1]


def _runs(places: set[int]) -> tuple[int, ...]:
    flat: list[int] = []
    for _, run in groupby(enumerate(sorted(places)), key=lambda pair: pair[1] - pair[0]):
        members = [place for _, place in run]
        flat += [members[0], len(members)]
    return tuple(flat)
