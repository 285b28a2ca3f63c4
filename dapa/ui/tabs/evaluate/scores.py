"""An evaluation as HTML: the one table, what differs surely, and the replies behind a cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dapa.core.html import Html, html, joined
from dapa.core.records import Label, Manner, Mask, Rate
from dapa.figures.rates import TITLES
from dapa.ui.headline import Headline, Who, by_skill, card
from dapa.ui.parts import (
    at_strength,
    badge,
    begun_words,
    exactly,
    layered,
    mean,
    names,
    note,
    over_kinds,
    rate,
    seen,
    table,
    title,
)
from dapa.workbench import COLUMNS, WRAP, Compared, Evaluation
from dapa.writing.numbers import p_text, plain
from dapa.writing.sentences import cut_sentence

KL = "KL to the student, bits per token"
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


def as_table(found: Evaluation) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Headers and rows of the table's CSV: a row a measure and a model."""
    rows: list[tuple[Any, ...]] = []
    for model in found.models:
        for measure in measures_of(found):
            if (rate := found.rate(model, measure)) is not None:
                rows.append((measure, model, rate.value, rate.low, rate.high, rate.n))
        if (text := found.perplexity.get(model)) is not None:
            rows.append(("perplexity", model, text.value, text.low, text.high, text.n))
        if (drift := found.kl.get(model)) is not None:
            kl = drift.kl
            rows.append(("kl", model, kl.value, kl.low, kl.high, kl.n))
    return ("measure", "model", "value", "low", "high", "n"), rows


_WHO: Mapping[str, Who] = {"student": "student", "patched": "found", "teacher": "teacher"}


def headline(found: Evaluation, total: int = 0) -> Html:
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
        return html("")
    skill = (student[1], patched[1]) if student[1] and patched[1] else None
    asked = f"harmful requests ({found.asked})" if found.asked else "harmful requests"
    kinds = {unit.kind for unit in units}
    told = Headline(
        student[0], patched[0], asked, len(units), total, ",".join(sorted(kinds)), skill,
        points=by_skill(rates, _WHO),
    )  # fmt: skip
    return title(f"In short: {names(units)}{at_strength(found.mask)}") + card(told)


def draw(found: Evaluation) -> Html:
    """The one table: a row per measure, a column per model; a cell opens its replies."""
    models = found.models
    rows = [
        (title_of(measure, found.asked), *(_cell(found, model, measure) for model in models))
        for measure in measures_of(found)
    ]
    if found.perplexity:
        told = [found.perplexity.get(model) for model in models]
        text = next(p.text for p in told if p is not None)
        cells = (mean(one and one.as_dict(), "token") for one in told)
        rows.append((f"perplexity, {text}", *cells))
    if found.kl:
        kls = [found.kl.get(model) for model in models]
        rows.append((KL, *(mean(kl and kl.as_dict()["kl"], "prompt") for kl in kls)))
    for task in dict.fromkeys(name for tasks in found.tasks.values() for name in tasks):
        told = [found.tasks.get(model, {}).get(task) for model in models]
        rows.append((f"{task}, lm-eval", *map(_task, told)))
    line = (
        f"Patched with {_mask(found)}. In brackets the 95\u202f% interval, n: how many were asked; "
        "below it the same over kinds of prompts. Press a figure for the replies behind it. DSR: "
        "defense success rate, the share of harmful requests that get a coherent refusal."
    )
    notes = joined(note(one) for one in found.notes)
    head = ("share of replies", *heads(models, found.beside))
    body = table(head, rows) if rows else note("Nothing was judged.")
    top = title("Student, patched and teacher on the same prompts", line)
    many = cut_sentence(found.cut, found.limit)
    cut = note(many, "warn") if many else ""
    return joined((top, cut, body, notes, _paired(found.paired())))


def heads(models: Iterable[str], beside: Mapping[str, Mask]) -> list[Html]:
    """The columns' names; under a saved mask's what it transplants, which no number tells."""
    return [
        html('{}<br><span class="interval">{}</span>', name, exactly(beside[name]))
        if name in beside
        else html("{}", name)
        for name in models
    ]


def _mask(found: Evaluation) -> str:
    mask = found.mask
    none = "no layer: it is the student"
    return names(mask.units) + at_strength(mask) if mask.entries else none


def _cell(found: Evaluation, model: str, measure: str) -> Html:
    value = found.rate(model, measure)
    if value is None:
        return rate(None)
    name = f"Replies of {model}: {title_of(measure, found.asked)}"
    return html(
        '<button class="cell" data-model="{model}" data-measure="{measure}" '
        'title="{name}">{rate}</button>{kinds}',
        model=model, measure=measure, name=name, rate=rate(value),
        kinds=over_kinds(
            found.over_kinds(model, measure), " of harm" if measure.startswith("dsr") else ""
        ),
    )  # fmt: skip


