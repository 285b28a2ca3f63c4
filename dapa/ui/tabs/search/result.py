"""A search's result as HTML, from the report of a job or of a stored run."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any

from dapa.core.html import Html, html, joined
from dapa.core.records import DapaError, Mask, Rate, Removal
from dapa.core.statistics import wilson
from dapa.ui.forest import Dot, Line, Look, forest
from dapa.ui.headline import Headline, Point, Who, by_skill, card
from dapa.ui.parts import THIN, names, note, over_kinds, percent, rate, table, title, two
from dapa.ui.tabs.search import certified
from dapa.workbench import Run, SearchReport
from dapa.writing.certified import EXACT_RESULT
from dapa.writing.claims import (
    Claimed,
    Offered,
    basis_text,
    headline,
    larger_text,
    looks_text,
    smaller_text,
    standing,
    target_text,
)
from dapa.writing.costs import cost_lines
from dapa.writing.numbers import plain
from dapa.writing.sentences import DSR, MovedUnits, cut_sentence, result_sentence
from dapa.writing.unit_names import kind_text, kind_told, unit_name

log = logging.getLogger("dapa.ui")


def report_of(run: Run) -> SearchReport | None:
    """A stored run's result; None where it has none yet, failed, or cannot be read."""
    if not run.result or "units" not in run.result:
        return None
    try:
        return typed(SearchReport.from_dict(run.result))
    except (LookupError, TypeError, ValueError, AttributeError, DapaError) as error:
        log.warning("run %s holds no readable result (%s)", run.id, type(error).__name__)
        return None


def typed(record: Any) -> Any:
    """The same record; TypeError where a number in it, at any depth, is none.

    A store is a file: what is written as a number must be one, or its run is unreadable.
    """
    if isinstance(record, tuple | list):
        for each in record:
            typed(each)
    elif isinstance(record, dict):
        for each in record.values():
            typed(each)
    elif is_dataclass(record):
        for one in fields(record):
            value, told = getattr(record, one.name), str(one.type)
            number = re.fullmatch(r"(int|float|bool)( \| None)?", told)
            if number and not isinstance(value, int | float | NoneType):
                raise TypeError(f"{one.name} is no number")
            typed(value)
    return record


def kind_of(mask: Mask, kind: str) -> str:
    """The kind of a stored result's units: `block` where they are parts of what was searched."""
    return kind_told(mask.units, kind)


def sentence(
    report: SearchReport,
    kind: str,
    total: int,
    share: float | None,
    skill: tuple[Rate, Rate] | None = None,
) -> str:
    """The written sentence, with the figures that matter in it."""
    if not report.units:
        return html("Found: <b>nothing smaller than the full set</b>.")
    both = [report.rates.get(name) for name in ("student_held_out", "held_out")]
    held_out = all(both)
    if not held_out:
        both = [report.rates.get(name) for name in ("student", "best")]
    return result_sentence(
        MovedUnits(
            len(report.units),
            total,
            kind,
            report.layers,
            share,
            [unit for unit in report.units if unit.place is None],
        ),
        *both,
        report.costs.tests,
        report.costs.own_seconds,
        skill=skill,
        held_out=held_out,
        one_minimal=report.claimed.one_minimal,
    )


def draw(
    report: SearchReport,
    kind: str,
    total: int,
    share: float | None,
    skill: tuple[Rate, Rate] | None = None,
    limit: int | None = None,
    kinds: Mapping[str, Rate] | None = None,
    also: Sequence[Offered] = (),
) -> Html:
    """A result whole: what stands over the row of buttons, then what stands under it.

    Args:
        report: Of a job, or read from the store.
        kind: The kind of site that was searched.
        total: How many units could be moved; 0 where that is not known.
        share: Share of the parameters that the found set holds; None where that is not known.
        skill: The student's and the found set's skill, once measured.
        limit: The token limit of its replies, where it is known.
        kinds: The rates over kinds of harm, by role as in the report.
        also: Sets of fewer units that something beside the search met.
    """
    if report.confidence is not None:
        return certified.head(report, kind, limit) + certified.below(report, kind, kinds)
    return head(report, kind, total, share, skill, limit, also) + below(report, kinds)


