"""What a report says, as plain texts and tables: no markup, no picture, no model.

The order is the reader's: the question, what was found, how sure that is, what else was tried, what
it cost; then tables, method and limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dapa.core.records import Rate
from dapa.judges import titled
from dapa.search.settings import SearchSettings, method_of
from dapa.share.card import MODELS, public_name
from dapa.share.evidence import Evidence, found_by
from dapa.share.sheets import WHO, Sheet, sheets_of
from dapa.store.runs import Store
from dapa.writing.certified import form_title, plan_text
from dapa.writing.claims import (
    FEWER,
    basis_text,
    larger_text,
    looks_text,
    smaller_text,
    standing,
    target_text,
)
from dapa.writing.confidence import headline as certified_headline
from dapa.writing.costs import cost_lines
from dapa.writing.numbers import duration, percent, rate_text
from dapa.writing.sentences import MovedUnits, cut_sentence, result_sentence
from dapa.writing.unit_names import kind_text, searched_text, units_text

LIMITS = (
    "Refusals were counted by a judge of replies, on the prompts named under Method. Other "
    "requests, languages, long conversations and attacks may do otherwise.",
    "A set is called 1-minimal where no single unit can be spared; there may be other sets, and "
    "smaller ones.",
    "Intervals are 95 %, over prompts as if they were drawn at random from their kind.",
    "A refusal is no proof of safety: what the student could do that is harmful it still can.",
)


@dataclass(frozen=True)
class Story:
    """A report's words."""

    title: str
    question: str
    headline: str
    cards: Sequence[tuple[str, str]]
    """(big figure, what it is)."""
    sure: Sequence[str]
    tried: Sequence[str]
    cost: str
    sheets: Sequence[Sheet] = ()
    method: Sequence[tuple[str, str]] = ()
    limits: Sequence[str] = LIMITS
    warnings: Sequence[str] = field(default_factory=tuple)


def story_of(evidence: Evidence, store: Store) -> Story:
    """What the store tells of a set: a search, a table, or both."""
    spec = spec_of(evidence)
    student, teacher = public_name(spec["student"]), public_name(spec["teacher"])
    kind = str(evidence.search.settings.get("kind", "gate")) if evidence.search else "unit"
    many = kind_text(kind, 2) if evidence.search else "units"
    question = (
        f"Which {many} of {teacher}, put into {student}, make it refuse harmful requests, and what "
        "does that cost?"
    )
    title = f"{student} ← {teacher}"
    if evidence.search is not None and not found_by(evidence.search).entries:
        return _nothing(evidence, title, question)
    sheets = sheets_of(evidence, store)
    return Story(
        title,
        question,
        _headline(evidence, kind),
        _cards(evidence, kind),
        [*_sure(evidence), *_unknown(evidence)],
        _tried(evidence, store),
        _cost(evidence),
        sheets,
        _method(evidence),
        warnings=_warnings(evidence),
    )


def spec_of(evidence: Evidence) -> dict[str, Any]:
    """The pair as the run names it."""
    run = evidence.search or evidence.table
    found = (run.settings.get("pair") if run else None) or {}
    return {"student": "the student", "teacher": "the teacher", "name": "", **found}


def _nothing(evidence: Evidence, title: str, question: str) -> Story:
    """A search that found nothing is a finding too."""
    run = evidence.search
    assert run is not None, "only a search finds nothing"
    result = run.result or {}
    rates = [(name, Rate(**result[name])) for name in ("student", "full") if result.get(name)]
    told = str(result.get("error") or "it found no set").removeprefix("nothing to localize: ")
    cards = [(percent(rate.value), f"DSR, {WHO[name]}") for name, rate in rates]
    sheet = Sheet("Rates", ("DSR of", "rate"), [(WHO[n], rate_text(r)) for n, r in rates])
    return Story(
        title, question, f"Nothing found: {told}.", cards, (), (), _cost(evidence),
        [sheet] if rates else [], _method(evidence),
    )  # fmt: skip


def _skill(evidence: Evidence) -> tuple[Rate, Rate] | None:
    both = evidence.rate("student", "skill"), evidence.rate("patched", "skill")
    return (both[0], both[1]) if both[0] and both[1] else None


