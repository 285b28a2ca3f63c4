"""What a search cost and what it was spared, in lines for people: for screen and terminal alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dapa.writing.numbers import THIN, percent

PHASES = {
    "prior": "ranking the units",
    "screen": "a first guess: which are likeliest",
    "opening": "before the search: the student, and every unit",
    "search": "search",
    "choose": "choosing: which units can go",
    "certify": "certifying: the chain, on prompts that chose nothing",
    "floor": "the smallest sets: which surely lose",
    "removals": "firm or undecided: the set less each unit",
    "certificate": "certificate: each unit left out",
    "superset": "larger sets: does adding undo it?",
    "reserve": "firm or undecided: removals on prompts that chose nothing",
    "full-length": "again at full length",
    "smaller": "sets of fewer units that were seen to do",
    "canonical": "again in batches of one shape",
    "locked": "locked prompts, once",
    "held-out": "held-out prompts",
}
"""What people call the phases of a search, in their order."""


def cost_lines(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, how much) of a search's JSON form; what an older run did not count is left out."""
    count = {name: _of(result, name) for name in _COUNTED}
    work: Mapping[str, Any] = result.get("work") or {}
    read, known = float(work.get("prefilled") or 0), float(work.get("reused") or 0)
    ahead = f"; {count['speculative']:,.0f} more masks were judged ahead and not asked about"
    lines = [
        ("tests", f"{count['tests']:,.0f}" + (ahead if count["speculative"] else "")),
        (
            "answered from memory",
            f"{count['memo_hits']:,.0f} test{'s' * (count['memo_hits'] != 1)}",
        ),
        (
            "replies",
            f"{count['prompts_judged']:,.0f} judged, {count['prompts_spared']:,.0f} spared by "
            f"stopping early, {count['recalled']:,.0f} recalled",
        ),
        ("new tokens", f"{count['tokens']:,.0f} of judged replies"),
    ]
    if read + known:
        part = percent(known / (read + known))
        lines.append(("prompt tokens", f"{read:,.0f} read, {known:,.0f} reused ({part})"))
    if count["gpu_seconds"]:
        lines.append(("GPUs", f"{count['gpu_seconds']:.1f} GPU-seconds"))
    lines.append(("time", _time(count["seconds"])))
    phases: Mapping[str, float] = result.get("phases") or {}
    for name in (*(p for p in PHASES if p in phases), *(p for p in phases if p not in PHASES)):
        if name:
            lines.append((f"– {PHASES.get(name, name).partition(':')[0]}", _time(phases[name])))
    if (off := result.get("eta_error")) is not None:
        lines.append(("guesses of the whole time", f"off by {percent(float(off))} (median)"))
    return lines


_COUNTED = (
    *("tests", "memo_hits", "speculative", "prompts_judged", "prompts_spared", "recalled"),
    *("tokens", "seconds", "gpu_seconds"),
)


def _of(result: Mapping[str, Any], name: str) -> float:
    return float(result.get(name) or 0)


def _time(seconds: float) -> str:
    return f"{seconds:.1f}{THIN}s"
