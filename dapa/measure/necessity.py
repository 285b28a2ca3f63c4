"""Is the found set necessary too? Roles swapped: the student's sites put into the teacher.

A search shows that the set suffices in the student. Here the teacher gets the student's weights in
those sites, and refusal is counted again on prompts that chose nothing; as many other units stand
beside it as a control. Measured only: no such model can be exported, since it is an aligned model
with its refusals taken out. The teacher's weights stay as they are; a view runs the student's
modules in the teacher's taps for this thread alone (`dapa.model.substitution`).

Where two sets each suffice, neither is necessary: then refusal stays, and the text must say so.
Where any sets as large take refusals out, the found one is not special: it is called necessary only
if it loses more than its random controls do, by a paired test over the prompts.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb
from random import Random
from typing import Any, Literal

from dapa.core.records import EMPTY, Label, Mask, Rate, SettingError, Unit
from dapa.core.statistics import LEVEL, discordant, holm, mcnemar_exact
from dapa.measure.comparisons import Bench, Progress, gain_of
from dapa.model.substitution import Substituted, given_back
from dapa.search.algorithms.questions import without
from dapa.search.engine.control import Halted
from dapa.search.job import SearchJob

_UNDER_WAY = {
    "teacher": "the whole teacher",
    "found": "the teacher without the found set",
    "all": "the teacher without every unit",
    "control": "the teacher without as many others",
    "single": "the teacher without one of them",
}
"""What is measured now, by an ablation's role."""


@dataclass(frozen=True)
class Ablation:
    """The teacher with the student's weights in some units."""

    name: str
    """`teacher` (none), `found`, `all`, `control-1` and so on, or a unit by itself."""
    role: Literal["teacher", "found", "control", "all", "single"]
    units: tuple[Unit, ...]
    dsr: Rate
    incoherent: Rate
    change: Rate | None
    """DSR less the whole teacher's, paired, with Tango's interval; None for the teacher itself."""
    p_value: float | None
    """Exact paired McNemar against the whole teacher, Holm-adjusted over the ablations."""
    beyond: Rate | None = None
    """Of a control: its DSR less the found set's, paired, with Tango's interval; above zero, the
    found set loses more."""
    beyond_p: float | None = None
    """Exact paired McNemar of the same, Holm-adjusted over the controls."""

    @property
    def beaten(self) -> bool:
        """Of a control: does the found set surely lose more?"""
        return (
            self.beyond is not None
            and self.beyond_p is not None
            and self.beyond.value > 0
            and self.beyond_p <= 1 - LEVEL
        )

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "name": self.name,
            "role": self.role,
            "units": [str(unit) for unit in self.units],
            "dsr": self.dsr.as_dict(),
            "incoherent": self.incoherent.as_dict(),
            "change": self.change and self.change.as_dict(),
            "p_value": self.p_value,
            "beyond": self.beyond and self.beyond.as_dict(),
            "beyond_p": self.beyond_p,
        }


@dataclass(frozen=True)
class Necessity:
    """What the teacher loses without the found set; never a model to keep."""

    ablations: tuple[Ablation, ...]
    held_out: bool
    """Measured on held-out prompts? On the search split where none are held out."""
    complete: bool
    """False where it was stopped before the end."""

    def of(self, role: str) -> tuple[Ablation, ...]:
        """The ablations of one role."""
        return tuple(line for line in self.ablations if line.role == role)

    @property
    def loses(self) -> bool | None:
        """Does the teacher surely lose refusals without the found set? None if not measured."""
        found = self.of("found")
        return found[0].change.high < 0 if found and found[0].change is not None else None

    @property
    def necessary(self) -> bool | None:
        """Does it lose refusals, and more than every random set as large? None where untold.

        Untold are a set that was not measured, and one that loses refusals while no random set as
        large stands beside it: none was asked for, or there are not so many other units.
        """
        if not self.loses:
            return self.loses
        controls = self.of("control")
        return all(line.beaten for line in controls) if controls else None

    @property
    def beside(self) -> tuple[int, int]:
        """(controls that surely lose less than the found set, controls measured)."""
        controls = self.of("control")
        return sum(line.beaten for line in controls), len(controls)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "ablations": [line.as_dict() for line in self.ablations],
            "necessary": self.necessary,
            "loses": self.loses,
            "controls": {"beaten": self.beside[0], "measured": self.beside[1]},
            "held_out": self.held_out,
            "complete": self.complete,
        }


