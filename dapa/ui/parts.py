"""Small pieces of HTML, and how numbers are written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from dapa.core.html import Html, html, joined, when
from dapa.core.records import OUTSIDE, Label, Mask, Rate, Unit
from dapa.writing import numbers, unit_names
from dapa.writing.numbers import THIN, plain
from dapa.writing.unit_names import kind_text

SHAPES = {
    "refusal": "■", "compliance": "▲", "incoherent": "◇", "unclear": "○", "answered": "●",
}  # fmt: skip
_LONG = 60
"""Characters: names of units that take more are counted instead, in a heading or a line."""


def percent(value: float, digits: int = 1) -> str:
    """A share in [0, 1] as per cent, with a thin space."""
    return numbers.percent(value, digits)


def number(value: float) -> str:
    """A count, short: 1,214 or 24.1 k."""
    if value >= 10_000:
        return f"{value / 1000:.1f}{THIN}k" if value < 1e6 else f"{value / 1e6:.1f}{THIN}M"
    return f"{value:,.0f}"


def seconds(value: float) -> str:
    """A duration: 0.4 s, 9.8 s, 2 min 05 s."""
    if value < 60:
        return f"{value:.1f}{THIN}s"
    return f"{int(value // 60)}{THIN}min {int(value % 60):02d}{THIN}s"


def about(value: float) -> str:
    """A guess of a duration: about 9 s, about 3 min; a guess knows no tenths."""
    whole = max(1, round(value))
    return f"about {whole}{THIN}s" if whole < 90 else f"about {round(whole / 60)}{THIN}min"


def gib(value: float) -> str:
    """Bytes in GiB, one decimal."""
    return f"{value / 2**30:.1f}"


def two(value: float) -> str:
    """Two decimals, halves up: a strength, a probability."""
    return numbers.two(value)


def rate(value: Rate | None, with_n: bool = True) -> Html:
    """A proportion with its interval and n, or a dash."""
    if value is None:
        return html('<span class="interval">not asked</span>')
    n = f", n{THIN}={THIN}{value.n}" if with_n else ""
    return html(
        '<b>{}</b> <span class="interval">{}{}{}</span>',
        numbers.percent(value.value), numbers.ends_text(value), n, numbers.cut_text(value),
    )  # fmt: skip


def mean(told: Mapping[str, Any] | None, of: str) -> Html:
    """A mean that is no share: its value, interval (where it has one) and what it is over.

    Args:
        told: `value`, `low`, `high` and `n`, as a perplexity or a KL is kept; None for a dash.
        of: What `n` counts, in the singular.
    """
    if told is None or told.get("value") is None:
        return rate(None)
    low, high, n = told.get("low"), told.get("high"), int(told.get("n") or 0)
    span = "" if low is None or high is None else f"[{plain(low)}, {plain(high)}], "
    return html(
        '<b>{}</b> <span class="interval">{}n\u202f=\u202f{}</span>',
        plain(told["value"]), span, numbers.count_text(n, of),
    )  # fmt: skip


def over_kinds(value: Rate | None, of: str = " of harm") -> Html:
    """Under a cell's rate: the mean of kinds with its t interval, in the same figures."""
    if value is None:
        return html("")
    told = numbers.kinds_text(value, of)
    told = re.sub(r"(\[\S+) (?=\S+\])", "\\1\u00a0", told)  # an interval stays in one line
    return html('<br><span class="interval">{}</span>', told)


def count_of(units: Sequence[Unit], totals: dict[str, int], layers: int) -> Html:
    """How much is pressed, as in `<b>4</b> of 32 gates`."""
    kinds = {unit.kind for unit in units}
    if len(kinds) == 1 and not any(unit.cut for unit in units):
        kind = next(iter(kinds))
        if units[0].place is None:
            return html("<b>{}</b>", kind_text(kind, 1))
        total = totals.get(kind, layers)
        return html("<b>{}</b> of {} {}", len(units), total, kind_text(kind, 2))
    touched = len({unit.layer for unit in units} - {OUTSIDE})
    return html("<b>{}</b> units in <b>{}</b> of {} layers", len(units), touched, layers)


def names(units: Iterable[Unit]) -> str:
    """Units for a sentence: `layers 3, 5` or `3.up, 5.gate`."""
    return unit_names.units_text(units)


