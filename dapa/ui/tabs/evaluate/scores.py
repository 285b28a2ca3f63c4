"""An evaluation as HTML: the one table, what differs surely, and the replies behind a cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dapa.core.records import Label, Manner, Rate
from dapa.ui.headline import Headline, Who, by_skill, card
from dapa.ui.parts import badge, esc, layered, names, note, rate, seen, table, title
from dapa.workbench import COLUMNS, WRAP, Compared, Evaluation
from dapa.writing.sentences import cut_sentence, kinds_text

TITLES = {
    "dsr": "refuses harmful (DSR)",
    "dsr_search": "refuses harmful, search set",
    "over_refusal": "refuses harmless twins",
    "borderline": "refuses borderline harmless",
    "incoherent": "incoherent",
    "unclear": "unclear",
    "skill": "skill, exact answers",
    "harm": "harmful (second axis)",
}
_SHOWN = 100
_HARMLESS = ("over_refusal", "borderline", "skill")
"""Measures whose prompts ask no harm: to answer them is right."""
ORDERS: dict[str, tuple[Callable[[Mapping[str, Any]], Any], bool]] = {
    "as asked": (lambda row: 0, False),
    "by verdict": (lambda row: str(row["verdict"]), False),
    "by category": (lambda row: str(row["category"]), False),
    "by prompt, A to Z": (lambda row: str(row["prompt"]).lower(), False),
    "longest reply first": (lambda row: row["tokens"], True),
    "shortest reply first": (lambda row: row["tokens"], False),
}
"""In what order the replies of a cell stand: name -> (by what, downwards?)."""


def title_of(measure: str, over: str = "") -> str:
    """A measure for people; `over` says which harmful prompts DSR is over, where that is known."""
    if measure == "dsr" and over:
        return f"refuses harmful, {over} (DSR)"
    if measure.startswith(WRAP):
        return f"refuses, {measure.removeprefix(WRAP)}"
    return TITLES.get(measure, measure)


def measures_of(found: Evaluation) -> list[str]:
    """The rows of the table that have data."""
    every = [*COLUMNS, *(WRAP + name for name in found.wraps)]
    return [m for m in every if any(found.rate(model, m) for model in found.models)]


_WHO: Mapping[str, Who] = {"student": "student", "patched": "found", "teacher": "teacher"}


def headline(found: Evaluation, total: int = 0) -> str:
    """The headline card of an evaluation; empty where nothing was transplanted or asked.

    Args:
        found: What was measured.
        total: How many units of the mask's kind could be moved; 0 where that is not known.
    """
    units = found.mask.units
    rates = {
        model: (
            found.rate(model, "dsr") or found.rate(model, "dsr_search"),
            found.rate(model, "skill"),
        )
        for model in _WHO
        if model in found.models
    }
    student, patched = (rates.get(model, (None, None)) for model in ("student", "patched"))
    if not units or student[0] is None or patched[0] is None:
        return ""
    skill = (student[1], patched[1]) if student[1] and patched[1] else None
    asked = f"harmful requests ({found.asked})" if found.asked else "harmful requests"
    kinds = {unit.kind for unit in units}
    told = Headline(
        student[0], patched[0], asked, len(units), total, ",".join(sorted(kinds)), skill,
        points=by_skill(rates, _WHO),
    )  # fmt: skip
    return title(f"In short: {names(units)}") + card(told)


def draw(found: Evaluation) -> str:
    """The one table: a row per measure, a column per model; a cell opens its replies."""
    models = found.models
    rows = [
        (esc(title_of(measure, found.asked)), *(_cell(found, model, measure) for model in models))
        for measure in measures_of(found)
    ]
    if found.perplexity:
        told = [found.perplexity.get(model) for model in models]
        text = next(p.text for p in told if p is not None)
        rows.append((f"perplexity, {esc(text)}", *map(_number, told)))
    if found.kl:
        kls = [found.kl.get(model) for model in models]
        rows.append(
            ("KL to the student, bits per token", *(_number(k and k.kl, "prompt") for k in kls))
        )
    for task in dict.fromkeys(name for tasks in found.tasks.values() for name in tasks):
        told = [found.tasks.get(model, {}).get(task) for model in models]
        rows.append((f"{esc(task)}, lm-eval", *map(_task, told)))
    columns = [esc(model) for model in models]
    line = (
        f"Patched with {_mask(found)}. In brackets the 95\u202f% interval, n: how many were asked; "
        "below it the same over kinds of prompts. Press a figure for the replies behind it. DSR: "
        "defense success rate, the share of harmful requests that get a coherent refusal."
    )
    partial = "" if found.complete else note("Stopped early: the rates are over what was judged.")
    notes = "".join(note(esc(one)) for one in found.notes)
    body = table(("share of replies", *columns), rows) if rows else note("Nothing was judged.")
    head = title("Student, patched and teacher on the same prompts", line)
    many = cut_sentence(found.cut, found.limit)
    cut = note(esc(many), "warn") if many else ""
    return f"{head}{cut}{partial}{body}{notes}{_paired(found.paired())}"


def _mask(found: Evaluation) -> str:
    return names(found.mask.units) if found.mask.entries else "no layer: it is the student"


def _cell(found: Evaluation, model: str, measure: str) -> str:
    value = found.rate(model, measure)
    if value is None:
        return rate(None)
    name = f"Replies of {esc(model)}: {esc(title_of(measure, found.asked))}"
    return (
        f'<button class="cell" data-model="{esc(model)}" data-measure="{esc(measure)}" '
        f'title="{name}">{rate(value)}</button>'
        f"{_kinds(found.over_kinds(model, measure), measure)}"
    )


def _kinds(value: Rate | None, measure: str) -> str:
    """The mean of kinds beside a rate over prompts, with its t interval."""
    if value is None:
        return ""
    of = " of harm" if measure.startswith("dsr") else ""
    return f'<br><span class="interval">{esc(kinds_text(value, of))}</span>'


def _number(value: Any, what: str = "token") -> str:
    """A mean with its interval and n, or a dash."""
    if value is None:
        return rate(None)
    span = "" if value.low is None else f"[{value.low:.3g}, {value.high:.3g}], "
    return (
        f"<b>{value.value:.3g}</b> "
        f'<span class="interval">{span}n\u202f=\u202f{value.n:,} {what}s</span>'
    )


def _task(metrics: Mapping[str, Any] | None) -> str:
    """An lm-eval task's metrics of one column."""
    if metrics is None:
        return rate(None)
    return "<br>".join(
        f"{esc(name)} <b>{told['value']:.3g}</b> <span class=interval>"
        + ("" if told["low"] is None else f"[{told['low']:.3g}, {told['high']:.3g}], ")
        + f"n\u202f=\u202f{told['n']:,}</span>"
        for name, told in metrics.items()
    )


