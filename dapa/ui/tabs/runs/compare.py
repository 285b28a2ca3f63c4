"""Two stored runs side by side: what was set otherwise, what each found, what each cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dapa.core.html import Html, html
from dapa.core.records import EMPTY, Mask, Rate
from dapa.ui.forest import Dot, Line, forest
from dapa.ui.parts import names, note, number, percent, rate, seconds, table, title
from dapa.ui.tabs.search.result import report_of
from dapa.workbench import Run, SearchReport, method_of
from dapa.writing.numbers import THIN
from dapa.writing.sentences import overlap_sentence
from dapa.writing.unit_names import searched_text

_WORDS = {
    "algorithm": "algorithm",
    "kind": "kind of site",
    "retain": "share of the gain to keep",
    "target": "absolute target (DSR)",
    "max_new_tokens": "tokens a reply",
    "prompt_limit": "search prompts at most",
    "max_tests": "tests at most",
    "max_tokens": "tokens at most",
    "max_seconds": "seconds at most",
    "max_kl": "KL at most, bits a token",
    "screen": "likeliest first",
    "canonical": "one batch shape",
    "harmless": "harmless prompts",
    "seed": "seed",
    "prompts": "prompt file",
    "whose": "template of",
    "mode": "prompt format",
    "system": "system prompt",
    "thinking": "thinking",
    "effort": "reasoning effort",
    "prior": "prior",
    "blocks": "blocks a site",
    "rank": "rank of what moves",
}
Reports = tuple[SearchReport | None, SearchReport | None]
_PAIRED = ("student", "teacher", "dtype")


def draw(first: Run, second: Run, name: str, other: str) -> Html:
    """The comparison, for a card; `name` and `other` are what the runs are called."""
    runs = (first, second)
    reports = (report_of(first), report_of(second))
    masks = [report.mask if report else EMPTY for report in reports]
    rates = [_telling(report) for report in reports]
    head = title("Two runs side by side", html("<b>A</b> {} · <b>B</b> {}", name, other))
    told = ""
    if all(masks):
        told = html('<p class="finding">{}</p>', _sentence(masks, rates))
    elif not any(run.result for run in runs):
        told = note("Neither run has a result yet.")
    strange = _strange(first, second)
    return html(
        '{}{}{}<div class="two"><div>{}{}</div><div>{}{}</div></div>',
        head, told, strange, _settings(first, second), _layers(masks), _rates(reports),
        _costs(runs, reports),
    )  # fmt: skip


def _telling(report: SearchReport | None) -> tuple[Rate | None, bool]:
    """The found set's DSR and whether it is of held-out prompts."""
    rates = report.rates if report else {}
    held_out = rates.get("held_out")
    return (held_out, True) if held_out else (rates.get("best"), False)


def _sentence(masks: list[Mask], rates: list[tuple[Rate | None, bool]]) -> str:
    both = rates[0][0], rates[1][0]
    where = "held-out" if rates[0][1] and rates[1][1] else "search"
    return overlap_sentence(
        [str(unit) for unit in masks[0]], [str(unit) for unit in masks[1]], *both, where
    )


def _strange(first: Run, second: Run) -> Html:
    """A warning where the rates are not of the same question."""
    spec, other = (run.settings.get("pair") or {} for run in (first, second))
    apart = [key for key in _PAIRED if spec.get(key) != other.get(key)]
    if apart:
        return note(f"Other pairs ({', '.join(apart)}): read the rates with care.", "warn")
    if first.settings.get("prompts") != second.settings.get("prompts"):
        return note("Other prompt files: the rates are not of the same prompts.", "warn")
    return html("")


def _settings(first: Run, second: Run) -> Html:
    """Only what was set otherwise."""
    rows = [(w, _value(w, a), _value(w, b)) for w, a, b in _otherwise(first, second)]
    same = sum(key in first.settings or key in second.settings for key in _WORDS) - len(rows)
    rest = note(f"{same} other settings are the same.") if same else ""
    if not rows:
        return title("Settings") + note("Both were set alike.")
    return table(("set otherwise", "A", "B"), rows) + rest