def head(
    report: SearchReport,
    kind: str,
    total: int,
    share: float | None,
    skill: tuple[Rate, Rate] | None = None,
    limit: int | None = None,
    also: Sequence[Offered] = (),
    over: str = "",
) -> Html:
    """Headline, sentence and the sets that would do too; `over` is the headline card's HTML."""
    many = cut_sentence(report.rates, limit)
    cut = note(many, "warn") if many else ""
    name = f"Result: {names(report.units)}" if report.units else "Result"
    over = over or (card(headlined(report, kind, total)) if report.units else "")
    others = [smaller_text(sets) for sets in (report.smaller, also)]
    return html(
        '{}{}{}<p class="finding">{}</p>{}{}',
        title(name, _certified(report)), cut, over, sentence(report, kind, total, share, skill),
        certified.size_note(report), joined(note(line) for line in others if line),
    )  # fmt: skip


def below(report: SearchReport, kinds: Mapping[str, Rate] | None = None) -> Html:
    """Standing, warnings, rates, certificate and costs of an exact search."""
    first = _columns(report, kinds or {}) + _standing(report) + _warnings(report)
    return first + _asides(report) + certified.helped_note(report) + _costs(report)


_WHO: Mapping[str, Who] = {"student": "student", "patched": "found", "teacher": "teacher"}


def headlined(
    report: SearchReport,
    kind: str,
    total: int,
    skills: Mapping[str, Rate] | None = None,
    waiting: str = "",
) -> Headline:
    """What the headline card says of a result.

    Args:
        report: Of a job, or read from the store.
        kind: The kind of site that was searched.
        total: How many units could be moved; 0 where that is not known.
        skills: The skill of student, patched and teacher, once measured.
        waiting: Why there is none yet; empty where none is to come.
    """
    roles = ("student_held_out", "held_out", "full_held_out")
    asked = "held-out harmful requests"
    if report.confidence is not None:
        asked = "harmful requests that had no part in choosing the set"
    if not all(report.rates.get(role) for role in roles[:2]):
        roles, asked = ("student", "best", "full"), "harmful search requests"
    student, found, full = (report.rates.get(role) for role in roles)
    skill = None
    if skills and "student" in skills and "patched" in skills:
        skill = (skills["student"], skills["patched"])
        safety = {"student": student, "patched": found}
        points = by_skill({m: (safety.get(m), skills.get(m)) for m in safety}, _WHO)
        across = Headline.across
    else:
        most = total or len(report.units)
        points = [
            Point(who, rate, count / most, name)
            for who, rate, count, name in (
                ("student", student, 0, ""),
                *(
                    ("smaller", one.held_out, len(one.units), f"{len(one.units)}, a smaller set")
                    for one in report.smaller
                ),
                ("found", found, len(report.units), ""),
                ("every", full if total else None, total, f"every {kind_text(kind, 1)}"),
            )
            if rate is not None and most
        ]
        across = f"share of the {kind_text(kind, 2)} that is moved"
    count = len(report.units)
    return Headline(student, found, asked, count, total, kind, skill, waiting, points, across)


def _costs(report: SearchReport) -> Html:
    """Everything that the search cost, folded."""
    body = table(("cost", ""), cost_lines(report.costs.as_dict()))
    return html('<details class="read"><summary>What it cost</summary>{}</details>', body)


def _certified(report: SearchReport) -> str:
    """Firm, undecided and the target; never plainly 1-minimal where a removal is undecided."""
    claim = report.claimed
    aim = target_text(claim, report.target)
    if head := headline(claim):
        end = "" if report.stop_reason == "done" else f" · {report.stop_reason}"
        return f"{head}: {_explained(claim)} {aim[:1].upper()}{aim[1:]}{end}."
    return f"Best so far, not certified as 1-minimal: {report.stop_reason} · {aim}"


def _explained(claim: Claimed) -> str:
    """The words before it, where they stand first."""
    if claim.sure:
        return "leave any one out and too few are refused, by more than chance."
    told = []
    if claim.firm:
        told.append("without a firm one more is lost than chance would lose")
    if claim.undecided:
        told.append("what is lost without an undecided one may be chance")
    return f"{'; '.join(told)}."


def _standing(report: SearchReport) -> Html:
    """What whole replies make of the certificate, and what firm rests on."""
    claim, told = report.claimed, html("")
    if headline(claim):
        line = f"{standing(claim)} {basis_text(report.removals)}"
        told = note(line, "warn") if claim.contradicted or claim.reached is False else note(line)
    return told + (note(EXACT_RESULT) if report.units else "")