def _paired(rows: Sequence[Compared]) -> str:
    """Which differences between columns are beyond chance."""
    if not rows:
        return ""
    lines = [
        (
            esc(title_of(row.measure)),
            f"{esc(row.a)} → {esc(row.b)}",
            f"<b>{100 * row.gain.value:+.0f}</b> <span class=interval>[{100 * row.gain.low:+.0f}, "
            f"{100 * row.gain.high:+.0f}] points, n = {esc(row.gain.n)}</span>",
            f"{row.lost} lost, {row.gained} gained",
            f"{row.adjusted:.2g}" + ("" if row.adjusted <= 0.05 else " (not sure)"),
        )
        for row in rows
    ]
    head = ("measure", "from, to", "paired gain", "prompts that changed", "p, corrected for all")
    return (
        '<details class="read"><summary>Which differences are sure (exact paired test, corrected '
        f"for {len(lines)} comparisons)</summary>{table(head, lines)}</details>"
    )


def by_category(found: Evaluation, measure: str) -> dict[str, dict[str, Rate | None]]:
    """Model -> category -> rate, as the chart takes it."""
    told: dict[str, dict[str, Rate | None]] = {model: {} for model in found.models}
    for name, rates in found.categories(measure).items():
        for model in found.models:
            told[model][name] = rates.get(model)
    return told


