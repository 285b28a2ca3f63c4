"""`runs compare`: two stored searches side by side, from the store alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dapa.core.records import Rate, StoreError
from dapa.workbench import Run

RATES = ("student", "full", "best", "student_held_out", "full_held_out", "held_out")
COSTS = ("tests", "memo_hits", "prompts_judged", "prompts_spared", "tokens", "seconds")


def compared(first: Run, second: Run) -> dict[str, Any]:
    """What was set otherwise, what each found, how much each refuses and what each cost.

    Raises:
        StoreError: A run that is no search, or has no result yet.
    """
    for run in (first, second):
        if run.kind != "search" or not (run.result or {}).get("units"):
            raise StoreError(
                f"run {run.id} ({run.kind}, {run.state}) has no found set to compare; "
                "choose two searches that ended"
            )
    a, b = first.result or {}, second.result or {}
    ours, theirs = list(a["units"]), list(b["units"])
    both = [unit for unit in ours if unit in theirs]
    either = len(set(ours) | set(theirs))
    held = [_rate(body, "held_out") for body in (a, b)]
    apart = None
    if held[0] is not None and held[1] is not None:
        apart = held[0].low > held[1].high or held[1].low > held[0].high
    return {
        "runs": [{"id": r.id, "title": r.title, "state": r.state} for r in (first, second)],
        "settings": _otherwise(first.settings, second.settings),
        "units": {
            "both": both,
            "only_first": [unit for unit in ours if unit not in theirs],
            "only_second": [unit for unit in theirs if unit not in ours],
            "jaccard": len(both) / either if either else 1.0,
        },
        "one_minimal": [bool(body.get("one_minimal")) for body in (a, b)],
        "dsr": {name: [(body.get("dsr") or {}).get(name) for body in (a, b)] for name in RATES},
        "intervals_apart": apart,
        "costs": {name: [body.get(name) for body in (a, b)] for name in COSTS},
    }


def _rate(body: Mapping[str, Any], name: str) -> Rate | None:
    rate = (body.get("dsr") or {}).get(name)
    return Rate(**rate) if rate else None


def _otherwise(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Only what was set otherwise; the pair by its parts."""
    from dapa.workbench import SearchSettings

    rules = SearchSettings.from_dict({}).as_dict()  # what one was in a run that did not keep it yet
    flat = [
        {**{k: v for k, v in s.items() if k not in ("pair", "date")}, **_named(s.get("pair") or {})}
        for s in (first, second)
    ]
    keys = dict.fromkeys([*flat[0], *flat[1]])
    values = {key: [side.get(key, rules.get(key)) for side in flat] for key in keys}
    return {key: pair for key, pair in values.items() if pair[0] != pair[1]}


def _named(pair: Mapping[str, Any]) -> dict[str, Any]:
    return {f"pair {key}": value for key, value in pair.items() if key != "planted"}


def rows_of(body: Mapping[str, Any]) -> dict[str, list[tuple[Any, ...]]]:
    """The comparison as rows for people: settings, rates and costs."""

    def rate(value: Any) -> Any:
        return Rate(**value) if isinstance(value, dict) else value

    def short(value: Any) -> Any:
        return f"{value:.1f}" if isinstance(value, float) else value

    return {
        "settings": [(key, *map(str, pair)) for key, pair in body["settings"].items()],
        "rates": [
            (name.replace("_", " "), *map(rate, pair))
            for name, pair in body["dsr"].items()
            if any(pair)
        ],
        "costs": [
            (name.replace("_", " "), *map(short, pair)) for name, pair in body["costs"].items()
        ],
    }
