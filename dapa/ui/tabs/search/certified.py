"""A finished confidence search as HTML: headline, big figures, units, tables.

The headline comes first, the picture (`certifying.picture`) stands between it and what is drawn by
`below`. Both are the same for a job and for a stored run.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from dapa.core.html import Html, html, joined, when
from dapa.core.records import Rate
from dapa.ui.forest import Dot, Line, Look, forest
from dapa.ui.parts import THIN, note, over_kinds, percent, rate, table, title
from dapa.ui.tabs.search.certifying import units_row
from dapa.workbench import (
    Difference,
    SearchReport,
    Versus,
)
from dapa.writing.certified import (
    GLOSSARY,
    agreed_text,
    chosen_text,
    divided_text,
    form_title,
    offers_text,
)
from dapa.writing.claims import looks_text
from dapa.writing.confidence import (
    CHAIN_HEADS,
    certify_text,
    chain_rows,
    headline,
    overfit_text,
    points,
    unseen_text,
)
from dapa.writing.costs import cost_lines
from dapa.writing.sentences import cut_sentence, moved_sentence
from dapa.writing.unit_names import unit_name


def head(
    report: SearchReport,
    kind: str,
    limit: int | None = None,
    again: Mapping[str, Any] | None = None,
    over: str = "",
) -> Html:
    """Title, headline card, sentence and big figures.

    Args:
        report: Of a confidence search.
        kind: The kind of site that was searched, or `block`.
        limit: The token limit of its replies, where it is known.
        again: A `Stability`'s JSON form, once the choosing was repeated: what all agree on leads.
        over: The headline card's HTML, for a result that is on screen.
    """
    record = report.confidence
    assert record is not None, "only a confidence search is drawn here"
    told = record.as_dict()
    name = "Quick form" if record.plan.claim == "quick" else "Choose freely, certify once"
    end = "" if report.stop_reason == "done" else f" · {report.stop_reason}"
    many = cut_sentence(report.rates, limit)
    return html(
        '{title}{many}{over}{agreed}<p class="finding">{headline}</p>{size_note}{numbers}',
        title=title(form_title(told, kind), f"{name}{end}"),
        many=note(many, "warn") if many else "", over=over, agreed=_agreed(again),
        headline=headline(told, kind), size_note=size_note(report), numbers=_numbers(report),
    )  # fmt: skip


def size_note(report: SearchReport) -> Html:
    """What parts of sites come to in parameters, and the energy of ranks; empty for whole sites."""
    if report.moves is None or not any(unit.cut for unit in report.units):
        return html("")
    return note(moved_sentence(SimpleNamespace(**{"energy": None, **report.moves})))


def _agreed(again: Mapping[str, Any] | None) -> Html:
    """What every repetition of the choosing agrees on."""
    line = agreed_text(again) if again else ""
    return when(line, '<p class="finding agreed">{}</p>', line)


def _numbers(report: SearchReport) -> Html:
    """Student, set and all units on the prompts that chose nothing; prompts, margin, units."""
    record = report.confidence
    assert record is not None, "only a confidence search is drawn here"
    names = ("student_held_out", "held_out", "full_held_out")
    held = [report.rates.get(name) for name in names]
    where = "prompts that chose nothing"
    if not all(held):
        held = [report.rates.get(name) for name in ("student", "best", "full")]
        where = "prompts that chose it"
    student, found, full = (percent(one.value, 0) if one else "–" for one in held)
    n = next((one.n for one in held if one), 0)
    change = record.link.certified.change if record.link and record.link.certified else None
    margin = "none" if record.margin is None else points(record.margin)
    cards = [
        (f"{student} → {found}", "DSR, student → the set"),
        (full, "DSR, all units"),
        *([_beyond(change)] if change else []),
        (f"{n:,}", where),
        (margin, "margin: the loss that is ruled out" if record.margin else "no claim is made"),
        (
            f"{len(record.units)} of {record.total}",
            f"units in the set · {len(record.firm)} firm, {len(record.undecided)} undecided"
            if record.standings
            else "units in the best guess" if record.form == "unclaimed" else "units in the set",
        ),
    ]  # fmt: skip
    inner = joined(html("<div><b>{}</b><span>{}</span></div>", big, small) for big, small in cards)
    return html('<div class="meter numbers" role="group" aria-label="Figures">{}</div>', inner)


def _beyond(change: Difference) -> tuple[str, str]:
    """The set's change as a big figure."""
    value, ends = _signed(change)
    return value, f"points, set against all units {ends}"


def _signed(change: Difference) -> tuple[str, str]:
    """A change in points and its interval: `−1.6`, `[−4.1, +0.9]`."""
    value, low, high = (
        f"{100 * end:+.1f}".replace("-", "−") for end in (change.value, change.low, change.high)
    )
    return value[1:] if value[1:] == "0.0" else value, f"[{low}, {high}]"


# -- below the picture ---------------------------------------------------------------------------


def below(report: SearchReport, kind: str, kinds: Mapping[str, Rate] | None = None) -> Html:
    """Units, removals, prompts beside each other, notes, and what is folded.

    Args:
        report: Of a confidence search.
        kind: The kind of site that was searched, or `block`.
        kinds: The rates over kinds of harm, by role as in the report.
    """
    record = report.confidence
    assert record is not None, "only a confidence search is drawn here"
    told = record.as_dict()
    lines = (
        offers_text(told, kind), certify_text(told), overfit_text(told), unseen_text(told),
        chosen_text(told),
    )  # fmt: skip
    notes = joined(note(line) for line in lines if line) + helped_note(report)
    tables = html('<div class="asked">{}{}</div>', _beside(report), _removals(report))
    folded = _folded(report, told, kinds or {})
    return units_row(told) + tables + _taken_back(report) + notes + folded


