"""What a record says, as a page shows it: finding, tables, notes. All text is escaped here."""

from __future__ import annotations

import re
from typing import Any, cast

from dapa.core.masks import Unit
from dapa.core.measurement import Dots, Interval, Shown, Table
from dapa.core.records import Rate
from dapa.ui.forest import Dot, Look, scale
from dapa.ui.parts import esc, note, rate, title
from dapa.writing.sentences import THIN, unit_name

_NUMBER = re.compile(r"(< )?[+\-−]?[\d.,]+(e[+-]?\d+)?(\s?(%|s)| of [\d,]+)?")
_WIDE = 5
"""Two tables stand beside each other where neither has more columns."""


def drawn(told: Shown) -> str:
    """The whole as HTML; tables that a picture shows too are left out.

    What follows the finding stands in a `rest` of its own: the page puts the picture before it.
    """
    shown = [one for one in told.tables if not one.drawn]
    body, left = "", shown[:]
    while left:
        one = left.pop(0)
        if left and max(len(one.head), len(left[0].head)) <= _WIDE:
            both = (f"<div>{_table(each)}</div>" for each in (one, left.pop(0)))
            body += f'<div class="two uneven">{"".join(both)}</div>'
        else:
            body += _table(one)
    finding = f'<p class="finding">{esc(told.finding)}</p>' if told.finding else ""
    lines = [*told.notes, *(["Press a heading to sort."] if any(t.sortable for t in shown) else [])]
    notes = note(esc(" ".join(lines))) if lines else ""
    warnings = "".join(note(esc(line), "warn") for line in told.warnings)
    rest = f"{body}{notes}{_remarks(told.remarks)}"
    return f"{finding}{warnings}" + (f'<div class="rest">{rest}</div>' if rest else "")


def _remarks(remarks: tuple[str, ...]) -> str:
    """What there is to know about single rows, folded."""
    if not remarks:
        return ""
    items = "".join(f"<li>{esc(remark)}</li>" for remark in remarks)
    rows = f"{len(remarks)} rows" if len(remarks) > 1 else "one row"
    head = f"<summary>Remarks on {rows}</summary>"
    return f'<details class="read">{head}<ul>{items}</ul></details>'


def _table(one: Table) -> str:
    columns = range(len(one.head))
    drawn = any(isinstance(cell, Dots) for row in one.rows for cell in row)
    right = {i for i in columns if i and _numeric([row[i] for row in one.rows])}
    shared = one.counts
    head = "".join(
        f'<th scope="col"{_class("num" if i in right else "")}>{_name(one.head[i], shared[i])}</th>'
        for i in columns
    )
    rows = [
        [_bare(cell) if shared[i] is not None else _cell(cell) for i, cell in enumerate(row)]
        for row in one.rows
    ]
    body = "".join(
        _row(cells, one.rows[i], i in one.strong, drawn, right) for i, cells in enumerate(rows)
    )
    above = title(esc(one.title), esc(one.about)) if one.title else ""
    below = note(esc(one.about)) if one.about and not one.title else ""
    classes = " ".join(filter(None, ("table", "forest" if drawn else "", esc(one.kind))))
    made = (
        f'{above}<div{_class(classes)} tabindex="0"><table><thead>'
        f"<tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{below}"
    )
    return f'<div class="sortable">{made}</div>' if one.sortable else made


def _row(cells: list[str], row: Any, strong: bool, drawn: bool, right: set[int]) -> str:
    made = []
    for i, cell in enumerate(cells):
        if drawn and not i:
            made.append(f'<th scope="row">{cell}</th>')
        elif isinstance(row[i], Dots):
            made.append(f'<td class="track">{cell}</td>')
        else:
            made.append(f"<td{_class('num' if i in right else '')}>{cell}</td>")
    return f"<tr{_class('strong' if strong else '')}>{''.join(made)}</tr>"


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _name(head: str, n: int | None) -> str:
    """A column's name with the n of all its rates; what stands on its second line is its unit."""
    name, _, unit = head.partition("\n")
    told = esc(name) if n is None else f"{esc(name)}, n{THIN}={THIN}{n:,}"
    return f"{told}<small>{esc(unit)}</small>" if unit else told


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
        return '<span class="badge yes">yes</span>' if value else ""
    if isinstance(value, Rate):
        return rate(value)
    if isinstance(value, Interval):
        ends = f' <span class="interval">{esc(value.ends)}</span>' if value.ends else ""
        return f"<b>{value.value:{value.form}}</b>{ends}".replace("-", "−")
    if isinstance(value, Dots):
        dots = [Dot(each, cast(Look, look), esc(name)) for each, look, name in value.marks]
        return scale(dots, value.target)
    if isinstance(value, Unit):
        return esc(unit_name(value))
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else esc(value)