def _task(metrics: Mapping[str, Any] | None) -> Html:
    """An lm-eval task's metrics of one column."""
    if metrics is None:
        return rate(None)
    return html("<br>").join(
        html(
            '{} <b>{}</b> <span class="interval">{}n\u202f=\u202f{:,}</span>',
            name, plain(told["value"]),
            "" if told["low"] is None else f"[{plain(told['low'])}, {plain(told['high'])}], ",
            told["n"],
        )
        for name, told in metrics.items()
    )  # fmt: skip


def _points(gain: float) -> str:
    """A gain in points with its sign, as in `+12` or `−3`; `0` where there is none."""
    told = f"{100 * gain:+.0f}".replace("-", "\u2212")
    return "0" if told[1:] == "0" else told


def _paired(rows: Sequence[Compared]) -> Html:
    """Which differences between columns are beyond chance; the surest first."""
    if not rows:
        return html("")
    lines = [
        (
            title_of(row.measure),
            f"{row.a} → {row.b}",
            html(
                '<b>{}</b> <span class="interval">[{}, {}] points, n = {}</span>',
                *map(_points, (row.gain.value, row.gain.low, row.gain.high)), row.gain.n,
            ),
            f"{row.lost} lost, {row.gained} gained",
            str(p_text(row.adjusted)) + ("" if row.adjusted <= 0.05 else " (not sure)"),
        )
        for row in sorted(rows, key=lambda row: row.adjusted)
    ]  # fmt: skip
    head = ("measure", "from, to", "paired gain", "prompts that changed", "p, corrected for all")
    return html(
        '<details class="read"><summary>Which differences are sure (exact paired test, corrected '
        "for {} comparisons)</summary>{}</details>",
        len(lines),
        table(head, lines),
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
) -> Html:  # fmt: skip
    """The replies behind one cell that were `chosen`; folded, since they may be harmful."""
    kept = chosen(rows, words, verdict, order, manner)
    head = title(
        f"{model.capitalize()}: {title_of(measure)}",
        f"{len(kept):,} of {len(rows):,} replies; press one to unfold it.",
    ) + counted(kept)
    if not kept:
        return head + note("No reply matches; take other words, another verdict or another manner.")
    lines = joined(_line(row) for row in kept[:_SHOWN])
    more = "" if len(kept) <= _SHOWN else note(f"The first {_SHOWN}; the CSV has all.")
    return html('{}<div class="scroll replies">{}</div>{}', head, lines, more)


def counted(rows: Iterable[Mapping[str, Any]]) -> Html:
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
        manners = ", ".join(f"{how} {n:,}" for how, n in told[verdict].most_common() if how)
        how = f" ({manners})" if manners else ""
        lines.append(html("{} {:,}{}", badge(verdict, harmless), told[verdict].total(), how))
    return note(joined(lines, " · ")) if lines else html("")


def matches(row: Mapping[str, Any], words: str, verdict: str, manner: str = "") -> bool:
    """Does a reply's row hold the words, in prompt or reply, and have the verdict and manner?"""
    whole = f"{row['prompt']} {row['reply']} {row['category']}".lower()
    if (verdict and row["verdict"] != verdict) or (manner and row.get("manner") != manner):
        return False
    return all(word in whole for word in words.lower().split())


def _line(row: Mapping[str, Any]) -> Html:
    span, harmless = row.get("span"), row.get("measure") in _HARMLESS
    spans = [(*span[:2], f"evidence {seen(row['verdict'], harmless)}")] if span else []
    text = layered(str(row["reply"]), spans) or html('<span class="muted">(no text)</span>')
    begun = begun_words(str(row.get("begun") or ""))
    length = f"{row['tokens']} tokens" + (", cut at the limit" if row.get("cut") else "")
    how = str(row.get("manner") or "")
    told = [
        row["category"],
        "" if how == Manner.PLAIN else how,
        length,
        row["reason"],
    ]
    if row.get("answer"):
        told.append(f"expected: {row['answer']}")
    return html(
        '<details><summary>{badge} <span dir="auto">{prompt}</span></summary>'
        '<p class="reply" dir="auto">{text}</p><p class="muted">{about} '
        '<button class="link" data-prompt="{prompt}">ask it in the chat</button></p>'
        "</details>",
        badge=badge(row["verdict"], harmless), prompt=row["prompt"], text=begun + text,
        about=" · ".join(part for part in map(str, told) if part),
    )  # fmt: skip
