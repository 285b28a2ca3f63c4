"""What is said of a confidence search: before it starts, and of its result, in plain words.

Everything is read from the JSON form of `search.confidence.record`, so that screen, command line
and stored runs say the same. A claim names its margin, its prompts and what it is held against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dapa.core.records import Rate, Unit
from dapa.writing.numbers import p_text, percent, rate_text
from dapa.writing.unit_names import kind_text, units_text

Told = Mapping[str, Any]
"""The JSON form of a record."""
FORMS = {
    "concentrated": "Concentrated",
    "graded": "Graded",
    "spread": "Spread",
    "nothing": "Nothing here",
    "unclaimed": "No claim",
}
"""What the evidence says, as a heading."""
CLAIMS = {
    "auto": "what fits the pair",
    "confidence": "choose freely, certify once",
    "quick": "quick form: a first look, margin 10 points",
    "exact": "exact: a threshold on the search prompts",
}
"""What a search may claim, for forms and options."""
CHOOSE = 60
"""Prompts that choose where there are enough; that of `search.confidence.plan`."""
NAMED = 6
"""Kinds of harm that a sentence names at most."""
CERTIFIED = ("confidence", "quick")
"""Claims that prompts which chose nothing certify."""
EXACT = (
    "Exact mode: a set of layers either keeps refusals at the target or it does not. That is right "
    "where refusal is sharp, as in the bundled toys; where it is spread over many layers, it "
    "claims too much."
)
"""What the exact mode says of itself."""


def points(value: float, digits: int = 0) -> str:
    """0.05 -> `5 points`."""
    shown = f"{100 * value:.{digits}f}"
    return f"{'0' if float(shown) == 0 else shown} {'point' if shown == '1' else 'points'}"


def change_text(change: Told, beside: str = "") -> str:
    """A paired change in words: `1.6 points less than all units [-4.1, +0.9]`.

    Args:
        change: A `Difference`'s JSON form.
        beside: What it is held against, such as `all units`.
    """
    value, low, high = (100 * change[key] for key in ("value", "low", "high"))
    if abs(value) < 0.05:
        size = "as much" + (f" as {beside}" if beside else "")
    else:
        size = f"{abs(value):.1f} points {'less' if value < 0 else 'more'}"
        size += f" than {beside}" if beside else ""
    return f"{size} [{_end(low)}, {_end(high)}]"


def _end(value: float) -> str:
    """An end of an interval, with a minus that is no hyphen; what rounds to nothing has no sign."""
    told = f"{value:+.1f}"
    return "0" if float(told) == 0 else told.replace("-", "−")


def headline(told: Told, kind: str) -> str:
    """The result in a sentence or two, led by what matters most.

    Args:
        told: A `ConfidenceRecord`'s JSON form.
        kind: The kind of site that was searched, or `block`.
    """
    return " ".join(filter(None, (_short(told), _claim(told, kind), _firm(told))))


def _short(told: Told) -> str:
    """What comes first where the set falls short of all units on held-out prompts."""
    held = _held(told)
    if held is None or told["form"] in ("spread", "nothing") or held["change"]["high"] >= 0:
        return ""
    return (
        f"On {held['n']} prompts that chose nothing the set refuses "
        f"{change_text(held['change'], 'all units')}: beyond chance, if within the margin."
    )


def _held(told: Told) -> Told | None:
    """The set beside all units on the certify prompts; None where it is all units, or unasked."""
    link = _passed(told)
    return link and link["certified"]


def _passed(told: Told) -> Told | None:
    """The chain's link that is the set, where it passed; units may stand in another order."""
    wanted = set(told["units"])
    return next(
        (
            link
            for link in told["chain"]
            if link["state"] == "passed" and link["certified"] and set(link["units"]) == wanted
        ),
        None,
    )


def _claim(told: Told, kind: str) -> str:
    form, total = told["form"], told["plan"]["units"]
    units = [Unit.parse(name) for name in told["units"]]
    many = f"{len(units)} of {total} {kind_text(kind, total)}"
    if form == "nothing":
        return "Nothing here: all units together add little or no refusal; try other kinds of site."
    if form == "unclaimed":
        return f"No claim: {told['ended']}. The best guess is {many} ({units_text(units)})."
    margin, floor = points(told["margin"]), told["floor"]
    holds = _holds(told, many, margin)
    orders = "both orders" if orders_tried(told) > 1 else "the one order"
    least = (
        f"along {orders} tried, every set tried of up to {floor} {kind_text(kind, floor)} loses "
        f"more than {margin}"
    )
    if form == "concentrated":
        return f"Concentrated in {units_text(units)}: {holds}."
    if form == "spread":
        return f"Spread: {least}; {holds}."
    span = f"between {floor + 1} and {len(units)}" if floor + 1 < len(units) else f"{len(units)}"
    below = f"{least}; " if floor else ""
    need = "is needed" if span == "1" else "are needed"
    return (
        f"Graded: {span} of {total} {kind_text(kind, total)} {need} along {orders} tried; another "
        f"choice may do with fewer. {_capital(below + holds)}."
    )


def orders_tried(told: Told) -> int:
    """Along how many orders small sets were tried: where two met the same sets, they are one."""
    sets = [
        {frozenset(link["units"]) for link in order["tried"] if len(link["units"]) <= told["floor"]}
        for order in told["floors"]
    ]
    same = len(sets) == 2 and (sets[0] <= sets[1] or sets[1] <= sets[0])
    return 1 if same else len(sets)


