"""What a record says, as a page shows it: finding, tables, notes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from dapa.core.html import Html, html, joined, when
from dapa.core.masks import Unit
from dapa.core.measurement import Dots, Interval, Shown, Table
from dapa.core.records import Rate
from dapa.ui.forest import Dot, Look, scale
from dapa.ui.parts import note, rate, title
from dapa.writing.numbers import THIN, plain
from dapa.writing.unit_names import unit_name

_NUMBER = re.compile(r"([<>] )?[+\-−]?[\d.,]+(e[+\-−]?\d+)?(\s?(%|s)| of [\d,]+)?")
_NEGATIVE = re.compile(r"(?:(?<=[\s\[(])|(?<=\de)|^)-(?=\d)")
_NOTHING = re.compile(r"(?<![\w.,])[+\-−](?=0(?:\.0+)?(?!\d|\.\d))")
"""The sign of a number that rounds to nothing."""
_WIDE = 5
"""Two tables stand beside each other where neither has more columns; a scale takes two."""
_LEAST = 1e-4
"""A smaller number is told as less than that."""


def drawn(told: Shown) -> Html:
    """The whole as HTML; tables that a picture shows too are left out.

    What follows the finding stands in a `rest` of its own: the page puts the picture before it.
    """
    shown = [one for one in told.tables if not one.drawn]
    body, left = "", shown[:]
    while left:
        one = left.pop(0)
        if left and max(map(_width, (one, left[0]))) <= _WIDE:
            both = (html("<div>{}</div>", _table(each)) for each in (one, left.pop(0)))
            body += html('<div class="two uneven">{}</div>', joined(both))
        else:
            body += _table(one)
    finding = html('<p class="finding">{}</p>', _spoken(told.finding)) if told.finding else ""
    lines = [*told.notes, *(["Press a heading to sort."] if any(t.sortable for t in shown) else [])]
    notes = note(_spoken(" ".join(lines))) if lines else ""
    warnings = joined(note(line, "warn") for line in told.warnings)
    rest = joined((body, notes, _remarks(told.remarks)))
    return joined((finding, warnings, when(rest, '<div class="rest">{}</div>', rest)))


def _width(one: Table) -> int:
    """How many columns a table takes, or as many as two would."""
    return len(one.head) + any(isinstance(cell, Dots) for row in one.rows for cell in row)


def _remarks(remarks: tuple[str, ...]) -> Html:
    """What there is to know about single rows, folded."""
    if not remarks:
        return html("")
    items = joined(html("<li>{}</li>", _spoken(remark)) for remark in remarks)
    rows = f"{len(remarks)} rows" if len(remarks) > 1 else "one row"
    head = html("<summary>Remarks on {}</summary>", rows)
    return html('<details class="read">{}<ul>{}</ul></details>', head, items)


def _table(one: Table) -> Html:
    columns = range(len(one.head))
    drawn = any(isinstance(cell, Dots) for row in one.rows for cell in row)
    right = {i for i in columns if i and _numeric([row[i] for row in one.rows])}
    shared = one.counts
    head = joined(
        html(
            '<th scope="col"{}>{}</th>',
            _class("num" if i in right else ""),
            _name(one.head[i], shared[i]),
        )
        for i in columns
    )
    rows = [
        [_bare(cell) if shared[i] is not None else _cell(cell) for i, cell in enumerate(row)]
        for row in one.rows
    ]
    body = joined(
        _row(cells, one.rows[i], i in one.strong, drawn, right) for i, cells in enumerate(rows)
    )
    above = title(one.title, one.about) if one.title else ""
    below = note(one.about) if one.about and not one.title else ""
    classes = " ".join(filter(None, ("table", "forest" if drawn else "", one.kind)))
    made = html(
        '{above}<div{classes} tabindex="0"><table><thead>'
        "<tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{below}",
        above=above, classes=_class(classes), head=head, body=body, below=below,
    )  # fmt: skip
    return html('<div class="sortable">{}</div>', made) if one.sortable else made


def _row(cells: Sequence[str], row: Any, strong: bool, drawn: bool, right: set[int]) -> Html:
    made: list[Html] = []
    for i, cell in enumerate(cells):
        if drawn and not i:
            made.append(html('<th scope="row">{}</th>', cell))
        elif isinstance(row[i], Dots):
            made.append(html('<td class="track">{}</td>', cell))
        else:
            made.append(html("<td{}>{}</td>", _class("num" if i in right else ""), cell))
    return html("<tr{}>{}</tr>", _class("strong" if strong else ""), joined(made))


def _class(name: str) -> Html:
    return when(name, ' class="{}"', name)


def _name(head: str, n: int | None) -> str:
    """A column's name with the n of all its rates; what stands on its second line is its unit."""
    name, _, unit = head.partition("\n")
    told = name if n is None else f"{name}, n{THIN}={THIN}{n:,}"
    said = n is not None and unit == f"n = {n}"  # once is enough
    return html("{}<small>{}</small>", told, unit) if unit and not said else told


def _bare(value: Any) -> str:
    """A rate without its n, which the column's name says."""
    return rate(value, with_n=False) if isinstance(value, Rate) else _cell(value)


def _numeric(column: list[Any]) -> bool:
    """Does it hold numbers alone, which stand at the right?"""
    held = [value for value in column if value is not None and value != ""]
    return bool(held) and all(
        (isinstance(value, (int, float)) and not isinstance(value, bool))
        or (isinstance(value, str) and _NUMBER.fullmatch(value) is not None)
        for value in held
    )


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "–"
    if isinstance(value, bool):
        return when(value, '<span class="badge yes">yes</span>')
    if isinstance(value, Rate):
        return rate(value)
    if isinstance(value, Interval):
        ends = value.ends
        return html(
            "<b>{}</b>{}", value.number, when(ends, ' <span class="interval">{}</span>', ends)
        )
    if isinstance(value, Dots):
        dots = [Dot(each, cast(Look, look), name) for each, look, name in value.marks]
        return scale(dots, value.target)
    if isinstance(value, Unit):
        return unit_name(value)
    if isinstance(value, float):
        return _signed(plain(value, _LEAST))
    if isinstance(value, int):
        return _signed(f"{value:,}")
    told = str(value)
    return _signed(told) if _NUMBER.fullmatch(told) else _spoken(told)


def _signed(number: str) -> str:
    """A number with minus signs, not hyphens, as its picture has them; nothing has no sign."""
    return _NOTHING.sub("", number).replace("-", "−")


def _spoken(line: str) -> str:
    """A sentence whose negative numbers have minus signs; ranges such as 3-6 stay."""
    return _NEGATIVE.sub("−", _NOTHING.sub("", line))
