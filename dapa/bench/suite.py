"""Which rows there are, and running them: one group after another, each told as it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from dapa.bench import (
    ablation,
    app_rows,
    chat_rows,
    count_rows,
    divergence_rows,
    gpu_rows,
    memory_rows,
    real_rows,
    search_rows,
    thread_rows,
    toggle_rows,
    worker_rows,
)
from dapa.bench.machine import describe
from dapa.bench.row import BenchRow, absent
from dapa.bench.scene import Scene, Size, pin

Group = Callable[[Scene, dict[str, Any]], Iterator[BenchRow]]
GROUPS: dict[str, Group] = {
    "a": lambda scene, machine: divergence_rows.rows(scene),
    "b": search_rows.rows,
    "c": lambda scene, machine: toggle_rows.rows(scene),
    "d": lambda scene, machine: chat_rows.rows(scene),
    "e": lambda scene, machine: memory_rows.rows(scene),
    "f": lambda scene, machine: count_rows.rows(),
    "t": lambda scene, machine: thread_rows.rows(scene),
    "w": lambda scene, machine: worker_rows.rows(scene),
}
"""Letter -> its rows on a CPU."""


@dataclass
class BenchReport:
    """The benchmark's result."""

    machine: dict[str, Any] = field(default_factory=dict)
    rows: list[BenchRow] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"machine": self.machine, "rows": [row.as_dict() for row in self.rows]}


def run(
    size: Size,
    only: str | None = None,
    tell: Callable[[BenchRow], None] = lambda row: None,
    *,
    app: bool = False,
    gpu: Sequence[Size] | None = None,
    optimizations: bool = False,
    real: str | None = None,
) -> BenchReport:
    """Run the rows.

    Args:
        size: Of the planted pair.
        only: Letters of the groups to run; all of the CPU's if None.
        tell: Told each row when it is known.
        app: Drive the dashboard as well.
        gpu: Sizes to run on a GPU, instead of the CPU's rows.
        optimizations: Measure each one of a search as well, on the planted pair and on a toy.
        real: Measure the real pairs instead, by a search of this claim; `only` then names digits.
    """
    report = BenchReport()
    if gpu is not None:
        found = _gpu(report, gpu)
    elif real is not None:
        found = real_rows.rows(real, only, report.machine.update)
    else:
        found = chain(_cpu(report, size, only, app), _optimizations(size) if optimizations else ())
    for row in found:
        report.rows.append(row)
        tell(row)
    return report


def _cpu(report: BenchReport, size: Size, only: str | None, app: bool) -> Iterator[BenchRow]:
    pin()
    scene = Scene(size)
    report.machine = {**describe(), "models": scene.title}
    for letter, group in GROUPS.items():
        if only is None or letter in only:
            yield from group(scene, report.machine)
    if app:
        yield from app_rows.rows()
    elif only is None:
        yield absent("g", app_rows.START, "s", None, app_rows.GOAL, "asked for by --app")
    if only is None:
        what = "whole search of a 7B pair in bf16 on a GPU"
        yield absent("h", what, "s", None, gpu_rows.GOALS["h"], "asked for by --gpu")


def _optimizations(size: Size) -> Iterator[BenchRow]:
    for scene in (Scene(size), ablation.toy()):
        yield from ablation.rows(scene)


def _gpu(report: BenchReport, sizes: Sequence[Size]) -> Iterator[BenchRow]:
    report.machine = describe()
    yield from gpu_rows.rows(sizes, report.machine.update)