def _headline(evidence: Evidence, kind: str) -> str:
    report = evidence.report
    if report is None:
        student, found, where = evidence.dsr
        if student is None or found is None:
            return f"{units_text(evidence.mask.units)}: nothing was measured."
        return (
            f"With {units_text(evidence.mask.units)} of the teacher the student refuses "
            f"{rate_text(found)} of harmful requests ({where}); without, {rate_text(student)}."
        )
    if report.confidence is not None:
        return certified_headline(report.confidence.as_dict(), _kind(evidence, kind))
    held = [report.rates.get(name) for name in ("student_held_out", "held_out")]
    known = all(held)
    if not known:
        held = [report.rates.get(name) for name in ("student", "best")]
    moves = report.moves or {}
    return result_sentence(
        MovedUnits(
            len(report.units),
            int(moves.get("units") or 0),
            _kind(evidence, kind),
            report.layers,
            moves.get("fraction"),
            [unit for unit in report.units if unit.place is None],
        ),
        *held,
        report.costs.tests,
        report.costs.own_seconds,
        skill=_skill(evidence),
        held_out=known,
        one_minimal=report.claimed.one_minimal,
    )


def _kind(evidence: Evidence, kind: str) -> str:
    cut = any(unit.block or unit.kind != kind for unit in evidence.mask.units)
    return "block" if cut else kind


def _cards(evidence: Evidence, kind: str) -> list[tuple[str, str]]:
    student, found, where = evidence.dsr
    cards = []
    if student and found:
        cards.append(
            (
                f"{percent(student.value)} → {percent(found.value)}",
                f"of harmful requests refused ({where}, n = {found.n})",
            )
        )
    if skill := _skill(evidence):
        cards.append(
            (f"{percent(skill[0].value)} → {percent(skill[1].value)}", f"skill, n = {skill[1].n}")
        )
    harmless = evidence.rate("student", "over_refusal"), evidence.rate("patched", "over_refusal")
    if harmless[0] and harmless[1]:
        cards.append(
            (
                f"{percent(harmless[0].value)} → {percent(harmless[1].value)}",
                f"of harmless requests refused, n = {harmless[1].n}",
            )
        )
    moves = (evidence.report.moves if evidence.report else None) or {}
    count = len(evidence.mask.units)
    total = int(moves.get("units") or 0)
    words = kind_text(_kind(evidence, kind), total or count) if evidence.search else "units"
    share = f", {percent(moves['fraction'], 1)} of the parameters" if moves else ""
    cards.append((f"{count} of {total}" if total else f"{count}", f"{words} moved{share}"))
    return cards


def _unknown(evidence: Evidence) -> list[str]:
    """The question's second half, where nobody asked it."""
    if any(map(evidence.column, MODELS)):
        return []
    return [
        "What it costs in skill and in harmless requests refused was not measured: evaluate the "
        "set, or export with --measure."
    ]


def _sure(evidence: Evidence) -> list[str]:
    report = evidence.report
    if report is None:
        return ["No search stands behind this set: it was named, not found."]
    if report.confidence is not None:
        record = report.confidence.as_dict()
        kind = str(evidence.search.settings.get("kind", "gate")) if evidence.search else "gate"
        return [f"{form_title(record, kind)}.", plan_text(record["plan"])]
    claim = report.claimed
    told = [standing(claim), f"{_capital(target_text(claim, report.target))}.",
            basis_text(report.removals), looks_text(report.looks)]  # fmt: skip
    if not report.rates.get("held_out"):
        told.append("No prompt was held out: the rates are of the prompts that chose the set.")
    told += [f"{body['heading']} {body['finding']}" for body in _doubts(evidence).values()]
    return [line for line in told if line]


def _doubts(evidence: Evidence) -> dict[str, Mapping[str, Any]]:
    """What was measured beside the runs that tells how far the set is the one: said on top."""
    told = evidence.beside
    return {n: told[n] for n in ("stability", "chance") if n in told and told[n].get("heading")}


def _tried(evidence: Evidence, store: Store) -> list[str]:
    report, told = evidence.report, []
    if report is not None:
        told.append(
            f"{report.costs.tests} sets were tried on the way; the replay on screen has each."
        )
        told.append(smaller_text(report.smaller))
        for body in evidence.beside.values():
            told += [note for note in body.get("notes") or () if str(note).startswith(FEWER)]
        told.append(larger_text(report.supersets, report.violations))
    told += _others(evidence, store)
    looks = looked_closer(evidence)
    if against := evidence.beside.get("baselines"):
        told.append(str(against.get("finding") or ""))
    if looks:
        told.append(f"Measured beside it, told below: {'; '.join(o['title'] for o in looks)}.")
    return [line for line in told if line]


