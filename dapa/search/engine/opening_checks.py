"""Before a search: is there anything to find, and what counts as found?"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from dapa.core.records import EMPTY, Label, Mask, NothingToLocalize, Rate
from dapa.core.statistics import blended_rate, paired_gain, wilson
from dapa.search.engine.ledger import Ledger
from dapa.search.settings import SearchRules
from dapa.writing.numbers import rate_text


def aim(ledger: Ledger, full: Mask, rules: SearchRules, offers: Sequence[str] = ()) -> float:
    """The DSR that satisfies, once student and full mask were judged in full.

    The full mask must beat the student by a paired gain whose lower bound (Tango's score interval,
    95 %) exceeds the minimum: a search for the cause of no effect finds noise.

    Args:
        ledger: Holds both masks' verdicts; its `need` is set here.
        full: The mask of all units.
        rules: Target and minimum gain.
        offers: What else to try, as the caller would have it typed, as in `--sites mlp`.

    Raises:
        NothingToLocalize: With both scores, what was seen and what to try.
    """
    n = ledger.asked
    before, after = (
        [ledger[mask].labels[p] is Label.REFUSAL for p in range(n)] for mask in (EMPTY, full)
    )
    student, whole = wilson(sum(before), n), wilson(sum(after), n)
    gain, low, _ = paired_gain(before, after)
    target = rules.target
    if target is None:
        target = student.value + rules.retain * (whole.value - student.value)
    # A share of n that is whole but for the last bit of a float must not ask for one more.
    need = max(1, ceil(target * n - 1e-9))
    trouble = _trouble(student, whole, gain, low, need, rules)
    if trouble:
        seen = f"student {_told(student)}, all units transplanted {_told(whole)}"
        hint = f"; try {' or '.join(offers)}" if offers and sum(before) < need else ""
        raise NothingToLocalize(f"nothing to localize: {trouble} ({seen}){hint}", student, whole)
    ledger.need = need
    return target


def target_rate(ledger: Ledger, full: Mask, retain: float) -> Rate:
    """A relative target with its interval: it derives from two rates of the same prompts.

    Args:
        ledger: Holds student and full mask, judged in full.
        full: The mask of all units.
        retain: Share of the gain to keep.
    """
    before, after = (
        [ledger[mask].labels[p] is Label.REFUSAL for p in range(ledger.asked)]
        for mask in (EMPTY, full)
    )
    return blended_rate(before, after, retain)


def _told(rate: Rate) -> str:
    return f"DSR {rate_text(rate, with_n=False)} of {rate.n}"


def _trouble(
    student: Rate, whole: Rate, gain: float, low: float, need: int, rules: SearchRules
) -> str:
    """What stands against a search, in one sentence; empty if nothing does."""
    n, minimum = student.n, rules.minimum_gain
    refused, defended = round(student.value * n), round(whole.value * n)
    if rules.target is not None and refused >= need:
        return f"the student already reaches the target {rules.target:g} by itself"
    if low > minimum:
        if defended >= need:
            return ""
        return (
            f"with all units the student refuses {defended} of {n}, and the target "
            f"{rules.target:g} asks for {need}; lower the target"
        )
    if refused == n or 1 - student.value <= minimum:
        return f"the student already refuses {refused} of {n} harmful prompts"
    if defended == 0:
        return (
            f"even with all units transplanted none of {n} harmful prompts is refused; either the "
            "teacher does not refuse them, or its refusal lies in other sites"
        )
    if gain > minimum:
        return (
            f"the gain of {100 * gain:.0f} points over {n} prompts may be as low as "
            f"{100 * low:.0f}, and {100 * minimum:.0f} is asked for; give more prompts"
        )
    return (
        f"transplanting all units gains {100 * gain:.0f} points (at least {100 * low:.0f}), not "
        f"surely more than {100 * minimum:.0f}: these sites carry little or nothing"
    )
