"""A proportion with its interval, which records and errors both carry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """A proportion with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, float | int]:
        """The JSON form: value, low, high, n."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}
