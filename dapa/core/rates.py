"""A proportion with its interval, which records and errors both carry."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rate:
    """A proportion with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    cut: int | None = field(default=None, compare=False)
    """Of the n replies, those that the token limit ended; None where nobody told."""

    def as_dict(self) -> dict[str, float | int]:
        """The JSON form: value, low, high, n, and cut where it is known."""
        told = {} if self.cut is None else {"cut": self.cut}
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n, **told}
