"""How the cost of one search grows: with prompts, layers and width, one of them at a time.

Random weights with a planted refusal of three gates, one thread, CPU seconds. The work is what went
through the decoder's layers and the head, in FLOP of their matrices. Beside the seconds inside of
them stand those outside (judging, planning, tokens): no part is to grow faster than the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log
from statistics import fmean
from typing import Any

from torch import nn

from dapa.bench.row import BenchRow, number, share
from dapa.bench.scene import Scene, Size, pin
from dapa.bench.search_rows import search
from dapa.bench.timing import once
from dapa.planted.wiring import ModelShape

BASE = {"prompts": 64, "layers": 8, "width": 288}
AXES: Mapping[str, tuple[int, ...]] = {
    "prompts": (64, 128, 256),
    "layers": (8, 16, 30),
    "width": (288, 576, 1152),
}
GOAL = "<= 1.1"
"""A part's exponent over the work's: an exponent of three points is known to a tenth or so."""
PARTS = ("seconds", "inside", "outside")


@dataclass(frozen=True)
class GrowthPoint:
    """One search."""

    axis: str
    at: int
    """Prompts, layers or width."""
    seconds: float
    inside: float
    """Seconds inside of the decoder's layers and the head."""
    flop: float
    """Of the matrices, for all that went through them."""
    tests: int
    replies: int
    tokens: int

    @property
    def outside(self) -> float:
        """All other seconds."""
        return self.seconds - self.inside


def size_of(prompts: int, layers: int, width: int) -> Size:
    """A model of SmolLM2's proportions."""
    heads = width // 32
    shape = ModelShape(width, width * 8 // 3, heads, heads // 3, 32)
    return Size(f"{layers} x {width}", layers, shape, prompts, (10, 16), 24, 3)


class _Watched:
    """Seconds and FLOP inside of a model's layers and head, by hooks that last as long as it."""

    def __init__(self, model: Any) -> None:
        self.seconds = self.flop = 0.0
        self._began = 0.0
        head = model.get_output_embeddings()
        self._hooks = []
        for module in (*model.get_decoder().layers, head):
            weights = [m.weight.numel() for m in _matrices(module)]
            self._hooks += [
                module.register_forward_pre_hook(self._start),
                module.register_forward_hook(self._stop(2.0 * sum(weights))),
            ]

    def _start(self, *_: Any) -> None:
        self._began = time.process_time()

    def _stop(self, flop: float) -> Callable[..., None]:
        def stop(module: Any, args: Any, output: Any) -> None:
            self.seconds += time.process_time() - self._began
            out = output[0] if isinstance(output, tuple) else output
            self.flop += flop * out.shape[0] * out.shape[1]

        return stop

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()


def _matrices(module: nn.Module) -> Iterator[nn.Linear]:
    """A student's own ones: where a site is wrapped, the teacher's stand beside them."""
    for name, found in module.named_modules():
        if isinstance(found, nn.Linear) and "teacher" not in name.split("."):
            yield found


def point(axis: str, at: int, base: Mapping[str, int] = BASE, rounds: int = 1) -> GrowthPoint:
    """Run one search, the best of so many."""
    scene = Scene(size_of(**{**base, axis: at}))
    scene.pair, scene.ids  # noqa: B018  made before the clock starts
    found = []
    for _ in range(rounds):
        watched, kept = _Watched(scene.pair.student), list[Any]()
        try:
            took = once(lambda kept=kept: kept.append(search(scene)))
        finally:
            watched.close()
        costs = kept[0].report.costs
        assert kept[0].report.units == scene.planting.units, "it found what was planted"
        counts = (costs.tests, costs.prompts_judged, costs.tokens)
        found.append(GrowthPoint(axis, at, took, watched.seconds, watched.flop, *counts))
    return min(found, key=lambda one: one.seconds)


def exponent(at: Sequence[float], values: Sequence[float]) -> float:
    """The slope of a line through the logarithms, by least squares."""
    x, y = [log(v) for v in at], [log(max(v, 1e-9)) for v in values]
    mx, my = fmean(x), fmean(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum(
        (a - mx) ** 2 for a in x
    )


def measured(
    axes: Mapping[str, Sequence[int]] = AXES,
    base: Mapping[str, int] = BASE,
    tell: Callable[[GrowthPoint], None] = lambda point: None,
) -> list[GrowthPoint]:
    """Every point of every axis; the base itself is run once."""
    pin()
    first: GrowthPoint | None = None
    found = []
    for axis, values in axes.items():
        for at in values:
            if at == base[axis] and first is not None:
                known = GrowthPoint(**{**vars(first), "axis": axis, "at": at})
            else:
                known = point(axis, at, base)
            if at == base[axis]:
                first = first or known
            found.append(known)
            tell(known)
    return found


def rows(points: Sequence[GrowthPoint]) -> Iterator[BenchRow]:
    """A row an axis and part: its exponent over the work's."""
    for axis in dict.fromkeys(one.axis for one in points):
        some = [one for one in points if one.axis == axis]
        at = [one.at for one in some]
        work = exponent(at, [one.flop for one in some])
        for part in PARTS:
            values = [getattr(one, part) for one in some]
            told = ", ".join(
                f"{value:.2f} s at {one.at}" for one, value in zip(some, values, strict=True)
            )
            what = f"exponent of a search's {part} in {axis} ({told}) over that of its FLOP"
            rival = "the work"
            yield share(
                f"growth-{axis}-{part}", what, exponent(at, values), rival, work, GOAL, "exponent"
            )


def lines(points: Sequence[GrowthPoint]) -> list[str]:
    """The table, for people."""
    head = ("axis", "at", "seconds", "inside", "outside", "FLOP", "tests", "replies", "tokens")
    cells = [head]
    for axis in dict.fromkeys(one.axis for one in points):
        some = [one for one in points if one.axis == axis]
        for one in some:
            cells.append(
                (axis, *(number(float(getattr(one, name.lower()))) for name in head[1:]))  # type: ignore[arg-type]
            )
        powers = [
            exponent([one.at for one in some], [float(getattr(one, name.lower())) for one in some])
            for name in head[2:]
        ]
        cells.append((axis, "exponent", *(f"{power:.2f}" for power in powers)))  # type: ignore[arg-type]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    ]
