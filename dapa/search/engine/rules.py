"""The rules by which a driver plays the oracle; what a user sets besides is `SearchSettings`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite

from dapa.core.records import SettingError


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
