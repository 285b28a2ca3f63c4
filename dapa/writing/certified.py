"""What stands around a confidence search's headline: its title, its stages, its words explained.

As `writing.confidence`, all from the JSON form of `search.confidence.record`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dapa.core.records import Unit
from dapa.writing.confidence import FORMS, Told, plan_sentence, points
from dapa.writing.numbers import percent
from dapa.writing.unit_names import kind_text, units_text

GLOSSARY = (
    ("Choose", "Units go as long as little refusal is lost, on prompts that are used up by it. "
     "What looks good on them may be luck, so nothing is claimed from them."),
    ("Freeze", "The sets met on the way are written down, each inside the one before, before any "
     "other prompt is asked. So the prompts that certify cannot lead the choice."),
    ("Certify", "Each set is held against all units on prompts that chose nothing, the largest "
     "first. A set passes where a loss of the margin or more is ruled out; the first that does not "
     "pass ends it, and the last that did is the set. That holds for the kinds of harm that were "
     "asked; of others it says nothing."),
    ("Margin", "The loss of refusals, in points of 100 prompts, that is ruled out."),
    ("Firm", "The set without this unit is shown to lose more than the margin. Undecided: not "
     "shown, which is no proof that it can go."),
    ("Shown to lose", "The mirror image from below: every set tried of up to so many units along "
     "the orders tried loses more than the margin. Sizes between those were not asked, nor other "
     "sets: where layers undo one another, a smaller set may refuse as well."),
    ("95 % intervals", "The figures in brackets: where the true figure lies but for 1 in 20 such "
     "searches. Beside a set that only just passed they are too narrow: it is told because it came "
     "out well."),
)  # fmt: skip
"""Word -> what it means, in the order in which a reader meets them."""
EXACT_RESULT = (
    "Exact mode: true of these prompts. The set passes a yes/no threshold on the search prompts; "
    "of others the held-out figures tell."
)
"""What the result of an exact search says of itself."""
BY_KIND = "other kinds of site (“Where at all?” in Localize compares them) or blocks of neurons"
"""What to try where refusal is spread."""


def form_title(told: Told, kind: str) -> str:
    """The form as a heading: `Graded: 10 to 18 of 30 whole MLPs`.

    Args:
        told: A `ConfidenceRecord`'s JSON form.
        kind: The kind of site that was searched, or `block`.
    """
    form, size, total, floor = (
        told["form"],
        len(told["units"]),
        told["plan"]["units"],
        told["floor"],
    )
    sites = f"of {total} {kind_text(kind, total)}"
    if form == "nothing":
        return FORMS[form]
    if form == "unclaimed":
        return f"{FORMS[form]}; best guess {size} {sites}"
    low = f"{floor + 1} to " if form == "graded" and floor + 1 < size else ""
    return f"{FORMS[form]}: {low}{size} {sites}"


def chosen_text(told: Told) -> str:
    """What chose, and what it took: replies judged, prompts read."""
    step = told["step"]
    if step is None:
        by = "The vocabulary has no refusal opener, so verdicts chose."
    elif step["correlation"] is None:
        by = "Refusal log-odds chose; nothing spoke against them."
    elif step["trusted"] and step.get("sets"):
        by = (
            f"Mean refusal log-odds, which follow the DSR of whole sets (r = "
            f"{step['over_sets']:.2f} over {step['sets']} sets) though not the verdicts of single "
            f"prompts (r = {step['correlation']:.2f}), chose."
        )
    elif step["trusted"]:
        by = f"Refusal log-odds, which follow the verdicts (r = {step['correlation']:.2f}), chose."
    else:
        by = f"Refusal log-odds do not follow the verdicts (r = {step['correlation']:.2f}), "
        if step.get("over_sets") is not None:
            by += f"nor well enough the DSR of {step['sets']} sets (r = {step['over_sets']:.2f}), "
        by += "so verdicts chose."
    return (
        f"{by} To choose and to certify, {told['replies']:,} replies were judged and "
        f"{told['readings']:,} prompts only read."
    )


def offers_text(told: Told, kind: str) -> str:
    """What is offered where refusal is spread; empty for other forms."""
    sets: Sequence[Told] = told["chosen"]
    if told["form"] != "spread" or not sets:
        return ""
    total, top = max(told["plan"]["units"], 1), sets[0]["rate"] or 1.0
    best = max(sets, key=lambda one: one["rate"] / top - one["size"] / total)
    units = units_text([Unit.parse(name) for name in best["units"]])
    return (
        f"The point of best return lies at {best['size']} {kind_text(kind, best['size'])} "
        f"({percent(best['rate'])} of the choose prompts refused; not certified): {units}. "
        f"Or try {BY_KIND}."
    )


def agreed_text(again: Told) -> str:
    """What repeated choosing agrees on, and the sets that were chosen instead; may be empty.

    Args:
        again: A `Stability`'s JSON form.
    """
    ended = [one for one in again["repetitions"] if one.get("chosen")]
    if not ended:
        return ""
    names = {"order": "other orders", "bootstrap": "resampled prompt sets"}
    counts = Counter(one["kind"] for one in ended)
    many = " and ".join(f"{counts[kind]} {name}" for kind, name in names.items() if counts[kind])
    agreed = {word: [Unit.parse(u) for u in units] for word, units in again["agreed"].items()}
    parts = [
        f"{word} in: {units_text(agreed[word])}" for word in ("always", "sometimes") if agreed[word]
    ]
    if agreed["never"]:
        parts.append(f"never: the other {len(agreed['never'])}")
    sets = Counter(tuple(one["units"]) for one in ended).most_common()
    told = f"Chosen again in {many}. {'; '.join(parts)[:1].upper()}{'; '.join(parts)[1:]}."
    if len(sets) == 1:
        return f"{told} All end with one set."
    shown = "; ".join(
        f"{units_text([Unit.parse(u) for u in units])} ({count} of {len(ended)})"
        for units, count in sets[:MOST_SETS]
    )
    return f"{told} They end with {len(sets)} different sets, the commonest: {shown}."


MOST_SETS = 3
"""Alternatives that are named on top of a result; the look closer names more."""


def divided_text(told: Told) -> str:
    """How the prompts were dealt out."""
    note = told["plan"]["note"]
    return f"How the prompts were divided: {note}." if note else ""


def plan_text(plan: Told) -> str:
    """What can be shown with the prompts at hand, in short; `chances` holds the rest.

    Args:
        plan: A `ConfidencePlan`'s JSON form.
    """
    if plan["margin"] is None:
        return plan_sentence(plan)
    quick = plan["claim"] == "quick"
    fate = "stay locked away, unasked" if quick else "are locked away and asked once"
    locked = f", {plan['locked']} {fate}" if plan["locked"] else ""
    name = "Quick form" if quick else "Choose freely, certify once"
    return (
        f"{name}: {plan['choose']} prompts choose, {plan['certify']} certify what was chosen"
        f"{locked}. With so many a loss of {points(plan['margin'])} of the refusals can be ruled "
        f"out, at an error rate of {percent(0.05)}."
    )


CHANCES = (
    ("a set that loses", "is shown to hold in", "holds"),
    ("a unit whose removal loses", "is shown firm, in a set of four, in", "firm"),
)
"""Two tables of a plan: heads, and where its pairs stand."""


def chances(plan: Told) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """How often what is true would be shown: (what is true, what is shown, (loss, chance))."""
    return [
        (head, shown, [(points(loss), percent(chance)) for loss, chance in plan[name]])
        for head, shown, name in CHANCES
        if plan[name]
    ]


@dataclass(frozen=True)
class Stage:
    """One stage of a confidence search as it stands."""

    name: str
    state: Literal["done", "now", "to come"]
    told: str


def stages(told: Told | None, kind: str, asking: str = "") -> list[Stage]:
    """The stages of a running search, with what each has shown so far.

    Args:
        told: The record as far as it goes; None before the choosing begins.
        kind: The kind of site that is searched.
        asking: What is being judged now, such as `40 of 125 prompts`.
    """
    texts = {"Choose": _choosing(told, kind), "Freeze": _frozen(told), "Certify": "",
             "Smallest sets": "", "Firm or undecided": ""}  # fmt: skip
    at = _reached(told)
    if told is not None and told["chain"]:
        texts["Certify"] = _certifying(told)
        texts["Smallest sets"] = _floors(told)
        texts["Firm or undecided"] = _standings(told)
    found = []
    for place, (name, text) in enumerate(texts.items()):
        now = place == at
        more = f" · {asking}" if now and asking and text else asking if now else ""
        found.append(
            Stage(name, "done" if place < at else "now" if now else "to come", f"{text}{more}")
        )
    return found


def stage_now(told: Told) -> str:
    """The name of the stage that is under way; empty once all are done."""
    return next((one.name for one in stages(told, "gate") if one.state == "now"), "")


def _reached(told: Told | None) -> int:
    """The place of the stage that is under way; one more than the last where all are done."""
    if told is None or not told["chain"]:
        return 0
    if told["margin"] is None:
        return 5
    links = told["chain"][1:]
    if not any(link["state"] in ("failed", "gave up") for link in links) and any(
        link["state"] == "not asked" for link in links
    ):
        return 2
    floors = told["floors"]
    if not floors or (len(floors) == 1 and 2 * floors[0]["size"] >= told["plan"]["units"]):
        return 3
    return 5 if told["standings"] else 4


def _choosing(told: Told | None, kind: str) -> str:
    if told is None or not told["chosen"]:
        return "getting ready"
    total, left = told["plan"]["units"], told["chosen"][-1]["size"]
    n = told["plan"]["choose"]
    return f"{left} of {total} {kind_text(kind, total)} left, on {n} prompts"


def _frozen(told: Told | None) -> str:
    if told is None or not told["chain"]:
        return ""
    sizes = ", ".join(str(link["size"]) for link in told["chain"])
    return f"sets of {sizes} units"


def _certifying(told: Told) -> str:
    """Which link of how many, and the smallest that passed."""
    if told["margin"] is None:
        return "too few prompts: no claim is made"
    links: Sequence[Mapping[str, object]] = told["chain"][1:]
    passed = [link for link in links if link["state"] == "passed"]
    shown = f"{passed[-1]['size']} units pass" if passed else "none passed yet"
    ended = [link for link in links if link["state"] in ("failed", "gave up")]
    if ended:
        return f"{shown}, {ended[0]['size']} do not"
    if len(passed) == len(links):
        return shown
    here = links[len(passed)]
    return f"set {len(passed) + 1} of {len(links)}, {here['size']} units; {shown}"


def _floors(told: Told) -> str:
    if not told["floors"]:
        return ""
    return f"up to {told['floor']} units: shown to lose more than {points(told['margin'])}"


def _standings(told: Told) -> str:
    if not told["standings"]:
        return ""
    return f"{len(told['firm'])} firm, {len(told['undecided'])} undecided"