def _holds(told: Told, many: str, margin: str) -> str:
    link = _passed(told)
    if link is None:
        return (
            f"no smaller set than all {told['plan']['units']} is shown to lose less than {margin}"
        )
    held, shown = link["certified"], p_text(link["p"]) or ""
    shown = f"= {shown}" if shown[:1].isdigit() else shown
    return (
        f"{many} lose less than {margin} of the refusals of all units, shown on {held['n']} "
        f"prompts that chose nothing ({rate_text(Rate(**held['rate']))}, all units "
        f"{percent(held['whole_rate']['value'])}, p {shown})"
    )


def _firm(told: Told) -> str:
    firm, undecided = len(told["firm"]), len(told["undecided"])
    if not firm + undecided or told["form"] in ("nothing", "unclaimed"):
        return ""
    return f"{firm} of them firm, {undecided} undecided."


def overfit_text(told: Told) -> str:
    """How much better the set looked on the prompts that chose it; empty where nobody asked."""
    seen = told.get("overfit")
    if not seen:
        return ""
    drop, beyond = (
        f"{_end(100 * seen[key]['value'])} [{_end(100 * seen[key]['low'])}, "
        f"{_end(100 * seen[key]['high'])}]"
        for key in ("drop", "beyond")
    )
    chance = "" if seen["beyond"]["low"] > 0 else " That is within chance."
    return (
        f"Refusals on the {seen['chosen']['n']} prompts that chose less those on "
        f"{seen['certified']['n']} that did not: {drop} points; beyond what all units drop: "
        f"{beyond}.{chance}"
    )


def unseen_text(told: Told) -> str:
    """The set on kinds of harm that chose nothing; empty where there were none."""
    seen = told.get("unseen")
    if not seen:
        return ""
    held, count = seen["certified"], len(seen["kinds"])
    names = ", ".join(seen["kinds"][:NAMED])
    names += f" and {count - NAMED} more" if count > NAMED else ""
    return (
        f"On {count} {'kind' if count == 1 else 'kinds'} of harm that chose nothing "
        f"({names}; n = {held['n']}) it refuses "
        f"{change_text(held['change'], 'all units')}."
    )


def certify_text(told: Told) -> str:
    """Where the certifying ended and why, and how often these prompts certified."""
    looks = told["looks"]
    again = (
        f" These prompts have certified {looks} times by now: the more often, the less an error "
        "rate of 5 % holds."
        if looks > 1
        else ""
    )
    return f"{_capital(told['ended'])}.{again}"


def plan_sentence(plan: Told) -> str:
    """What a search can show with the prompts at hand, before it starts.

    Args:
        plan: A `ConfidencePlan`'s JSON form.
    """
    locked = f", {plan['locked']} are locked away" if plan["locked"] else ""
    name = "Quick form" if plan["claim"] == "quick" else "Choose freely, certify once"
    head = f"{name}: {plan['choose']} prompts choose, {plan['certify']} certify{locked}."
    if plan["margin"] is None:
        # where none is left to certify, more prompts would first choose
        choose = plan["choose"] if plan["certify"] else max(plan["choose"], CHOOSE)
        return (
            f"{head} Fewer than 100 certify, so no claim will be made: give at least "
            f"{100 + choose} harmful prompts, better {250 + choose}."
        )
    wide = (
        " With 200 or more to certify it would be 5 points."
        if plan["margin"] > 0.05 and plan["claim"] != "quick"
        else ""
    )
    return (
        f"{head} Margin {points(plan['margin'])}: a set passes where a loss of that much is "
        f"ruled out at level 0.05.{wide} A set that truly loses {_chances(plan['holds'])}; a "
        f"removal that loses {_chances(plan['firm'])} is shown firm, in a set of four."
    )


def exact_sentence(prompts: int) -> str:
    """What the exact mode says of itself, with so many search prompts."""
    from dapa.core.statistics import wilson  # late: settings import this file, and help is quick

    reach = 0.5 - wilson(prompts // 2, prompts).low if prompts else 0.5
    return (
        f"{EXACT} {prompts} search prompts tell a DSR near one half to about {points(reach)} "
        "either way."
    )


def _chances(pairs: Sequence[Sequence[float]]) -> str:
    told = [f"{points(loss)}: {percent(chance)}" for loss, chance in pairs]
    return ", ".join(told)


CHAIN_HEADS = (
    "units",
    "read",
    "on choose prompts",
    "on certify prompts",
    "change, points",
    "p",
    "",
)
"""Headers of `chain_rows`."""


def chain_rows(told: Told) -> list[tuple[str, ...]]:
    """The frozen chain as a plain table, largest set first."""
    rows: list[tuple[str, ...]] = []
    for link in told["chain"]:
        held, chose, read = link["certified"], link["chosen"], link["read"]
        rows.append(
            (
                str(link["size"]),
                percent(read["value"]) if read else "–",
                rate_text(Rate(**chose["rate"])) if chose else "–",
                rate_text(Rate(**held["rate"])) if held else "–",
                change_text(held["change"]) if held else "–",
                p_text(link["p"]) or "–",
                link["state"],
            )
        )
    return rows


STANDING_HEADS = ("without", "on certify prompts", "change, points", "standing")
"""Headers of `standing_rows`."""


def standing_rows(told: Told) -> list[tuple[str, ...]]:
    """Each single removal from the set."""
    return [
        (
            one["unit"],
            rate_text(Rate(**one["certified"]["rate"])),
            change_text(one["certified"]["change"]),
            "firm" if one["firm"] else "undecided",
        )
        for one in told["standings"]
    ]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
