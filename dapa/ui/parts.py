"""Small pieces of HTML, all text escaped here, and how numbers are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from dapa.core.records import OUTSIDE, Label, Mask, Rate, Unit
from dapa.writing import sentences
from dapa.writing.sentences import THIN, kind_text

Html = str
"""Text that is HTML already: a parameter so annotated is put in as it is, and every caller is held
to it (tests/test_html_by_construction.py); all other text goes through `esc`."""
SHAPES = {
    "refusal": "■", "compliance": "▲", "incoherent": "◇", "unclear": "○", "answered": "●",
}  # fmt: skip


def esc(text: Any) -> str:
    """Text as HTML: markup becomes visible characters, quotes included."""
    return escape(sendable(str(text)), quote=True)


def sendable(text: str) -> str:
    """Text as it can be sent: half a character, which UTF-8 has no bytes for, becomes a sign."""
    return text.encode("utf-8", "replace").decode("utf-8")


def percent(value: float, digits: int = 1) -> str:
    """A share in [0, 1] as per cent, with a thin space."""
    return sentences.percent(value, digits)


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


def gib(value: float) -> str:
    """Bytes in GiB, one decimal."""
    return f"{value / 2**30:.1f}"


def two(value: float) -> str:
    """Two decimals, halves up, so that 39 of 40 is 0.98 here and 98 % in a sentence."""
    return sentences.two(value)


def rate(value: Rate | None, with_n: bool = True) -> str:
    """A proportion with its interval and n, or a dash."""
    if value is None:
        return '<span class="interval">not asked</span>'
    n = f", n{THIN}={THIN}{value.n}" if with_n else ""
    n += esc(sentences.cut_text(value))
    return (
        f"<b>{two(value.value)}</b> "
        f'<span class="interval">[{two(value.low)}, {two(value.high)}]{n}</span>'
    )


def count_of(units: Sequence[Unit], totals: dict[str, int], layers: int) -> str:
    """How much is pressed, as in `<b>4</b> of 32 gates`."""
    kinds = {unit.kind for unit in units}
    if len(kinds) == 1 and not any(unit.cut for unit in units):
        kind = next(iter(kinds))
        if units[0].place is None:
            return f"<b>{esc(kind_text(kind, 1))}</b>"
        return f"<b>{len(units)}</b> of {esc(totals.get(kind, layers))} {esc(kind_text(kind, 2))}"
    touched = len({unit.layer for unit in units} - {OUTSIDE})
    return f"<b>{len(units)}</b> units in <b>{touched}</b> of {esc(layers)} layers"


def names(units: Iterable[Unit]) -> str:
    """Units for a sentence: `layers 3, 5` or `3.up, 5.gate`, escaped."""
    return esc(sentences.units_text(units))


def titled(mask: Mask) -> tuple[str, str]:
    """The patched pane's title and the line under it, as HTML: what the strip says."""
    if not mask.entries:
        return "Patched · no layer yet", "press layers on the strip"
    strengths = {strength for _, strength in mask.entries} - {1.0}
    faint = f" at strength {two(strengths.pop())}" if len(strengths) == 1 else ""
    return f"Patched · {told_of(mask)}", f"from the teacher{faint}"


def told_of(mask: Mask) -> str:
    """A mask's units, or how many there are of many; `no layer` of none. As HTML."""
    if not mask.entries:
        return "no layer"
    return names(mask.units) if len(mask.entries) <= 6 else f"{len(mask.entries)} units"


def seen(label: str | Label, harmless: bool = False) -> str:
    """What a verdict is called on screen: who answers a harmless request does not comply."""
    return "answered" if harmless and str(label) == Label.COMPLIANCE else str(label)


def badge(label: str | Label, harmless: bool = False) -> str:
    """A verdict's badge: a shape and a word, so that colour is never alone.

    Args:
        label: The verdict.
        harmless: Is the request known to be harmless? Answering it is no compliance then.
    """
    name = seen(label, harmless)
    return f'<span class="badge {esc(name)}">{SHAPES.get(name, "")} {esc(name)}</span>'


def layered(text: str, spans: Iterable[tuple[int, int, str]]) -> Html:
    """Text, escaped, with (start, stop, classes) marks that may overlap; our own classes."""
    marks = [(max(0, start), min(len(text), stop), names) for start, stop, names in spans]
    marks = [mark for mark in marks if mark[0] < mark[1]]
    borders = sorted({0, len(text), *(x for mark in marks for x in mark[:2])})
    parts = []
    for start, stop in pairwise(borders):
        names = [mark[2] for mark in marks if mark[0] <= start and stop <= mark[1]]
        piece = esc(text[start:stop])
        parts.append(f'<mark class="{esc(" ".join(names))}">{piece}</mark>' if names else piece)
    return "".join(parts)


def title(head: Html, line: Html = "") -> str:
    """A card's title and the line under it; both are our own words, given as HTML."""
    below = f"<p>{line}</p>" if line else ""
    return f'<div class="title"><h2>{head}</h2>{below}</div>'


def hint(head: Html, line: Html) -> str:
    """An empty state: what this shows and what fills it; our own words, given as HTML."""
    return f'<div class="hint"><b>{head}</b>{line}</div>'


def note(text: Html, kind: str = "") -> str:
    """A remark, a warning (`warn`) or a failure (`fail`); given as HTML."""
    role = "alert" if kind == "fail" else "status"
    return f'<p class="note {esc(kind)}" role="{role}">{text}</p>'


def skeleton(line: Html) -> str:
    """Something is on its way: breathing cells and a sentence."""
    cells = "<i></i>" * 96
    return (
        f'<div role="status"><p class="note">{line}</p>'
        f'<div class="skeleton" aria-hidden="true">{cells}</div></div>'
    )


def table(head: Sequence[Html], rows: Iterable[Sequence[Html]], numeric: Sequence[int] = ()) -> str:
    """A table that scrolls inside its card; cells are HTML already."""
    right = set(numeric)

    def cells(row: Sequence[Html], tag: str) -> str:
        return "".join(
            f"<{esc(tag)}{' class=num' if i in right else ''}>{cell}</{esc(tag)}>"
            for i, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return (
        f'<div class="table" tabindex="0"><table><thead><tr>{cells(head, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def bar(fraction: float | None) -> str:
    """A thin progress line; None where the end is unknown."""
    if fraction is None:
        return '<span class="meterline unknown"><i></i></span>'
    width = min(100.0, max(0.0, 100 * fraction))
    return f'<span class="meterline"><i style="width:{width:.1f}%"></i></span>'
