"""One line of the benchmark: what was run, both figures, the goal, and whether it is met."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from operator import ge, le
from typing import Any

_GOAL = re.compile(r"(>=|<=) (\d+(?:\.\d+)?(?:e\d+)?)")


@dataclass(frozen=True)
class BenchRow:
    """A measured goal."""

    id: str
    """As in the table of goals: a1, b2, ..."""
    what: str
    """What was run, and what was left out or multiplied; the reason where nothing was measured."""
    unit: str
    """Of `ours` and `rival_value`."""
    ours: float | None
    rival: str | None
    """Who did the same work; None where the goal is absolute."""
    rival_value: float | None
    ratio: float | None
    """What the goal is about: how many times better than the rival, or the share of it."""
    goal: str | None
    """`>= x` or `<= x` for the ratio; None where a figure has no goal."""
    passed: bool | None
    """None where there is no goal or nothing was measured."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form: these keys, no others."""
        return asdict(self)


def judged(ratio: float | None, goal: str | None) -> bool | None:
    """Does this figure meet `>= x` or `<= x`? None where one of them is missing."""
    if goal is None:
        return None
    found = _GOAL.fullmatch(goal)
    assert found, f"{goal!r} is no goal; write '>= 4' or '<= 0.35'"
    if ratio is None:
        return None
    return bool({">=": ge, "<=": le}[found[1]](ratio, float(found[2])))


def faster(
    id: str, what: str, ours: float, rival: str, theirs: float, goal: str | None, unit: str = "s"
) -> BenchRow:
    """Two times for the same work; the ratio says how many times ours goes into the rival's."""
    ratio = theirs / ours
    return BenchRow(id, what, unit, ours, rival, theirs, ratio, goal, judged(ratio, goal))


def higher(
    id: str, what: str, ours: float, rival: str, theirs: float, goal: str | None, unit: str
) -> BenchRow:
    """Two rates, of which the higher is better."""
    ratio = ours / theirs
    return BenchRow(id, what, unit, ours, rival, theirs, ratio, goal, judged(ratio, goal))


def share(
    id: str, what: str, ours: float, rival: str, theirs: float, goal: str | None, unit: str
) -> BenchRow:
    """Two sizes or times, and the share that ours is of the other."""
    ratio = ours / theirs
    return BenchRow(id, what, unit, ours, rival, theirs, ratio, goal, judged(ratio, goal))


def alone(id: str, what: str, ours: float, goal: str | None, unit: str) -> BenchRow:
    """A figure with an absolute goal; its ratio is the figure itself."""
    return BenchRow(id, what, unit, ours, None, None, ours, goal, judged(ours, goal))


def absent(
    id: str, what: str, unit: str, rival: str | None, goal: str | None, reason: str
) -> BenchRow:
    """Nothing was measured, and why."""
    return BenchRow(
        id, f"{what}; not measured: {reason}", unit, None, rival, None, None, goal, None
    )


def wrong(
    id: str, what: str, unit: str, rival: str | None, goal: str | None, reason: str
) -> BenchRow:
    """The two did not do the same: no figure counts, and the goal is missed."""
    return BenchRow(id, f"{what}; WRONG: {reason}", unit, None, rival, None, None, goal, False)


def number(value: float | None) -> str:
    """Three digits, as people read them."""
    if value is None:
        return "-"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:.2e}"


def table(rows: Sequence[BenchRow]) -> str:
    """The rows as text, one line each, and a second one that says what was run."""
    head = ("row", "ours", "rival", "unit", "ratio", "goal", "passed", "rival's name")
    mark = {True: "yes", False: "NO", None: "-"}
    cells = [
        (
            row.id,
            number(row.ours),
            number(row.rival_value),
            row.unit,
            number(row.ratio),
            row.goal or "-",
            mark[row.passed],
            row.rival or "-",
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in (head, *cells)) for i in range(len(head))]

    def line(parts: Sequence[str]) -> str:
        return "  ".join(p.ljust(w) for p, w in zip(parts, widths, strict=True)).rstrip()

    out = [line(head), line(["-" * w for w in widths])]
    for row, parts in zip(rows, cells, strict=True):
        out += [line(parts), f"      {row.what}"]
    return "\n".join(out)
