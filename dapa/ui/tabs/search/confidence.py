"""A confidence search's result as HTML: the headline, then what it rests on, as plain tables."""

from __future__ import annotations

from collections.abc import Mapping

from dapa.core.records import Rate
from dapa.ui.parts import esc, names, note, rate, table, title
from dapa.workbench import SearchReport
from dapa.writing.claims import looks_text
from dapa.writing.confidence import (
    CHAIN_HEADS,
    FORMS,
    STANDING_HEADS,
    certify_text,
    chain_rows,
    headline,
    overfit_text,
    plan_sentence,
    standing_rows,
    unseen_text,
)
from dapa.writing.sentences import kinds_text


def draw(report: SearchReport, kind: str, kinds: Mapping[str, Rate]) -> str:
    """Headline, notes, rates, the certified chain and the removals.

    Args:
        report: With its confidence record.
        kind: The kind of site that was searched.
        kinds: The rates over kinds of harm, by role.
    """
    record = report.confidence
    assert record is not None, "an exact search is drawn by `result`"
    told = record.as_dict()
    found = names(report.units) if len(report.units) < told["plan"]["units"] else "every unit"
    end = "" if report.stop_reason == "done" else f" · {esc(report.stop_reason)}"
    notes = [certify_text(told), overfit_text(told), unseen_text(told)]
    lines = "".join(note(esc(line)) for line in notes if line)
    head = title(f"{FORMS[record.form]}: {found}", f"{esc(told['plan']['claim'])}{end}")
    removals = table(STANDING_HEADS, _plain(standing_rows(told))) if record.standings else ""
    return (
        f'{head}<p class="finding">{esc(headline(told, kind))}</p>{lines}'
        f'<div class="two result">{_rates(report, kinds)}'
        f"{table(CHAIN_HEADS, _plain(chain_rows(told)))}</div>{removals}"
        f"{note(esc(plan_sentence(told['plan'])))}"
    )


def _plain(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [tuple(map(esc, row)) for row in rows]


def _rates(report: SearchReport, kinds: Mapping[str, Rate]) -> str:
    """DSR on the prompts that chose and on those that certified."""

    def cell(role: str) -> str:
        over = kinds.get(role)
        beside = f'<br><span class="interval">{esc(kinds_text(over))}</span>' if over else ""
        return rate(report.rates.get(role)) + beside

    locked = any("locked" in name for name in report.rates)
    rows = [
        (label, cell(own), cell(held), *([cell(once)] if locked else []))
        for label, own, held, once in (
            ("student", "student", "student_held_out", "student_locked"),
            ("<b>the set</b>", "best", "held_out", "locked"),
            ("every unit", "full", "full_held_out", "full_locked"),
        )
    ]
    heads = ("DSR, by openings", "chose", "certified", *(["locked, once"] if locked else []))
    return table(heads, rows) + (note(looks_text(report.looks)) if report.looks else "")