def necessity(
    job: SearchJob,
    units: Sequence[Unit] | None = None,
    controls: int = 3,
    singles: bool = True,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Necessity:
    """Put the student's weights into the teacher, set by set, and count what it still refuses.

    Args:
        job: Whose pair, prompts and store serve.
        units: The set; the job's found set by default.
        controls: Random sets of the same size from the other units, drawn by the job's seed.
        singles: Each unit of the set by itself as well.
        progress: Told before every ablation.
        stop: Set it, and the ablations measured so far are returned.

    Raises:
        SettingError: No set to ablate.
    """
    if units is None:
        if job.report is None:
            raise SettingError("the search has no result yet; run it to its end, or give units")
        units = job.report.units
    if not units:
        raise SettingError("an empty set cannot be taken out; choose at least one unit")
    job.pair.validate(Mask.of(units))
    sets = _sets(job, tuple(units), controls, singles)
    rows: list[tuple[str, str, tuple[Unit, ...], Rate, Rate]] = []
    refused: list[list[bool]] = []
    try:
        for done, (name, role, chosen) in enumerate(sets):
            if progress:
                progress(_UNDER_WAY[role], done / len(sets))
            mask = Mask.of(chosen)
            view = Substituted(job.pair, "teacher", given_back(job.pair, mask), mask.key or "whole")
            told = Bench(job, on=view, stop=stop).telling
            told.judge([EMPTY])
            rows.append((name, role, chosen, told.rate(EMPTY), told.rate(EMPTY, Label.INCOHERENT)))
            refused.append(told.refused(EMPTY))
    except Halted:
        pass
    lines = _lines(rows, refused)
    return Necessity(lines, bool(job.held_out), len(lines) == len(sets))


def _sets(
    job: SearchJob, units: tuple[Unit, ...], controls: int, singles: bool
) -> list[tuple[str, str, tuple[Unit, ...]]]:
    """(name, role, units) of every ablation, each set once."""
    every, random = job.units, Random(job.settings.seed)
    sets: list[tuple[str, str, tuple[Unit, ...]]] = [
        ("teacher", "teacher", ()),
        ("found", "found", units),
    ]
    known = {Mask.of(units)}
    if Mask.of(every) not in known:
        sets.append(("all", "all", every))
        known.add(Mask.of(every))
    others = without(every, units)  # a smaller control would lose less for being smaller
    possible = comb(len(others), len(units))  # few others make few different controls
    number = 0
    while number < min(controls, possible):
        drawn = Mask.of(random.sample(others, len(units)))
        if drawn not in known:  # the same set twice would count as one control less
            number += 1
            known.add(drawn)
            sets.append((f"control-{number}", "control", drawn.units))
    if singles and len(units) > 1:
        sets += [(str(unit), "single", (unit,)) for unit in units]
    return sets


def _lines(
    rows: Sequence[tuple[str, Any, tuple[Unit, ...], Rate, Rate]], refused: Sequence[list[bool]]
) -> tuple[Ablation, ...]:
    """Set every ablation beside the whole teacher, which comes first."""
    changes = [gain_of(refused[0], said) for said in refused[1:]]
    p_values = holm([mcnemar_exact(*discordant(refused[0], said)) for said in refused[1:]])
    beside: list[tuple[Rate | None, float | None]] = [(None, None)]
    beside += zip(changes, p_values, strict=True)
    lines = tuple(
        Ablation(*row, change=change, p_value=p)
        for row, (change, p) in zip(rows, beside, strict=False)
    )
    found = next((said for row, said in zip(rows, refused, strict=True) if row[1] == "found"), None)
    if found is None:
        return lines
    controls = [i for i, line in enumerate(lines) if line.role == "control"]
    tests = holm([mcnemar_exact(*discordant(found, refused[i])) for i in controls])
    told = {
        i: replace(lines[i], beyond=gain_of(found, refused[i]), beyond_p=p)
        for i, p in zip(controls, tests, strict=True)
    }
    return tuple(told.get(i, line) for i, line in enumerate(lines))
