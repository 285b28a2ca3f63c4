"""A search's result as HTML, from the JSON form that both a live report and a stored run have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dapa.records import Mask, Rate, Unit
from dapa.sentences import result_sentence
from dapa.ui.parts import esc, names, note, rate, table, title, two


def rate_of(body: Any) -> Rate | None:
    """A rate's JSON form read back."""
    if not isinstance(body, Mapping):
        return None
    return Rate(float(body["value"]), float(body["low"]), float(body["high"]), int(body["n"]))


def mask_of(result: Mapping[str, Any] | None) -> Mask:
    """The found mask of a stored result; empty where there is none."""
    units = (result or {}).get("units") or []
    return Mask.of(Unit.parse(str(unit)) for unit in units)


def sentence(result: Mapping[str, Any], kind: str, total: int, share: float | None) -> str:
    """The written sentence, escaped, with the figures that matter in it."""
    mask = mask_of(result)
    dsr = result.get("dsr") or {}
    if not mask.entries or share is None:
        where = names(mask.units) if mask.entries else "nothing smaller than the full set"
        return f"Found: <b>{where}</b>."
    return esc(
        result_sentence(
            len(mask.units),
            total,
            kind,
            mask.layers,
            share,
            rate_of(dsr.get("student_held_out")),
            rate_of(dsr.get("held_out")),
            int(result.get("tests") or 0),
            float(result.get("seconds") or 0.0),
        )
    )


def draw(result: Mapping[str, Any], kind: str, total: int, share: float | None) -> str:
    """Sentence, certificate, held-out rates and warnings."""
    mask = mask_of(result)
    head = f"Result: {names(mask.units)}" if mask.entries else "Result"
    return (
        f"{title(head, _certified(result))}"
        f'<p class="finding">{sentence(result, kind, total, share)}</p>'
        f"{_warnings(result)}{_columns(result)}"
    )


def _certified(result: Mapping[str, Any]) -> str:
    reason = str(result.get("stop_reason") or "done")
    if result.get("one_minimal"):
        line = "1-minimal: every single removal was judged in full and failed"
        return line if reason == "done" else f"{line} · {esc(reason)}"
    return f"Best so far, not certified as 1-minimal: {esc(reason)}"


def _warnings(result: Mapping[str, Any]) -> str:
    notes = []
    violations = result.get("violations") or []
    tried = int(result.get("supersets") or 0)
    if violations:
        firm = [v for v in violations if v.get("firm")]
        where = "; ".join(_added(v["added"]) for v in (firm or violations)[:4])
        kept = tried - len(violations)
        if firm:
            line = (
                f"<b>Not monotone.</b> Of {tried} larger sets tried, {kept} still refuse. Adding "
            )
            notes.append(note(f"{line}{where} undoes it.", "warn"))
        else:
            line = f"Of {tried} larger sets tried, {kept} reach the target; adding {where} falls "
            notes.append(note(f"{line}short of it, by no more than chance would."))
    elif tried:
        notes.append(note(f"All {tried} larger sets tried still refuse: no sign against monotone."))
    lost = [r for r in result.get("full_length") or [] if r["role"] == "best" and r["lost"]]
    if lost:
        notes.append(
            note(
                f"<b>Refuse, then comply.</b> {lost[0]['lost']} replies of the found set open with "
                "a refusal and go on to comply; the rates here count whole replies.",
                "warn",
            )
        )
    return "".join(notes)


def _added(names_: Any) -> str:
    units = [Unit.parse(str(name)) for name in names_]
    return f"{len(units)} units together" if len(units) > 4 else names(units)


def _columns(result: Mapping[str, Any]) -> str:
    dsr = result.get("dsr") or {}
    rows = [
        (label, rate(rate_of(dsr.get(searched))), rate(rate_of(dsr.get(held_out))))
        for label, searched, held_out in (
            ("student", "student", "student_held_out"),
            ("<b>found set</b>", "best", "held_out"),
            ("every unit", "full", "full_held_out"),
        )
    ]
    rates = table(("DSR", "on the search prompts", "held out"), rows)
    removals = [
        (
            f"without {_unit(removal)}",
            two(removal["low"])
            if removal["low"] == removal["high"]
            else f"{two(removal['low'])} to {two(removal['high'])}",
            _firm(removal),
        )
        for removal in result.get("removals") or []
    ]
    if not removals:
        return f'<div class="two">{rates}</div>'
    certificate = table(("removal", "DSR", "standing"), removals, numeric=[1])
    return f'<div class="two">{rates}{certificate}</div>'


def _unit(removal: Mapping[str, Any]) -> str:
    unit = Unit.parse(str(removal["unit"]))
    return f"layer {unit.layer}" if unit.kind in ("gate", "mlp") else esc(unit)


def _firm(removal: Mapping[str, Any]) -> str:
    flips = int(removal["flips"])
    p_value = float(removal["p_value"])
    shown = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
    if removal["firm"]:
        return f'<span class="badge yes">■ firm</span> <span class="interval">{shown}</span>'
    return (
        f'<span class="badge unclear">◇ fragile</span> <span class="interval">{flips} '
        f"flips would do, {shown}</span>"
    )
