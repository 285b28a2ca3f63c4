"""Rates as a picture inside a table: a dot with its interval on a scale from 0 to 1, row by row.

Shape and word say what colour says: a filled square is firm or refuses, a hollow diamond is
undecided or open. The table reads without the picture, so it needs no second form for screen
readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dapa.core.html import Html, html, joined, when
from dapa.core.records import Rate
from dapa.writing.numbers import rate_text

Look = Literal["blue", "orange", "grey", "open"]
"""blue: refuses, from the teacher; orange: falls short; grey: student; open: not settled."""


@dataclass(frozen=True)
class Dot:
    """One rate on the scale."""

    rate: Rate
    look: Look = "blue"
    name: str = ""
    """What it is the rate of, for the hover."""


@dataclass(frozen=True)
class Line:
    """One row: its name, its dots, and the cells beside them."""

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
) -> Html:
    """The table: label, picture, then the cells.

    Args:
        head: Names of the label's column, the picture's, and each cell's.
        rows: The lines.
        target: A dashed line that rates are held against.
        classes: More classes for the table's box.
        numeric: Which cells (from 0) are numbers.
    """
    right = {i + 2 for i in numeric}
    names = joined(
        html('<th scope="col"{}>{}</th>', when(i in right, ' class="num"'), name)
        for i, name in enumerate(head)
    )
    body = joined(_line(row, target, right) for row in rows)
    return html(
        '<div class="table forest {}" tabindex="0"><table><thead><tr>{}</tr></thead>'
        "<tbody>{}</tbody></table></div>",
        classes, names, body,
    )  # fmt: skip


def _line(row: Line, target: float | None, right: set[int]) -> Html:
    cells = joined(
        html("<td{}>{}</td>", when(i in right, ' class="num"'), cell)
        for i, cell in enumerate(row.cells, start=2)
    )
    strong = when(row.strong, ' class="strong"')
    return html(
        '<tr{strong}><th scope="row">{label}</th><td class="track">{scale}</td>{cells}</tr>',
        strong=strong, label=row.label, scale=scale(row.dots, target), cells=cells,
    )  # fmt: skip


def scale(dots: Sequence[Dot], target: float | None = None) -> Html:
    """The scale of one row: a hairline from 0 to 1, its dots, the target."""
    goal = "" if target is None else html('<u style="left:{}"></u>', _at(target))
    marks = joined(_dot(dot, i, len(dots)) for i, dot in enumerate(dots))
    words = "; ".join(
        f"{dot.name + ' ' if dot.name else ''}{rate_text(dot.rate, with_n=False)}, n = {dot.rate.n}"
        for dot in dots
    )
    return html('<span class="scale" role="img" aria-label="{}">{}{}</span>', words, goal, marks)


def _dot(dot: Dot, place: int, count: int) -> Html:
    rate = dot.rate
    low, high = max(0.0, min(rate.low, rate.value)), min(1.0, max(rate.high, rate.value))
    top = 50 + (place - (count - 1) / 2) * 38
    tip = f"{dot.name + ' ' if dot.name else ''}{rate_text(rate, with_n=False)}"
    return html(
        '<s class="{look}" style="left:{low};width:{width:.2f}%;top:{top:.0f}%"></s>'
        '<i class="{look}" style="left:{at};top:{top:.0f}%" title="{tip}"></i>',
        look=dot.look, low=_at(low), width=100 * (high - low), top=top, at=_at(rate.value), tip=tip,
    )  # fmt: skip


def _at(value: float) -> str:
    return f"{100 * min(1.0, max(0.0, value)):.2f}%"
