"""A search's result as HTML, from the JSON form that both a live report and a stored run have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dapa.core.records import Mask, Rate, Unit
from dapa.core.statistics import wilson
from dapa.ui.forest import Dot, Line, Look, forest
from dapa.ui.parts import THIN, esc, names, note, rate, table, title, two, unit_name
from dapa.writing.costs import cost_lines
from dapa.writing.sentences import result_sentence


def rate_of(body: Any) -> Rate | None:
    """A rate's JSON form read back."""
    if not isinstance(body, Mapping):
        return None
    return Rate(float(body["value"]), float(body["low"]), float(body["high"]), int(body["n"]))


def mask_of(result: Mapping[str, Any] | None) -> Mask:
    """The found mask of a stored result; empty where there is none."""
    units = (result or {}).get("units") or []
    return Mask.of(Unit.parse(str(unit)) for unit in units)


def kind_of(mask: Mask, kind: str) -> str:
    """The kind of a stored result's units: `block` where they are parts of what was searched."""
    cut = any(unit.block or unit.kind != kind for unit in mask.units)
    return "block" if cut else kind


def sentence(
    result: Mapping[str, Any],
    kind: str,
    total: int,
    share: float | None,
    skill: tuple[Rate, Rate] | None = None,
) -> str:
    """The written sentence, escaped, with the figures that matter in it."""
    mask = mask_of(result)
    dsr = result.get("dsr") or {}
    if not mask.entries:
        return "Found: <b>nothing smaller than the full set</b>."
    both = [rate_of(dsr.get(name)) for name in ("student_held_out", "held_out")]
    held_out = all(both)
    if not held_out:
        both = [rate_of(dsr.get(name)) for name in ("student", "best")]
    return esc(
        result_sentence(
            len(mask.units),
            total,
            kind,
            mask.layers,
            share,
            *both,
            int(result.get("tests") or 0),
            float(result.get("seconds") or 0.0),
            skill=skill,
            held_out=held_out,
            one_minimal=bool(result.get("one_minimal")),
            outside=[unit for unit in mask.units if unit.place is None],
        )
    )


def draw(
    result: Mapping[str, Any],
    kind: str,
    total: int,
    share: float | None,
    skill: tuple[Rate, Rate] | None = None,
) -> str:
    """Sentence, certificate, held-out rates and warnings.

    Args:
        result: A report's JSON form.
        kind: The kind of site that was searched.
        total: How many units could be moved; 0 where that is not known.
        share: Share of the parameters that the found set holds; None where that is not known.
        skill: The student's and the found set's skill, once measured.
    """
    mask = mask_of(result)
    head = f"Result: {names(mask.units)}" if mask.entries else "Result"
    return (
        f"{title(head, _certified(result))}"
        f'<p class="finding">{sentence(result, kind, total, share, skill)}</p>'
        f"{_warnings(result)}{_columns(result)}{_asides(result)}{_bill(result)}"
    )


def _bill(result: Mapping[str, Any]) -> str:
    """Everything that the search cost, folded."""
    rows = [(esc(what), esc(much)) for what, much in cost_lines(result)]
    body = table(("cost", ""), rows)
    return f'<details class="read"><summary>What it cost</summary>{body}</details>'


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


def _asides(result: Mapping[str, Any]) -> str:
    """Utility limit, ranking, batch shape and fast screen, where they played a part."""
    lines = []
    if kl := result.get("kl"):
        lines.append(
            f"KL to the student on harmless prompts: {kl['best']:.3g} bits a token (limit "
            f"{kl['limit']:g}; every unit {kl['full']:.3g})."
        )
    if prior := result.get("prior"):
        lines.append(f"The order was led by {esc(prior['name'])}, which decided nothing.")
    again = result.get("canonical") or []
    if again:
        flips = sum(int(line["lost"]) + int(line["gained"]) for line in again)
        told = f"{flips} verdicts differ" if flips else "every verdict is the same"
        lines.append(f"Judged once more in batches of one shape: {told}.")
    screen = result.get("screen") or {}
    if screen.get("value") is not None:
        lines.append(
            f"The fast screen, which only orders: rank correlation with the verdicts "
            f"{two(screen['value'])} [{two(screen['low'])}, {two(screen['high'])}], "
            f"n{THIN}={THIN}{screen['n']} replies."
        )
    return note(" ".join(lines)) if lines else ""


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
    certificate = _certificate(result)
    return f'<div class="two result">{rates}{certificate}</div>'


def _certificate(result: Mapping[str, Any]) -> str:
    """Each removal's DSR with its interval against the target; firm or fragile."""
    removals = result.get("removals") or []
    if not removals:
        return ""
    target = float(result.get("target") or 0.0)
    lines = []
    for removal in removals:
        left = wilson(int(removal["defended"]), int(removal["asked"]))
        look: Look = "orange" if removal["firm"] else "open"
        label = esc(unit_name(Unit.parse(str(removal["unit"]))))
        cells = [rate(left, with_n=False), _firm(removal)]
        lines.append(Line(label, [Dot(left, look)], cells))
    n = int(removals[0]["asked"])
    picture = f"DSR, n{THIN}={THIN}{n}; dashed: target {two(target)}"
    head = ("without", picture, "certificate", "standing")
    return forest(head, lines, target, "certificate")


def _firm(removal: Mapping[str, Any]) -> str:
    flips = int(removal["flips"])
    p_value = float(removal["p_value"])
    shown = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
    if more := int(removal.get("more") or 0):  # none in runs of older versions
        shown += f", with {more} more prompts"
    if removal["firm"]:
        return f'<span class="badge yes">■ firm</span> <span class="interval">{shown}</span>'
    return (
        f'<span class="badge unclear">◇ fragile</span> <span class="interval">{flips} '
        f"{'flip' if flips == 1 else 'flips'}, {shown}</span>"
    )
