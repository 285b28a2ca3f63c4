"""What is said of how concentrated refusal is: four forms, each hedged by its intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dapa.writing.numbers import duration, percent, rate_text
from dapa.writing.unit_names import kind_text

OPENINGS = {"opening": "judged by their openings", "full": "whole replies"}


def concentration_sentence(found: Any) -> str:
    """The verdict in a few sentences.

    Args:
        found: As `measure.concentration.Concentration`.
    """
    form, sure = found.verdict
    if form == "nothing":
        return f"{_nothing(found)}{offers_text(found)}"
    if form == "open":
        return (
            "Stopped before it could be told how concentrated refusal is: go on, and what was "
            "judged is not judged again."
        )
    n, main = len(found.units), found.main
    told, many = main.told, kind_text(found.kind, n)
    points = f"{round(100 * found.margin)} points"
    if form == "concentrated":
        start = "Refusal is concentrated" if sure else "Refusal may be concentrated"
        hedge = (
            ""
            if sure
            else f" Up to {told.enough.high} are not excluded, more than a third: more prompts "
            "would tell."
        )
        return (
            f"{start}: {_units(told.enough)} of {n} {many} lose at most {points} against all of "
            f"them ({_rates(found)}), in the order of {main.title}.{hedge}"
            f"{'' if sure else offers_text(found)}"
        )
    if form == "spread":
        body = (
            f"Refusal is spread: along the orders tried, every set measured of up to {found.floor} "
            f"of {n} {many} loses more than {points} against all of them ({_rates(found)})."
            if sure
            else f"Refusal may be spread: {_units(told.enough)} of {n} {many} are needed to lose "
            f"at most {points} against all of them ({_rates(found)}), more than half, though "
            "smaller sets are not all shown to lose more."
        )
        return f"{body}{_return(told.best, n)}{offers_text(found)}"
    low, one = found.floor + 1, told.enough
    between = f"between {low} and {one.value}" if low < one.value else f"{one.value}"
    start = "Refusal is graded" if sure else "Refusal looks graded"
    reach = f", {one.high} not excluded," if one.high > one.value else ""
    hedge = (
        ""
        if sure
        else f" By the interval {one.low} may do, a third or fewer, which would be concentrated: "
        "more prompts would tell."
    )
    return (
        f"{start}: {between} of {n} {many}{reach} are needed to lose at most {points} against all "
        f"of them ({_rates(found)}).{hedge}{_return(told.best, n)}{offers_text(found)}"
    )


def _nothing(found: Any) -> str:
    """Why there is nothing here."""
    if not found.units:
        return (
            f"Nothing here: student and teacher have equal {kind_text(found.kind, 2)} everywhere."
        )
    gain, low, high = found.gain
    n, many = len(found.units), kind_text(found.kind, len(found.units))
    all_of_them = f"all {n} {many}" if n > 1 else f"the one {many}"
    moved = ""
    odds = found.odds_gain
    if odds is not None and odds.n > 1:
        moved = f"; refusal log-odds move by {odds.value:+.1f} [{odds.low:+.1f}, {odds.high:+.1f}]"
    sure = f", not surely above {100 * found.minimum:g} points" if low <= found.minimum else (
        f", but not on the {found.where} prompts and the others alike")  # fmt: skip
    return (
        f"Nothing here: moving {all_of_them} changes refusals by {_signed(gain)} points "
        f"[{_signed(low)}, {_signed(high)}], n = {found.searched + found.held_out}{sure}{moved}."
    )


def _signed(value: float) -> str:
    """A difference of two shares in points, with its sign."""
    points = round(100 * value)
    return f"{points:+d}".replace("-", "−") if points else "0"


def _rates(found: Any) -> str:
    """Student and full set on the prompts that tell."""
    return (
        f"{found.where} refusals: {rate_text(found.full)} with all, "
        f"{percent(found.student.value)} with none"
    )


def _units(one: Any) -> str:
    """A number of units with its interval."""
    ends = "" if one.low == one.high == one.value else f" [{one.low}, {one.high}]"
    return f"{one.value}{ends}"


def _return(best: Any, n: int) -> str:
    """The point of best return, and how it is meant."""
    if best is None:
        return " No size stands above the straight line from none to all: no point of best return."
    return (
        f" Best return: {best.size} of {n}, which keep {percent(best.kept)} of the gain, "
        f"{round(100 * best.above)} points above the straight line from none to all."
    )


def offers_text(found: Any) -> str:
    """Where to look next: other kinds of site, the largest share of the gap first; finer units."""
    told = [_site(site) for site in found.sites]
    steps = []
    if told:
        steps.append(f"other kinds of site: {_listed(told)}")
    if found.finer:
        steps.append("finer units: blocks of neurons, 8 a site")
    return f" Look next at {'; or at '.join(steps)}." if steps else ""


def _site(site: Any) -> str:
    name = kind_text(site.kind, 2)
    if site.alone is None:
        return name
    if not site.alone.low > 0:
        return f"{name} (alone nothing clear)"
    if site.share is None:
        return f"{name} ({site.alone.value:+.1f} log-odds alone)"
    return f"{name} ({percent(site.share)} of the gap in log-odds alone)"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def price_text(price: Any, mode: str, pace: float | None = None) -> str:
    """What asking takes, before it starts.

    Args:
        price: As `measure.pair_concentration.CurvePrice`.
        mode: How replies are judged.
        pace: Seconds a reply takes, where a search of the pair told.
    """
    if not price.units:
        return "Nothing differs there, so nothing is decoded: only where else to look is measured."
    time = (
        "How long that takes is not known before a search of this pair; Estimate cost in Search "
        "times one."
        if pace is None
        else f"About {duration(pace * price.replies)} by the pace of this pair's newest search, or "
        "less."
    )
    return (
        f"{time} At most {price.sets:,} sets x ({price.search:,} search and "
        f"{price.held_out:,} held-out prompts) = {price.replies:,} replies, "
        f"{OPENINGS[mode]}, and {price.readings:,} readings of refusal log-odds to order the "
        "units. Where all units together gain nothing it ends "
        f"after {price.least:,} replies. It can be stopped at any time, and goes on from there."
    )