def looked_closer(evidence: Evidence) -> list[Mapping[str, Any]]:
    """What was measured beside the runs, for people; a headline's own figures are not."""
    return [body for body in evidence.beside.values() if body.get("heading")]


def _others(evidence: Evidence, store: Store) -> list[str]:
    """Other searches of the very pair."""
    mine = evidence.search
    if mine is None:
        return []
    made = (mine.settings.get("made") or {}).get("weights")
    lines: Counter[str] = Counter()
    for run in store.runs():
        same = (run.settings.get("made") or {}).get("weights") == made
        if run.kind != "search" or run.id == mine.id or not same or run.state == "running":
            continue
        found, rate = found_by(run), ((run.result or {}).get("dsr") or {}).get("held_out")
        what = units_text(found.units) if found.entries else "nothing"
        shown = f", {rate_text(Rate(**rate))} held out" if rate else ""
        kind = searched_text(str(run.settings.get("kind") or "gate"))
        lines[f"{method_of(run.settings)} over {kind} found {what}{shown}"] += 1
    if not lines:
        return []
    said = [f"{line}{f', {times} times' if times > 1 else ''}." for line, times in lines.items()]
    return [f"Other searches of this pair in the same store: {' '.join(said[:8])}"]


def _cost(evidence: Evidence) -> str:
    run = evidence.search
    if run is None or not run.result or "tests" not in run.result:
        return ""
    costs = run.result
    gpu = f", {costs['gpu_seconds']:.0f} GPU-seconds" if costs.get("gpu_seconds") else ""
    judged, known = costs.get("prompts_judged", 0), costs.get("recalled", 0)
    if known and not judged:
        return (
            f"{costs['tests']} tests; all {known:,} verdicts were known from an earlier run, so "
            "what this one took tells nothing of what they cost."
        )
    return (
        f"{costs['tests']} tests, {judged:,} replies judged"
        f"{f' and {known:,} verdicts recalled' if known else ''}, "
        f"{costs.get('tokens', 0):,} tokens decoded, {duration(costs.get('seconds', 0.0))}{gpu}."
    )


def _warnings(evidence: Evidence) -> list[str]:
    report, limit = evidence.report, None
    if evidence.search is not None:
        limit = evidence.search.settings.get("max_new_tokens")
    many = cut_sentence(report.rates, limit) if report else ""
    told = [many]
    for one in report.rechecks if report else ():
        if one.role == "best" and (one.lost or one.gained):
            told.append(
                f"Read to their end, {percent(one.rate.value, 0)} of the found set's {one.rate.n} "
                f"replies refuse: {one.lost} open with a refusal and go on to comply, {one.gained} "
                "refuse only later."
            )
    if evidence.search is not None and evidence.search.state == "stopped":
        told.append("The search was stopped early: this is the best it had.")
    return [line for line in told if line]


# -- method --------------------------------------------------------------------------------------


def _method(evidence: Evidence) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    spec, run = spec_of(evidence), evidence.search or evidence.table
    told.append(("student", public_name(spec["student"])))
    told.append(("teacher", public_name(spec["teacher"])))
    if spec.get("name"):
        told.append(("pair", str(spec["name"])))
    if evidence.mask.entries:
        told.append(("units", ", ".join(evidence.mask.key.split(","))))
    if evidence.search is not None:
        settings = SearchSettings.from_dict(evidence.search.settings)
        told.append(("search", settings.sentence()))
        told.append(("prompts", _source(settings.prompts)))
        told.append(("run", evidence.search.id))
        told += cost_lines(evidence.search.result or {}) if evidence.report else []
    if evidence.table is not None:
        body = evidence.table.result or {}
        told.append(("table", evidence.table.id))
        told.append(("judge", titled(str(body.get("judge") or "rules"))))
        told += [("note", str(line)) for line in body.get("notes") or ()]
    made = dict((run.settings.get("made") if run else None) or {})
    told += [(f"digest of {name}", str(value)) for name, value in made.items()]
    return told


def _source(name: str | None) -> str:
    return public_name(name) if name else "the bundled set that suits the pair"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