def _warnings(report: SearchReport) -> Html:
    notes = []
    if line := larger_text(report.supersets, report.violations):
        undone = any(violation.firm for violation in report.violations)
        notes.append(note(line, "warn") if undone else note(line))
    lost = [line.lost for line in report.rechecks if line.role == "best" and line.lost]
    if lost:
        notes.append(
            note(
                html(
                    "<b>Refuse, then comply.</b> {} replies of the found set open with "
                    "a refusal and go on to comply; the rates here count whole replies.",
                    lost[0],
                ),
                "warn",
            )
        )
    return joined(notes)


def _asides(report: SearchReport) -> Html:
    """Utility limit, ranking, batch shape and fast screen, where they played a part."""
    lines = []
    if kl := report.kl:
        lines.append(
            f"KL to the student on harmless prompts: {plain(kl['best'])} bits a token (limit "
            f"{kl['limit']:g}; every unit {plain(kl['full'])})."
        )
    if prior := report.prior:
        lines.append(f"The order was led by {prior['name']}, which decided nothing.")
    if report.canonical:
        flips = sum(line.lost + line.gained for line in report.canonical)
        told = f"{flips} verdicts differ" if flips else "every verdict is the same"
        lines.append(f"Judged once more in batches of one shape: {told}.")
    screen = report.screen or {}
    if screen.get("value") is not None:
        lines.append(
            "To save time, a guess from each reply's first word chose what was asked first; it "
            "decided nothing. Its rank correlation with the verdicts was "
            f"{two(screen['value'])} [{two(screen['low'])}, {two(screen['high'])}], "
            f"n{THIN}={THIN}{screen['n']} replies."
        )
    return note(" ".join(lines)) if lines else html("")


def _columns(report: SearchReport, kinds: Mapping[str, Rate]) -> Html:
    def cell(role: str) -> Html:
        return rate(report.rates.get(role)) + over_kinds(kinds.get(role))

    locked = any("locked" in name for name in report.rates)
    rows = [
        (
            label,
            cell(searched),
            cell(held_out),
            *([cell(held_out.replace("held_out", "locked"))] if locked else []),
        )
        for label, searched, held_out in (
            ("student", "student", "student_held_out"),
            (html("<b>found set</b>"), "best", "held_out"),
            ("every unit", "full", "full_held_out"),
        )
    ]
    heads = ("DSR", "on the search prompts", "held out", *(["locked, once"] if locked else []))
    looked = f" {looks_text(report.looks)}" if report.looks else ""
    rates = html("<div>{}{}</div>", table(heads, rows), note(DSR + looked))
    return html('<div class="two result">{}{}</div>', rates, _certificate(report))


def _certificate(report: SearchReport) -> Html:
    """Each removal's DSR with its interval against the target; firm or undecided."""
    if not report.removals:
        return html("")
    lines, sure = [], report.claimed.firm
    for removal in report.removals:
        left = wilson(removal.outcome.defended, removal.outcome.asked)
        firm = removal.unit in sure
        look: Look = "orange" if firm else "open"
        cells = [rate(left, with_n=False), _firm(removal, firm)]
        lines.append(Line(unit_name(removal.unit), [Dot(left, look)], cells))
    n = report.removals[0].outcome.asked
    picture = f"DSR by openings, n{THIN}={THIN}{n}; dashed: target {percent(report.target, 0)}"
    head = ("without", picture, "certificate", "standing")
    return forest(head, lines, report.target, "certificate")


def _firm(removal: Removal, firm: bool) -> Html:
    shown = "p < 0.001" if removal.p_value < 0.001 else f"p = {removal.p_value:.3f}"
    if removal.basis == "reserve":
        shown += f" on {removal.more} reserve prompts"
    elif removal.more:
        shown += f", with {removal.more} more prompts"
    if firm:
        return html('<span class="badge yes">■ firm</span> <span class="interval">{}</span>', shown)
    return html(
        '<span class="badge unclear">◇ undecided</span> <span class="interval">{} {}, {}</span>',
        removal.flips, "flip" if removal.flips == 1 else "flips", shown,
    )  # fmt: skip