def titled(mask: Mask) -> tuple[str, str]:
    """The patched pane's title and the line under it: what the strip says."""
    if not mask.entries:
        return "Patched · no layer yet", "press layers on the strip"
    strengths = {strength for _, strength in mask.entries} - {1.0}
    faint = f" at strength {two(strengths.pop())}" if len(strengths) == 1 else ""
    return f"Patched · {told_of(mask)}", f"from the teacher{faint}"


def told_of(mask: Mask) -> str:
    """A mask's units, or how many there are of many; `no layer` of none."""
    if not mask.entries:
        return "no layer"
    return names(mask.units) if len(mask.entries) <= 6 else f"{len(mask.entries)} units"


def exactly(mask: Mask) -> str:
    """A mask's units, shortened where they are many, and how strong they are if not in full."""
    told = names(mask.units) if mask.entries else "no layer"
    return (told if len(told) <= _LONG else told_of(mask)) + at_strength(mask)


def at_strength(mask: Mask) -> str:
    """How strong a mask is, as in ` at strength 0.50`; empty where that is in full."""
    strengths = {strength for _, strength in mask.entries}
    if strengths <= {1.0}:
        return ""
    return " at several strengths" if len(strengths) > 1 else f" at strength {two(strengths.pop())}"


def seen(label: str | Label, harmless: bool = False) -> str:
    """What a verdict is called on screen: who answers a harmless request does not comply."""
    return "answered" if harmless and str(label) == Label.COMPLIANCE else str(label)


def badge(label: str | Label, harmless: bool = False) -> Html:
    """A verdict's badge: a shape and a word, so that colour is never alone.

    Args:
        label: The verdict.
        harmless: Is the request known to be harmless? Answering it is no compliance then.
    """
    name = seen(label, harmless)
    return html('<span class="badge {}">{} {}</span>', name, SHAPES.get(name, ""), name)


def begun_words(words: str) -> Html:
    """The words that were put before a reply; they are nobody's, so they are grey."""
    return when(words, '<span class="muted" title="put before the reply">{}</span>', words)


def layered(text: str, spans: Iterable[tuple[int, int, str]]) -> Html:
    """Text with (start, stop, classes) marks that may overlap."""
    marks = [(max(0, start), min(len(text), stop), names) for start, stop, names in spans]
    marks = [mark for mark in marks if mark[0] < mark[1]]
    borders = sorted({0, len(text), *(x for mark in marks for x in mark[:2])})
    parts: list[str] = []
    for start, stop in pairwise(borders):
        names = " ".join(mark[2] for mark in marks if mark[0] <= start and stop <= mark[1])
        piece = text[start:stop]
        parts.append(html('<mark class="{}">{}</mark>', names, piece) if names else piece)
    return joined(parts)


def title(head: str, line: str = "") -> Html:
    """A card's title and the line under it."""
    below = when(line, "<p>{}</p>", line)
    return html('<div class="title"><h2>{}</h2>{}</div>', head, below)


def hint(head: str, line: str) -> Html:
    """An empty state: what this shows and what fills it."""
    return html('<div class="hint"><b>{}</b>{}</div>', head, line)


def note(text: str, kind: str = "") -> Html:
    """A remark, a warning (`warn`) or a failure (`fail`)."""
    role = "alert" if kind == "fail" else "status"
    return html('<p class="note {}" role="{}">{}</p>', kind, role, text)


def skeleton(line: str) -> Html:
    """Something is on its way: breathing cells and a sentence."""
    return html(
        '<div role="status"><p class="note">{}</p>'
        '<div class="skeleton" aria-hidden="true">{}</div></div>',
        line, html("<i></i>") * 96,
    )  # fmt: skip


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], numeric: Sequence[int] = ()) -> Html:
    """A table that scrolls inside its card."""
    right = set(numeric)

    def num(i: int) -> Html:
        return when(i in right, ' class="num"')

    heads = joined(html("<th{}>{}</th>", num(i), cell) for i, cell in enumerate(head))
    body = joined(
        html("<tr>{}</tr>", joined(html("<td{}>{}</td>", num(i), c) for i, c in enumerate(row)))
        for row in rows
    )
    return html(
        '<div class="table" tabindex="0"><table><thead><tr>{}</tr></thead>'
        "<tbody>{}</tbody></table></div>",
        heads, body,
    )  # fmt: skip


def bar(fraction: float | None) -> Html:
    """A thin progress line; None where the end is unknown."""
    if fraction is None:
        return html('<span class="meterline unknown"><i></i></span>')
    width = min(100.0, max(0.0, 100 * fraction))
    return html('<span class="meterline"><i style="width:{:.1f}%"></i></span>', width)
