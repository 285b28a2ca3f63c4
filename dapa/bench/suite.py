"""Which rows there are, and running them: one group after another, each told as it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dapa.bench import (
    chat_rows,
    count_rows,
    divergence_rows,
    memory_rows,
    search_rows,
    toggle_rows,
)
from dapa.bench.machine import describe
from dapa.bench.row import Row
from dapa.bench.scene import Scene, Size, pin

Group = Callable[[Scene, dict[str, Any]], Iterator[Row]]
GROUPS: dict[str, Group] = {
    "a": lambda scene, machine: divergence_rows.rows(scene),
    "b": search_rows.rows,
    "c": lambda scene, machine: toggle_rows.rows(scene),
    "d": lambda scene, machine: chat_rows.rows(scene),
    "e": lambda scene, machine: memory_rows.rows(scene),
    "f": lambda scene, machine: count_rows.rows(),
}
"""Letter -> its rows on a CPU."""


@dataclass
class Report:
    """The benchmark's result."""

    machine: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"machine": self.machine, "rows": [row.as_dict() for row in self.rows]}


def run(
    size: Size, only: str | None = None, tell: Callable[[Row], None] = lambda row: None
) -> Report:
    """Run the CPU rows.

    Args:
        size: Of the planted pair.
        only: Letters of the groups to run; all if None.
        tell: Told each row when it is known.
    """
    pin()
    scene, report = Scene(size), Report()
    report.machine = {**describe(), "models": scene.title}
    for letter, group in GROUPS.items():
        if only is None or letter in only:
            for row in group(scene, report.machine):
                report.rows.append(row)
                tell(row)
    return report
