"""A stored evaluation as HTML: its table, and two of them side by side, from the store alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dapa.core.html import Html, html, joined
from dapa.core.records import Mask, Rate, SettingError
from dapa.ui.parts import exactly, mean, note, rate, table, title
from dapa.ui.tabs.evaluate.scores import KL, heads, title_of
from dapa.workbench import COLUMNS, WRAP, Run, titled
from dapa.writing.sentences import ENDED_FIRST

_MEANS = {"perplexity": ("perplexity", "token"), "kl": (KL, "prompt")}
"""What is no share of replies: its key in the store -> (its row's name, what it is a mean over)."""


def draw(run: Run) -> Html:
    """The one table; a cell opens its replies."""
    told = run.result or {}
    models, over = told.get("models") or {}, str(told.get("dsr_over") or "")
    if not models:
        return note("Nothing was judged.")
    names = list(models)
    rows = [
        (title_of(measure, over), *(_cell(models, name, measure, over) for name in names))
        for measure in measures(models)
    ]
    for key, (row, of) in _MEANS.items():
        if any(models[name].get(key) for name in names):
            rows.append((row, *(mean(models[name].get(key), of) for name in names)))
    mask = exactly(mask_of(run))
    judge = titled(str(told.get("judge", "")))
    line = f"Patched with {mask}; judged by {judge}. Press a rate to read on."
    whole = told.get("complete", True)
    partial = "" if whole else note(f"Stopped early: of what was judged. {ENDED_FIRST}")
    notes = joined(note(one) for one in told.get("notes") or [])
    body = table(("share of replies", *heads(names, beside_of(run))), rows)
    return title("What each model did", line) + partial + body + notes


def mask_of(run: Run) -> Mask:
    """What the patched column transplanted."""
    return Mask.parse(str(run.settings.get("mask") or ""))


def beside_of(run: Run) -> dict[str, Mask]:
    """The saved masks that have columns of their own, by their names."""
    saved = run.settings.get("saved") or {}
    return {str(name): Mask.parse(str(key)) for name, key in saved.items()}


def measures(models: Mapping[str, Any]) -> list[str]:
    """The rows of the table that have data."""
    wraps = dict.fromkeys(name for column in models.values() for name in column.get("wraps") or {})
    every = [*COLUMNS, *(WRAP + name for name in wraps)]
    return [m for m in every if any(rate_of(column, m) for column in models.values())]


def rate_of(column: Mapping[str, Any], measure: str) -> Rate | None:
    """One stored rate."""
    held = column.get("wraps") or {} if measure.startswith(WRAP) else column
    told = held.get(measure.removeprefix(WRAP))
    return Rate(**told) if told else None


def _cell(models: Mapping[str, Any], name: str, measure: str, over: str) -> Html:
    value = rate_of(models[name], measure)
    if value is None:
        return rate(None)
    label = f"Replies of {name}: {title_of(measure, over)}"
    return html(
        '<button class="cell" data-model="{name}" data-measure="{measure}" '
        'aria-label="{label}">{rate}</button>',
        name=name, measure=measure, label=label, rate=rate(value),
    )  # fmt: skip


def beside(first: Run, second: Run, name: str, other: str) -> Html:
    """Two evaluations, measure by measure; `name` and `other` are what they are called.

    Raises:
        SettingError: One of them has no table.
    """
    tables = [(run.result or {}).get("models") or {} for run in (first, second)]
    if not all(tables):
        raise SettingError("one of these evaluations has no table yet; choose two that ended")
    apart, same = [], []
    every = dict.fromkeys([*tables[0], *tables[1]])
    for measure in dict.fromkeys([*measures(tables[0]), *measures(tables[1])]):
        for model in every:
            a, b = (rate_of(models.get(model) or {}, measure) for models in tables)
            if a is None and b is None:
                continue
            row = (title_of(measure), model, rate(a), rate(b))
            if a == b:
                same.append(row)
            else:
                apart.append((*row, _clear(a, b)))
    for key, (name_of, of) in _MEANS.items():
        for model in every:
            told = [(models.get(model) or {}).get(key) for models in tables]
            if not any(told):
                continue
            row = (name_of, model, *(mean(one, of) for one in told))
            if told[0] == told[1]:
                same.append(row)
            else:
                apart.append((*row, _clear(*map(_between, told))))
    masks = html(
        "<b>A</b> patched with {} · <b>B</b> patched with {}",
        exactly(mask_of(first)),
        exactly(mask_of(second)),
    )
    judges = [(run.result or {}).get("judge") for run in (first, second)]
    strange = (
        "" if judges[0] == judges[1] else note("Other judges: read the rates with care.", "warn")
    )
    limits = [run.settings.get("max_new_tokens") for run in (first, second)]
    if limits[0] != limits[1]:
        strange += note("Other token limits: read the rates with care.", "warn")
    return html(
        "{}{}{}{}",
        title("Two evaluations side by side", html("<b>A</b> {} · <b>B</b> {}", name, other)),
        note(masks), strange, _differing(apart) + _alike(same),
    )  # fmt: skip


def _clear(a: Rate | None, b: Rate | None) -> str:
    """What may be said of a difference: intervals that do not overlap tell it for sure."""
    if a is None or b is None:
        return "not asked in both"
    if a.low > b.high or b.low > a.high:
        return f"{'A' if a.value > b.value else 'B'} clearly more"
    return "intervals overlap"


def _between(told: Mapping[str, Any] | None) -> Rate | None:
    """A stored mean by its interval; None where it has none."""
    if not told or told.get("value") is None or told.get("low") is None:
        return None
    return Rate(told["value"], told["low"], told["high"], int(told.get("n") or 0))


def _differing(rows: Sequence[Sequence[Any]]) -> Html:
    if not rows:
        return note("Every figure is the same in both.")
    return table(("share of replies", "model", "A", "B", "difference"), rows)


def _alike(rows: Sequence[Sequence[Any]]) -> Html:
    """What both have alike, folded: most often student and teacher, whom no mask changes."""
    if not rows:
        return html("")
    return html(
        '<details class="read"><summary>{} the same in both</summary>{}</details>',
        "1 figure is" if len(rows) == 1 else f"{len(rows)} figures are",
        table(("share of replies", "model", "A", "B"), rows),
    )  # fmt: skip


def figures(first: Run, second: Run) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The comparison's figures of either evaluation, unrounded, a row each."""
    a, b = (_figures((run.result or {}).get("models") or {}) for run in (first, second))
    return a, b


def _figures(models: Mapping[str, Any]) -> list[dict[str, Any]]:
    shares = [
        {"part": "share of replies", "row": measure, "model": model, **found.as_dict()}
        for measure in measures(models)
        for model in models
        if (found := rate_of(models[model], measure))
    ]
    ends = ("value", "low", "high", "n")
    means = [
        {"part": "mean", "row": key, "model": model, **{end: told.get(end) for end in ends}}
        for key in _MEANS
        for model in models
        if (told := models[model].get(key))
    ]
    return shares + means
