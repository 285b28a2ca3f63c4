"""Judges against judges as HTML: kappa in a matrix, and the replies on which they part."""

from __future__ import annotations

from dapa.core.html import Html, html, joined
from dapa.core.records import Rate
from dapa.ui.parts import badge, note, rate, table, title, two
from dapa.workbench import HUMAN, Agreement, Opinions, titled
from dapa.writing.numbers import THIN

_SHOWN = 200


def draw(found: Opinions) -> Html:
    """The matrix, what it means by pair, and the disagreements, folded."""
    agreed = found.agreement
    if agreed is None:
        return note("There is nobody to compare with; choose a second judge.", "warn")
    line = (
        f"Cohen’s kappa over the four verdicts on {len(found.written):,} replies, with "
        f"95{THIN}% intervals; 1 is full agreement, 0 what chance alone would give."
    )
    names = [name_of(judge) for judge in agreed.judges]
    rows = [
        (name, *(_cell(agreed, a, b) for b in agreed.judges))
        for a, name in zip(agreed.judges, names, strict=True)
    ]
    head = title("How far the judges agree", line)
    return head + table(("", *names), rows) + _pairs(agreed) + disagreements(found)


def name_of(judge: str) -> str:
    """A judge for people."""
    return "people" if judge == HUMAN else titled(judge)


def _cell(agreed: Agreement, a: str, b: str) -> Html:
    if a == b:
        return html('<span class="interval">same</span>')
    pair = agreed.pair(a, b)
    return _kappa(pair.kappa, pair.observed.n)


def _kappa(value: Rate | None, n: int) -> Html:
    """Kappa, or why there is none: without two words there is no chance to agree beyond."""
    if value is not None:
        return html(
            '<b>{}</b> <span class="interval">[{}, {}], n\u202f=\u202f{}</span>',
            *map(two, (value.value, value.low, value.high)), value.n,
        )  # fmt: skip
    why = "both always say one thing" if n else "no reply in common"
    return html('<span class="interval">undefined: {}</span>', f"{why}, n{THIN}={THIN}{n}")


def _pairs(agreed: Agreement) -> Html:
    rows = [
        (
            f"{name_of(pair.a)} and {name_of(pair.b)}",
            rate(pair.observed),
            _kappa(pair.refusal, pair.observed.n),
        )
        for pair in agreed.pairs
    ]
    head = ("judges", "share with the same verdict", "kappa over refusal or not")
    return html(
        '<details class="read"><summary>Two by two: the same verdict, and refusal or not'
        "</summary>{}</details>",
        table(head, rows),
    )


def disagreements(found: Opinions) -> Html:
    """The replies on which not all say the same; folded, since they may be harmful."""
    places = found.agreement.disagreements if found.agreement else ()
    if not places:
        return note("They say the same of every reply.")
    lines = joined(_line(found, place) for place in places[:_SHOWN])
    more = "" if len(places) <= _SHOWN else note(f"The first {_SHOWN}; the CSV has all.")
    word = "reply" if len(places) == 1 else "replies"
    return html(
        '<details class="read" data-apart><summary>Disagreements: {places:,} {word} of '
        '{written:,}</summary><div class="scroll replies">{lines}</div>{more}</details>',
        places=len(places), word=word, written=len(found.written), lines=lines, more=more,
    )  # fmt: skip


def _line(found: Opinions, place: int) -> Html:
    one = found.written[place]
    words = [
        (judge, "could not be asked" if said[place].failed else badge(said[place].label))
        for judge, said in found.said.items()
    ]
    words += [(HUMAN, badge(one.human))] if one.human else []
    told = joined((html("{} {}", name_of(judge), word) for judge, word in words), " · ")
    body = one.reply or html('<span class="muted">(no text)</span>')
    return html(
        '<details><summary>{} <span dir="auto">{}</span></summary>'
        '<p class="reply" dir="auto">{}</p></details>',
        told, one.prompt, body,
    )  # fmt: skip
