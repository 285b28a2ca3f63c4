"""A report's tables, as plain texts: rates, certificate, kinds of harm, every test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dapa.core.records import Rate, Unit
from dapa.search.kinds import kinds_from
from dapa.share.card import MEASURES, MODELS
from dapa.share.evidence import Evidence
from dapa.store.runs import Store
from dapa.writing.claims import headline
from dapa.writing.confidence import CHAIN_HEADS, STANDING_HEADS, chain_rows, standing_rows
from dapa.writing.costs import PHASES
from dapa.writing.numbers import plain, rate_text
from dapa.writing.unit_names import unit_name

_DSR = "DSR: coherent refusals among all harmful requests asked, with its 95 % interval."
WHO = {
    "student": "the student",
    "full": "every unit",
    "best": "the found set",
    "held_out": "the found set, held out",
    "full_held_out": "every unit, held out",
    "student_held_out": "the student, held out",
    "locked": "the found set, locked prompts",
    "full_locked": "every unit, locked prompts",
    "student_locked": "the student, locked prompts",
}


@dataclass(frozen=True)
class Sheet:
    """A table: every cell is a text."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    folded: bool = False
    """Is it opened only by a press?"""


def sheets_of(evidence: Evidence, store: Store) -> list[Sheet]:
    """Every table that the evidence fills, in the reader's order."""
    sheets = [*_rates(evidence), *_certificate(evidence), *_by_kind(evidence)]
    return [*sheets, *_tests(evidence, store)]


def _rates(evidence: Evidence) -> list[Sheet]:
    sheets = []
    if any(map(evidence.column, MODELS)):
        rows = []
        for measure, title in MEASURES.items():
            rates = [evidence.rate(model, measure) for model in MODELS]
            if any(rates):
                rows.append((title, *(rate_text(rate) if rate else "–" for rate in rates)))
        for measure, title in (("perplexity", "perplexity"), ("kl", "KL, bits a token")):
            values = [evidence.column(model).get(measure) for model in MODELS]
            if any(values):
                rows.append((title, *map(_value, values)))
        over = ((evidence.table.result or {}) if evidence.table else {}).get("dsr_over") or ""
        note = f"DSR is of these harmful prompts: {over}." if over else ""
        sheets.append(Sheet("Student, patched and teacher", ("", *MODELS), rows, note))
    report = evidence.report
    if report is not None:
        kinds = kinds_from(evidence.search.result if evidence.search else None)
        rows = [
            (
                WHO.get(name, name),
                f"{rate_text(rate, with_n=False)}, n = {rate.n}",
                _over_kinds(kinds[name]) if name in kinds else "",
            )
            for name, rate in report.rates.items()
            if rate is not None
        ]
        head = ("DSR of", "rate", "mean over kinds of harm")
        sheets.append(Sheet("Refusals, as the search measured them", head, rows, _DSR))
    return sheets


def _over_kinds(rate: Rate) -> str:
    """The mean over kinds with its interval, under a heading that says what it is."""
    return f"{rate_text(rate, with_n=False)}, {rate.n} kinds"


def _value(told: Any) -> str:
    if not isinstance(told, dict) or told.get("value") is None:
        return "–"
    low, high = told.get("low"), told.get("high")
    ends = f" [{plain(low)}, {plain(high)}]" if low is not None and high is not None else ""
    return f"{plain(told['value'])}{ends}, n = {told.get('n') or 0:,}"


def _certificate(evidence: Evidence) -> list[Sheet]:
    report = evidence.report
    if report is None:
        return []
    if report.confidence is not None:
        record = report.confidence.as_dict()
        heads = tuple(name or "state" for name in CHAIN_HEADS)
        chain = Sheet("The frozen chain", heads, chain_rows(record))
        alone = [(unit_name(Unit.parse(unit)), *said) for unit, *said in standing_rows(record)]
        removals = Sheet("Single removals", STANDING_HEADS, alone)
        return [sheet for sheet in (chain, removals) if sheet.rows]
    firm = report.claimed.firm
    rows = [
        (
            unit_name(one.unit),
            f"{one.outcome.defended} of {one.outcome.asked}",
            "firm" if one.unit in firm else f"undecided, {one.flips} flips from the target",
            "p < 0.001" if one.p_value < 0.001 else f"p = {one.p_value:.3f}",
        )
        for one in report.removals
    ]
    head = ("without", "refused of asked", "standing", "paired test, Holm")
    name = headline(report.claimed)
    return [Sheet("Certificate: each unit left out", head, rows, f"{name}." if name else "")]


def _by_kind(evidence: Evidence) -> list[Sheet]:
    found = ((evidence.table.result or {}) if evidence.table else {}).get("by_category") or {}
    rows = []
    for name, models in (found.get("dsr") or {}).items():
        rates = [rate_text(Rate(**models[m])) if m in models else "–" for m in MODELS]
        rows.append((name, *rates))
    return [Sheet("Refusals by kind of harm", ("kind", *MODELS), rows)] if rows else []


def _tests(evidence: Evidence, store: Store) -> list[Sheet]:
    if evidence.search is None:
        return []
    rows = [
        (
            str(one["index"]),
            PHASES.get(one["phase"], one["phase"]).partition(":")[0],
            one["mask"] or "the student",
            f"{one['defended']} of {one['judged']}",
            str(one["asked"]),
        )
        for one in store.trials(evidence.search.id)
    ]
    head = ("test", "phase", "transplanted", "refused of judged", "asked")
    return [Sheet(f"Every test ({len(rows)})", head, rows, folded=True)] if rows else []