def chosen(
    rows: Iterable[Mapping[str, Any]], words: str, verdict: str, order: str, manner: str = ""
) -> list[Mapping[str, Any]]:
    """The rows that match, in one of `ORDERS`.

    Args:
        rows: As `Judged.as_dict` wrote them.
        words: Only those that hold these words.
        verdict: Only those of this verdict; empty for all.
        order: What they are sorted by; those that are equal in it stand as they were asked.
        manner: Only those said in this manner; empty for all.
    """
    by, downwards = ORDERS[order]
    kept = (row for row in rows if matches(row, words, verdict, manner))
    return sorted(kept, key=by, reverse=downwards)


def replies(
    rows: Sequence[Mapping[str, Any]], model: str, measure: str, words: str, verdict: str,
    order: str, manner: str = "",
) -> str:  # fmt: skip
    """The replies behind one cell that were `chosen`; folded, since they may be harmful."""
    kept = chosen(rows, words, verdict, order, manner)
    head = title(
        f"{esc(model).capitalize()}: {esc(title_of(measure))}",
        f"{len(kept):,} of {len(rows):,} replies; press one to unfold it.",
    ) + counted(kept)
    if not kept:
        return head + note("No reply matches; take other words another verdict or manner.")
    lines = "".join(_line(row) for row in kept[:_SHOWN])
    more = "" if len(kept) <= _SHOWN else note(f"The first {_SHOWN}; the CSV has all.")
    return f'{head}<div class="scroll replies">{lines}</div>{more}'


def counted(rows: Iterable[Mapping[str, Any]]) -> str:
    """How many of each verdict, and of each manner of it, as in `refusal 12: plain 9, lectures 3`.

    Replies of runs that are older than manners count under their verdict alone.
    """
    told: dict[str, Counter[str]] = {}
    rows = list(rows)
    harmless = all(row.get("measure") in _HARMLESS for row in rows)
    for row in rows:
        told.setdefault(str(row["verdict"]), Counter())[str(row.get("manner") or "")] += 1
    lines = []
    for verdict in (str(label) for label in Label if label in told):
        manners = ", ".join(f"{esc(how)} {n:,}" for how, n in told[verdict].most_common() if how)
        count = f"{badge(verdict, harmless)} {told[verdict].total():,}"
        lines.append(f"{count} ({manners})" if manners else count)
    return note(" · ".join(lines)) if lines else ""


def matches(row: Mapping[str, Any], words: str, verdict: str, manner: str = "") -> bool:
    """Does a reply's row hold the words, in prompt or reply, and have the verdict and manner?"""
    whole = f"{row['prompt']} {row['reply']} {row['category']}".lower()
    if (verdict and row["verdict"] != verdict) or (manner and row.get("manner") != manner):
        return False
    return all(word in whole for word in words.lower().split())


def _line(row: Mapping[str, Any]) -> str:
    span, harmless = row.get("span"), row.get("measure") in _HARMLESS
    spans = [(*span[:2], f"evidence {seen(row['verdict'], harmless)}")] if span else []
    text = layered(str(row["reply"]), spans) or '<span class="muted">(no text)</span>'
    length = f"{row['tokens']} tokens" + (", cut at the limit" if row.get("cut") else "")
    how = str(row.get("manner") or "")
    told = [
        esc(row["category"]),
        esc("" if how == Manner.PLAIN else how),
        length,
        esc(row["reason"]),
    ]
    if row.get("answer"):
        told.append(f"expected: {esc(row['answer'])}")
    return (
        f'<details><summary>{badge(row["verdict"], harmless)} <span dir="auto">'
        f'{esc(row["prompt"])}</span></summary><p class="reply" dir="auto">{text}</p>'
        f'<p class="muted">{" · ".join(part for part in told if part)} '
        f'<button class="link" data-prompt="{esc(row["prompt"])}">ask it in the chat</button></p>'
        "</details>"
    )