def _otherwise(first: Run, second: Run) -> Iterator[tuple[str, Any, Any]]:
    for key, word in _WORDS.items():
        a, b = first.settings.get(key), second.settings.get(key)
        if a != b:
            yield word, a, b


def _value(word: str, value: Any) -> str:
    if word == _WORDS["algorithm"]:
        return method_of({"algorithm": value})
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if word == _WORDS["kind"]:
        return searched_text(str(value))[:80]
    if word in (_WORDS["retain"], _WORDS["target"]) and isinstance(value, float):
        return f"{100 * value:.4g}{THIN}%"
    counted = isinstance(value, int) and word != _WORDS["seed"]
    return f"{value:,}" if counted else str(value)[:80]


def _layers(masks: list[Mask]) -> Html:
    a, b = (set(mask.units) for mask in masks)
    rows = [
        ("found by both", names(sorted(a & b)) if a & b else "–", str(len(a & b))),
        ("only by A", names(sorted(a - b)) if a - b else "–", str(len(a - b))),
        ("only by B", names(sorted(b - a)) if b - a else "–", str(len(b - a))),
    ]
    return table(("units", "which", "how many"), rows, numeric=[2])


def _rates(reports: Reports) -> Html:
    lines = []
    for word, key in (
        ("student", "student_held_out"),
        ("found set", "held_out"),
        ("every unit", "full_held_out"),
        ("found set, search prompts", "best"),
    ):
        for letter, report in zip("AB", reports, strict=True):
            value = report.rates.get(key) if report else None
            if value is not None:
                look = "grey" if key.startswith("student") else "blue" if letter == "A" else "open"
                dot = Dot(value, look, letter)
                lines.append(Line(f"{letter} · {word}", [dot], [rate(value)]))
    if not lines:
        return html("")
    return forest(("held out unless said", "DSR, 0 to 100 %", "95 % interval"), lines)


def _costs(runs: tuple[Run, Run], reports: Reports) -> Html:
    def row(word: str, show: Callable[[SearchReport], str]) -> tuple[str, ...]:
        return (word, *("–" if report is None else show(report) for report in reports))

    def ended(run: Run, report: SearchReport | None) -> str:
        return report.stop_reason if report else (run.result or {}).get("error") or "–"

    rows = [
        row("1-minimal", lambda report: "yes" if report.claimed.sure else "not shown"),
        row("firm removals", _firm),
        ("ended", *map(ended, runs, reports)),
        row("tests", lambda report: number(report.costs.tests)),
        row("answered from memory", lambda report: number(report.costs.memo_hits)),
        row("prompts judged", lambda report: number(report.costs.prompts_judged)),
        row("tokens", lambda report: number(report.costs.tokens)),
        row("seconds", lambda report: seconds(report.costs.seconds)),
    ]
    return table(("cost and certificate", "A", "B"), rows, numeric=[1, 2])


def _firm(report: SearchReport) -> str:
    if not report.removals:
        return "–"
    firm = len(report.claimed.firm)
    return f"{firm} of {len(report.removals)} ({percent(firm / len(report.removals), 0)})"


def figures(first: Run, second: Run) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The comparison's figures of either run, unrounded, a row each."""
    apart = list(_otherwise(first, second))
    return (
        _figures(first, [(word, a) for word, a, _ in apart]),
        _figures(second, [(word, b) for word, _, b in apart]),
    )


def _figures(run: Run, settings: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"part": "set otherwise", "row": word, "value": value} for word, value in settings
    ]
    report = report_of(run)
    if report is None:
        return rows
    rows += [{"part": "units", "row": "found", "value": str(unit)} for unit in report.units]
    rows += [{"part": "DSR", "row": key, **told.as_dict()} for key, told in report.rates.items()]
    sure: list[tuple[str, Any]] = [
        ("1-minimal", report.claimed.sure),
        ("firm removals", len(report.claimed.firm)),
        ("removals", len(report.removals)),
        ("ended", report.stop_reason),
    ]
    rows += [{"part": "certificate", "row": word, "value": value} for word, value in sure]
    costs = report.costs.as_dict()
    spent = {word: value for word, value in costs.items() if isinstance(value, int | float)}
    return rows + [{"part": "cost", "row": word, "value": value} for word, value in spent.items()]
