"""Whose is it? The pair that a reply, a table or a found set was made with.

Whatever is kept or shown carries its owner, so that it cannot pass for another pair's. Two owners
are the same by name where both have one, else by their two models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Owner:
    """A pair by its name or its two models; all empty where nobody knows."""

    name: str = ""
    """A preset's name, or empty."""
    student: str = ""
    teacher: str = ""

    @classmethod
    def read(cls, spec: Any) -> Owner:
        """Of a pair's spec, or of what was stored of one."""
        if isinstance(spec, Mapping):
            told = (spec.get(key) for key in ("name", "student", "teacher"))
        else:
            told = (getattr(spec, key, "") for key in ("name", "student", "teacher"))
        return cls(*(value if isinstance(value, str) else "" for value in told))

    def __bool__(self) -> bool:
        """Is it known?"""
        return bool(self.name or (self.student and self.teacher))

    def same(self, other: Owner) -> bool:
        """Is it the same pair? Never true of an unknown one."""
        if self.name and other.name:
            return self.name == other.name
        mine = (self.student, self.teacher)
        return all(mine) and mine == (other.student, other.teacher)

    def as_dict(self) -> dict[str, str]:
        """The JSON form."""
        return asdict(self)
