"""Where the refusal gap sits at all: parts of the model alone and left out, and templates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dapa.core.measurement import Call, Measurement, Shown, Table, measurements
from dapa.prompts.settings import ContrastSettings
from dapa.workbench.measurements.asking import (
    NOTHING,
    against,
    effect,
    effect_text,
    openers_note,
    origin,
)
from dapa.writing.numbers import percent, plain

if TYPE_CHECKING:
    from dapa.localize.gap import GapBudget


def _measure(call: Call) -> GapBudget:
    bad, good, twins = against(call)
    found: GapBudget = call.bench.gap(
        bad,
        harmless=good,
        twins=twins,
        how=call.settings.format(),
        progress=call.counted("prompts"),
        stop=call.stop,
    )
    return found


def _signed(value: float) -> str:
    """With its sign, a minus that is no hyphen."""
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _above(value: float) -> str:
    """A gap to a tenth; a smaller one with the digits that it has."""
    return f"{value:.1f}" if value >= 0.05 else plain(value)


def _finding(found: GapBudget) -> str:
    """Where the gap sits, hedged where the interval includes zero."""
    whole = found.whole
    if not whole.low > 0:
        return (
            "The teacher's refusal log-odds are not clearly above the student's "
            f"({effect_text(whole)}, n = {whole.n}): there may be nothing to find."
        )
    largest = found.largest
    start = (
        f"The teacher's refusal log-odds ({_signed(found.teacher.value)}) stand "
        f"{_above(whole.value)} above the student's ({_signed(found.student.value)}; n = {whole.n})"
        f"{', less what harmless prompts show' if found.harmless else ''}."
    )
    if largest is None:
        return f"{start} No part of the weights differs: look at the templates."
    share = largest.alone.value / whole.value
    if not largest.alone.low > 0:
        return f"{start} No single part of the model clearly brings any of it alone."
    verb = "brings" if largest.name in ("rest", "attention") else "bring"
    told = f"{start} The {largest.title} alone {verb} {percent(max(share, 0.0), 0)} of that"
    together = next((row for row in found.rows if row.name == "mlp" and row.differs), None)
    if (
        together is not None
        and largest.name in ("gate", "rest")
        and together.alone.low > largest.alone.high
    ):  # a half is not the answer where both halves clearly bring more
        whole_mlp = percent(together.alone.value / whole.value, 0)
        return f"{told}; the whole MLP brings {whole_mlp}."
    return f"{told}."


def _describe(found: GapBudget) -> Shown:
    if not found.whole.n:
        return NOTHING
    from dapa.figures.gap import template_title

    parts = [
        (row.title, effect(row.alone), effect(row.left_out), percent(row.share, 1))
        if row.differs
        else (row.title, "equal in both", "", percent(row.share, 1))
        for row in found.rows
    ]
    templates = [
        (template_title(cell), cell.weights, cell.reason or effect(cell.log_odds))
        for cell in found.templates
    ]
    less = (
        f", parts and gap less {found.harmless} harmless ones"
        if found.harmless
        else ", harmless ones not subtracted"
    )
    return Shown(
        _finding(found),
        (
            Table(("part", "alone", "left out", "of all parameters"), parts),
            Table(("template", "weights", "refusal log-odds"), templates),
        ),
        (
            "Alone: the student with the teacher’s part. Left out: what the teacher loses with the "
            f"student’s part. Parts do not add up. n = {found.whole.n} prompts{less}, 95 % "
            "intervals.",
            "Refusal log-odds: how likely the reply’s first word opens a refusal, against all else "
            "(a logarithm). 0 is even, +2.3 is ten to one, −2.3 one to ten.",
            *dict.fromkeys(openers_note(openers.told) for openers in found.openers),
        ),
    )


def _figures(found: GapBudget, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures.gap import gap_chart, template_chart

    return [
        ("by part of the model", gap_chart(found, dark)),
        ("by chat template", template_chart(found, dark)),
    ]


measurements.add("gap", "where at all")(
    Measurement(
        "Where at all?",
        "Where the refusal gap sits",
        "Tell where the refusal gap sits at all: gates, rest of the MLP, attention, norms, ends."
        "\n\n"
        "Each part alone (the student with the teacher's part) and left out (the teacher with the "
        "student's), in refusal log-odds; then both models under each chat template, with and "
        "without --system. Ctrl-C stops with the prompts measured so far.",
        "Each part of the model alone and left out, then both models under each template: look "
        "here before any search.",
        "pair",
        ContrastSettings,
        _measure,
        _describe,
        _figures,
        origin=origin,
    )
)
