"""The rules by which a driver plays the oracle, and what they make of the opening checks.

What a user sets besides (units, prompts, their format) is `dapa.search.settings.SearchSettings`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import ceil, isfinite

from dapa.core.records import EMPTY, Label, Mask, NothingToLocalize, Rate, SettingError
from dapa.core.statistics import paired_gain, wilson
from dapa.search.engine.ledger import Ledger


@dataclass(frozen=True)
class SearchRules:
    """How the driver plays the oracle. Decoding is always greedy: there is nothing to set."""

    retain: float = 0.9
    """The share of the gain to keep: target = student + retain (full - student)."""
    target: float | None = None
    """An absolute DSR in its place."""
    max_kl: float | None = None
    """The found set's KL from the student on harmless prompts at most, bits per token."""
    minimum_gain: float = 0.1
    """The full mask must beat the student by more than this, as a share of the prompts."""
    max_tests: int | None = None
    max_tokens: int | None = None
    """Decoded tokens, those of an earlier, interrupted run included."""
    max_seconds: float | None = None
    """Of this run, pauses not counted."""
    lookahead: int = 4
    """How many candidates beyond the one that is asked may fill free rows, as far as the runner
    takes on work that may be needless (on a CPU, a few rows)."""
    eager: bool = True
    """Fill rows that are left with prompts that curtailment may turn out to spare."""
    curtail: bool = True
    """Stop judging a candidate once the rest cannot change the answer."""
    memo: bool = True
    """Use verdicts that are known. Off only to measure what that is worth."""
    supersets: int = 4
    """How many random supersets of the result are tried beside found + each single unit."""
    check_supersets: bool = True
    full_length: bool = True
    """Judge the result again at full length, without early exit."""
    seed: int = 0
    """Of splits, samples and supersets: the same seed, the same search."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense, naming it."""
        for name in ("retain", "target", "minimum_gain"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= 1.0:  # NaN fails too
                raise SettingError(f"{name} {value} is outside 0 to 1")
        if self.retain == 0.0 or self.target == 0.0:
            raise SettingError("a target of 0 is met by the student itself; give more than 0")
        for name in ("max_tests", "max_tokens", "max_seconds", "max_kl"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and isfinite(value)):
                raise SettingError(f"{name.replace('_', ' ')} {value} is not above 0")
        for name in ("lookahead", "supersets"):
            if getattr(self, name) < 0:
                raise SettingError(f"{name} {getattr(self, name)} is below 0")

    def as_dict(self) -> dict[str, float | int | bool | None]:
        """The JSON form of the rules alone, as a result has it."""
        return {field.name: getattr(self, field.name) for field in fields(SearchRules)}


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


def _told(rate: Rate) -> str:
    return f"DSR {rate.value:.2f} [{rate.low:.2f}, {rate.high:.2f}] of {rate.n}"


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
