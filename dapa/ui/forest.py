"""Rates as a picture inside a table: a dot with its interval on a scale from 0 to 1, row by row.

Shape and word say what colour says: a filled square is firm or refuses, a hollow diamond is
undecided or open. The table reads without the picture, so it needs no second form for screen
readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dapa.core.records import Rate
from dapa.ui.parts import esc, two

Look = Literal["blue", "orange", "grey", "open"]
"""blue: refuses, from the teacher; orange: falls short; grey: student; open: not settled."""


@dataclass(frozen=True)
class Dot:
    """One rate on the scale."""

    rate: Rate
    look: Look = "blue"
    name: str = ""
    """What it is the rate of, for the hover; our own words."""


@dataclass(frozen=True)
class Line:
    """One row: its name, its dots, and the cells beside them; all HTML already."""

    label: str
    dots: Sequence[Dot]
    cells: Sequence[str] = ()
    strong: bool = False


def forest(
    head: Sequence[str],
    rows: Sequence[Line],
    target: float | None = None,
    classes: str = "",
    numeric: Sequence[int] = (),
) -> str:
    """The table: label, picture, then the cells.

    Args:
        head: Names of the label's column, the picture's, and each cell's.
        rows: The lines.
        target: A dashed line that rates are held against.
        classes: More classes for the table's box.
        numeric: Which cells (from 0) are numbers.
    """
    right = {i + 2 for i in numeric}
    names = "".join(
        f'<th scope="col"{" class=num" if i in right else ""}>{name}</th>'
        for i, name in enumerate(head)
    )
    body = "".join(_line(row, target, right) for row in rows)
    return (
        f'<div class="table forest {classes}" tabindex="0"><table><thead><tr>{names}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _line(row: Line, target: float | None, right: set[int]) -> str:
    cells = "".join(
        f"<td{' class=num' if i in right else ''}>{cell}</td>"
        for i, cell in enumerate(row.cells, start=2)
    )
    strong = ' class="strong"' if row.strong else ""
    return (
        f'<tr{strong}><th scope="row">{row.label}</th>'
        f'<td class="track">{scale(row.dots, target)}</td>{cells}</tr>'
    )


def scale(dots: Sequence[Dot], target: float | None = None) -> str:
    """The scale of one row: a hairline from 0 to 1, its dots, the target."""
    goal = "" if target is None else f'<u style="left:{_at(target)}"></u>'
    marks = "".join(_dot(dot, i, len(dots)) for i, dot in enumerate(dots))
    words = "; ".join(
        f"{dot.name + ' ' if dot.name else ''}{two(dot.rate.value)} "
        f"[{two(dot.rate.low)}, {two(dot.rate.high)}], n = {dot.rate.n}"
        for dot in dots
    )
    return f'<span class="scale" role="img" aria-label="{words}">{goal}{marks}</span>'


def _dot(dot: Dot, place: int, count: int) -> str:
    rate = dot.rate
    low, high = max(0.0, min(rate.low, rate.value)), min(1.0, max(rate.high, rate.value))
    top = 50 + (place - (count - 1) / 2) * 38
    tip = f"{dot.name + ' ' if dot.name else ''}{two(rate.value)} [{two(low)}, {two(high)}]"
    return (
        f'<s class="{esc(dot.look)}" style="left:{_at(low)};width:{100 * (high - low):.2f}%;'
        f'top:{top:.0f}%"></s>'
        f'<i class="{esc(dot.look)}" style="left:{_at(rate.value)};top:{top:.0f}%" '
        f'title="{tip}"></i>'
    )


def _at(value: float) -> str:
    return f"{100 * min(1.0, max(0.0, value)):.2f}%"
