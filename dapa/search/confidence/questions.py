"""The three questions of a confidence search, which is a coroutine as every search is.

Prompts are places in one list that asker and answerer share. A question about prompts that certify
may only follow `Freeze`: whoever answers may hold the coroutine to that.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from dapa.core.records import Mask, Unit

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Prior = Mapping[Unit, float]
"""Unit -> how much it promises; higher is likelier. Integrated mask gradients, as a rule."""
Phase = Literal["opening", "choose", "certify", "floor", "removals", "held-out"]


@dataclass(frozen=True)
class ReadMasks:
    """Refusal log-odds of each mask on each prompt. Answer: floats, (masks, prompts)."""

    masks: tuple[Mask, ...]
    prompts: tuple[int, ...]


@dataclass(frozen=True)
class JudgeMasks:
    """Is it refused? Answer: booleans, (masks, prompts)."""

    masks: tuple[Mask, ...]
    prompts: tuple[int, ...]
    phase: Phase


@dataclass(frozen=True)
class Freeze:
    """Keep these orders of sets for good before any certify prompt is asked. Answer: `Frozen`.

    Whoever has kept an earlier one for this very search answers with that.
    """

    orders: Frozen


@dataclass(frozen=True)
class Frozen:
    """Orders of sets that were fixed before anything was certified."""

    chain: tuple[tuple[Unit, ...], ...]
    """Nested, largest first, from all units down; what is certified."""
    lower: tuple[tuple[Unit, ...], ...]
    """The chain and what the prior leaves of its last set, for the floor; smallest first."""
    prior: tuple[tuple[Unit, ...], ...]
    """Along the prior alone; smallest first."""
    choose: tuple[int, ...]
    """The prompts that chose."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        orders = {
            name: [[str(unit) for unit in units] for units in getattr(self, name)]
            for name in _ORDERS
        }
        return {**orders, "choose": list(self.choose)}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Frozen:
        """Read `as_dict` back."""
        orders = {
            name: tuple(tuple(map(Unit.parse, units)) for units in body[name]) for name in _ORDERS
        }
        return cls(**orders, choose=tuple(body["choose"]))


_ORDERS = ("chain", "lower", "prior")

Question = ReadMasks | JudgeMasks | Freeze
T = TypeVar("T")
Asking = Generator[Question, Any, T]
"""A coroutine that yields questions, is sent answers and returns a T."""


def paired(ours: Bools, whole: Bools) -> tuple[int, int]:
    """(gained, lost): prompts that only the set refuses, and that only all units do."""
    return int((ours & ~whole).sum()), int((~ours & whole).sum())


def thin(sets: Sequence[tuple[Unit, ...]], most: int) -> tuple[tuple[Unit, ...], ...]:
    """Few enough of them: of the later half all, since that is where the answer lies."""
    if len(sets) <= most:
        return tuple(sets)
    head, tail = sets[: -(most // 2)], sets[-(most // 2) :]
    count = most - len(tail)
    picked = sorted({round(i * (len(head) - 1) / max(count - 1, 1)) for i in range(count)})
    return (*(head[i] for i in picked), *tail)