def helped_note(report: SearchReport) -> Html:
    """What to know of the workers that decoded it; empty where all went well."""
    return note(report.helped, "warn") if report.helped else html("")


def _removals(report: SearchReport) -> Html:
    """Each unit left out of the set, against all units less the margin."""
    record = report.confidence
    if record is None or not record.standings or record.margin is None:
        return html("")
    lines = []
    for one in record.standings:
        badge = (
            html('<span class="badge yes">■ firm</span>')
            if one.firm
            else html('<span class="badge unclear">◇ undecided</span>')
        )
        p = "p < 0.001" if one.p < 0.001 else f"p = {one.p:.3f}"
        n = one.certified.n
        look: Look = "orange" if one.firm else "open"
        cells = [
            _points(one.certified.change),
            html('{} <span class="interval">{}</span>', badge, f"{p}, n{THIN}={THIN}{n}"),
        ]
        lines.append(Line(unit_name(one.unit), [Dot(one.certified.rate, look)], cells))
    whole = max((one.certified for one in record.standings), key=lambda one: one.n).whole_rate
    aim = whole.value - record.margin
    picture = f"DSR; dashed: {points(record.margin)} below all units"
    names = ("without", picture, "points", "standing")
    return html("<div>{}</div>", forest(names, lines, aim, "certificate"))


def _points(change: Difference) -> Html:
    value, ends = _signed(change)
    return html('<b>{}</b> <span class="interval">{}</span>', value, ends)


def _beside(report: SearchReport) -> Html:
    """The set and all units on the prompts that chose, on those that did not, on unseen kinds."""
    record = report.confidence
    assert record is not None, "only a confidence search is drawn here"
    rows: list[tuple[str, Versus]] = []
    if seen := record.overfit:
        rows += [("prompts that chose", seen.chosen), ("that chose nothing", seen.certified)]
    if new := record.unseen:
        rows.append(("of unseen kinds", new.certified))
    lines = [
        _asked(f"{one.n} {name}", one.rate, one.whole_rate, _points(one.change))
        for name, one in rows
    ]
    ours, whole = (report.rates.get(name) for name in ("locked", "full_locked"))
    if ours and whole:
        lines.append(_asked(f"{ours.n} locked away, asked once", ours, whole, "–"))
    if not lines:
        return html("")
    heads = ("prompts", "DSR: ■ the set, ● all units", "set · all", "points")
    return html("<div>{}</div>", forest(heads, lines, classes="beside"))


def _asked(name: str, ours: Rate, whole: Rate, change: str) -> Line:
    dots = [Dot(ours, "blue", "the set"), Dot(whole, "grey", "all units")]
    both = (percent(one.value, 0) for one in (ours, whole))
    return Line(name, dots, [html("<b>{}</b> · {}", *both), change])


def _taken_back(report: SearchReport) -> Html:
    """Whole replies against openings: who goes on to comply, and who refuses only later."""
    said = [one for one in report.rechecks if one.role == "best" and (one.lost or one.gained)]
    if not said:
        return html("")
    one = said[0]
    return note(
        html(
            "<b>{}.</b> Of {} replies of the set {} open with a refusal and go on to comply, {} "
            "refuse only later; read to their end {} refuse. The figures above count openings.",
            "Refuse, then comply" if one.lost else "Refuse only later",
            one.rate.n,
            one.lost,
            one.gained,
            percent(one.rate.value, 0),
        ),
        "warn" if one.lost else "",
    )


def _folded(report: SearchReport, told: Any, kinds: Mapping[str, Rate]) -> Html:
    """The words, the chain and the costs, each behind a line."""
    words = joined(html("<li><b>{}.</b> {}</li>", name, text) for name, text in GLOSSARY)
    made = _fold("What these words mean", html("<ul>{}</ul>", words))
    lines = [divided_text(told)]
    if prior := report.prior:
        lines.append(f"The order was led by {prior['name']}, which decided nothing.")
    made += _fold("How the prompts were divided", note(" ".join(filter(None, lines))))
    made += _fold("Refusals on every part of the prompts", _rates(report, kinds))
    if rows := chain_rows(told):
        made += _fold("Every set of the chain", table(CHAIN_HEADS, rows))
    costs = cost_lines(report.costs.as_dict())
    return made + _fold("What it cost", table(("cost", ""), costs))


def _rates(report: SearchReport, kinds: Mapping[str, Rate]) -> Html:
    """DSR on the prompts that chose, on those that certified, and over kinds of harm."""

    def cell(role: str) -> Html:
        return rate(report.rates.get(role)) + over_kinds(kinds.get(role))

    locked = any("locked" in name for name in report.rates)
    rows = [
        (label, cell(own), cell(held), *([cell(once)] if locked else []))
        for label, own, held, once in (
            ("student", "student", "student_held_out", "student_locked"),
            (html("<b>the set</b>"), "best", "held_out", "locked"),
            ("all units", "full", "full_held_out", "full_locked"),
        )
    ]
    heads = ("DSR, by openings", "chose", "certified", *(["locked, once"] if locked else []))
    return table(heads, rows) + (note(looks_text(report.looks)) if report.looks else "")


def _fold(name: str, body: str) -> Html:
    return html('<details class="read"><summary>{}</summary>{}</details>', name, body)
