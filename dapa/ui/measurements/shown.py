"""What a record says, as a page shows it: finding, tables, notes. All text is escaped here."""

from __future__ import annotations

import re
from typing import Any, cast

from dapa.core.masks import Unit
from dapa.core.measurement import Dots, Interval, Shown, Table
from dapa.core.records import Rate
from dapa.ui.forest import Dot, Look, scale
from dapa.ui.parts import esc, note, rate
from dapa.writing.sentences import unit_name

_NUMBER = re.compile(r"[+\-−]?[\d.,]+(e[+-]?\d+)?(\s?%| of [\d,]+)?")
_WIDE = 5
"""Two tables stand beside each other where neither has more columns."""


def drawn(told: Shown) -> str:
    """The whole as HTML; tables that a picture shows too are left out."""
    shown = [one for one in told.tables if not one.drawn]
    tables = [_table(one) for one in shown]
    if len(shown) == 2 and all(len(one.head) <= _WIDE for one in shown):
        body = f'<div class="two uneven">{"".join(f"<div>{table}</div>" for table in tables)}</div>'
    else:
        body = "".join(tables)
    finding = f'<p class="finding">{esc(told.finding)}</p>' if told.finding else ""
    lines = [*told.notes, *(["Press a heading to sort."] if any(t.sortable for t in shown) else [])]
    notes = note(esc(" ".join(lines))) if lines else ""
    warnings = "".join(note(esc(line), "warn") for line in told.warnings)
    return f"{finding}{warnings}{body}{notes}"


def _table(one: Table) -> str:
    columns = range(len(one.head))
    drawn = any(isinstance(cell, Dots) for row in one.rows for cell in row)
    right = {i for i in columns if i and _numeric([row[i] for row in one.rows])}
    head = "".join(
        f'<th scope="col"{_class("num" if i in right else "")}>{_name(one.head[i])}</th>'
        for i in columns
    )
    body = "".join(_row(row, i in one.strong, drawn, right) for i, row in enumerate(one.rows))
    title = f"<h3>{esc(one.title)}</h3>" if one.title else ""
    about = note(esc(one.about)) if one.about else ""
    made = (
        f'{title}<div class="table{" forest" if drawn else ""}" tabindex="0"><table><thead>'
        f"<tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{about}"
    )
    return f'<div class="sortable">{made}</div>' if one.sortable else made


def _row(row: Any, strong: bool, drawn: bool, right: set[int]) -> str:
    cells = []
    for i, value in enumerate(row):
        if drawn and not i:
            cells.append(f'<th scope="row">{_cell(value)}</th>')
        elif isinstance(value, Dots):
            cells.append(f'<td class="track">{_cell(value)}</td>')
        else:
            cells.append(f"<td{_class('num' if i in right else '')}>{_cell(value)}</td>")
    return f"<tr{_class('strong' if strong else '')}>{''.join(cells)}</tr>"


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _name(head: str) -> str:
    """A column's name; what stands on its second line is its unit."""
    name, _, unit = head.partition("\n")
    return f"{esc(name)}<small>{esc(unit)}</small>" if unit else esc(name)


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
        return '<span class="badge yes">yes</span>' if value else ""
    if isinstance(value, Rate):
        return rate(value)
    if isinstance(value, Interval):
        ends = f' <span class="interval">{value.ends}</span>' if value.ends else ""
        return f"<b>{value.value:{value.form}}</b>{ends}"
    if isinstance(value, Dots):
        dots = [Dot(each, cast(Look, look), esc(name)) for each, look, name in value.marks]
        return scale(dots, value.target)
    if isinstance(value, Unit):
        return esc(unit_name(value))
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else esc(value)
