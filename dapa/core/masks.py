"""What a transplant moves: sites, units, masks. Frozen, hashable, named by short texts.

A *unit* is what a search keeps or drops. A *mask* is the transplanted units with a strength.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dapa.core.errors import SettingError

OUTSIDE = -1
"""The `layer` of what belongs to no layer: embeddings, final norm, head. Never shown: names leave
it out, and JSON has null (`place`)."""

ENDS = ("embeddings", "final_norm", "head")
"""The kinds of site that stand outside of the layers."""

HEADS = {"heads": "head", "kv": "kv"}
"""Kinds of unit that are counted in attention heads -> what one of them is called: `3.head[7]` is
a query's head, its rows of q and its columns of o; `3.kv[1]` a key's and value's, which a group of
them reads, its rows of k and of v."""


@dataclass(frozen=True, order=True)
class Site:
    """One transplantable module, such as layer 3's gate or the head."""

    layer: int
    """0-based decoder layer, or OUTSIDE."""
    module: str

    def __str__(self) -> str:
        """Short name, as in `3.gate` or `head`."""
        return self.module if self.layer == OUTSIDE else f"{self.layer}.{self.module}"


@dataclass(frozen=True, order=True)
class Unit:
    """What a search keeps or drops: a layer's sites of one kind, or a part of them.

    A part is a block of neurons, an attention head, or the strongest directions of the difference.
    """

    layer: int
    """0-based decoder layer, or OUTSIDE."""
    kind: str = "gate"
    """A kind of site (`gate`, `q`, `head` ...) or a group (`mlp`: gate, up and down)."""
    block: tuple[int, int] | None = None
    """Neurons [start, stop) of the kind, or heads of `heads` and `kv`; None for all of them."""
    rank: int | None = None
    """How many of the strongest directions of each matrix's difference move; None for all."""

    def __post_init__(self) -> None:
        """Reckon hash and place in the stream once: units are keys everywhere."""
        object.__setattr__(self, "_hash", hash((self.layer, self.kind, self.block, self.rank)))
        order = (self.layer, self.kind, self.block or (), self.rank or 0)
        object.__setattr__(self, "_order", order)

    def __hash__(self) -> int:
        """Of layer, kind, block and rank."""
        value: int = self._hash  # type: ignore[attr-defined]
        return value

    def __reduce__(self) -> tuple[type[Unit], tuple[Any, ...]]:
        """Copies reckon their own hash: another process hashes text otherwise."""
        return Unit, (self.layer, self.kind, self.block, self.rank)

    def __str__(self) -> str:
        """Short name, as in `3.gate`, `3.gate[0:64]`, `3.head[7]`, `3.gate~8` or `head`."""
        name = self.kind if self.layer == OUTSIDE else f"{self.layer}.{self.kind}"
        if self.block is not None:
            start, stop = self.block
            if self.kind in HEADS and stop == start + 1:
                name = f"{self.layer}.{HEADS[self.kind]}[{start}]"
            else:
                name = f"{name}[{start}:{stop}]"
        return name if self.rank is None else f"{name}~{self.rank}"

    @classmethod
    def parse(cls, text: str) -> Unit:
        """Read `str(unit)` back; raises SettingError for anything else."""
        found = _UNIT.fullmatch(text)
        if found is None or (found[1] is None and found[2] not in ENDS):
            raise SettingError(
                f"{text!r} is not a unit; write layer.kind, such as 3.gate, 3.gate[0:64], "
                f"3.head[7] or 3.gate~8, or {', '.join(ENDS)}"
            )
        layer, kind, start, stop, rank = found.groups()
        block = None if start is None else (int(start), int(stop or int(start) + 1))
        if kind == "head" and block is not None:  # the model's own head has no heads
            if layer is None:
                raise SettingError(f"{text!r} has no layer; write it as in 3.head[{start}]")
            kind = "heads"
        return cls(
            OUTSIDE if layer is None else int(layer),
            kind,
            block,
            None if rank is None else int(rank),
        )

    @property
    def cut(self) -> bool:
        """Does it move a part of its sites only: some neurons, some heads, or a rank?"""
        return self.block is not None or self.rank is not None

    @property
    def place(self) -> int | None:
        """The layer, or None for what belongs to none: what JSON tells."""
        return None if self.layer == OUTSIDE else self.layer


_UNIT = re.compile(
    r"(?:(-?\d{1,6})\.)?([a-z]\w*)(?:\[(\d{1,9})(?::(\d{1,9}))?\])?(?:~(\d{1,9}))?", re.ASCII
)


def _in_order(entries: Iterable[tuple[Unit, float]]) -> tuple[tuple[Unit, float], ...]:
    """Each unit once, in the stream's order, without those of strength 0."""
    kept: dict[Unit, float] = {}
    for unit, strength in entries:
        if not 0.0 <= strength <= 1.0:  # NaN fails too
            raise SettingError(f"strength {strength} of {unit} is outside 0 to 1")
        if strength > 0.0:
            kept[unit] = float(strength)
    return tuple(sorted(kept.items(), key=lambda entry: entry[0]._order))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Mask:
    """The transplanted units with their strength; equal masks are equal values and hash alike."""

    entries: tuple[tuple[Unit, float], ...] = ()
    """Sorted (unit, strength) pairs, strength in (0, 1]; absent units stay the student's."""

    def __post_init__(self) -> None:
        """Bring the entries into their one canonical order; refuse strengths outside [0, 1]."""
        before: tuple[Any, ...] = ()
        for unit, strength in self.entries:
            order = unit._order  # type: ignore[attr-defined]
            if not (before < order and strength.__class__ is float and 0.0 < strength <= 1.0):
                object.__setattr__(self, "entries", _in_order(self.entries))
                break
            before = order
        # masks are keys everywhere, and hashing every unit anew took most of a driver's time
        object.__setattr__(self, "_hash", hash(self.entries))

    def __hash__(self) -> int:
        """The entries' hash, reckoned once."""
        value: int = self._hash  # type: ignore[attr-defined]
        return value

    def __reduce__(self) -> tuple[type[Mask], tuple[tuple[tuple[Unit, float], ...]]]:
        """As for units: a copy reckons its own hash."""
        return Mask, (self.entries,)

    @classmethod
    def of(cls, units: Iterable[Unit], strength: float = 1.0) -> Mask:
        """The mask that transplants `units` at one strength."""
        return cls(tuple([(unit, strength) for unit in units]))

    @property
    def units(self) -> tuple[Unit, ...]:
        """The transplanted units, in order."""
        return tuple(unit for unit, _ in self.entries)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers touched, ascending, each once."""
        return tuple(sorted({unit.layer for unit, _ in self.entries if unit.layer != OUTSIDE}))

    @property
    def key(self) -> str:
        """A canonical text: the mask's name in the store."""
        return ",".join(str(u) if s == 1.0 else f"{u}@{s!r}" for u, s in self.entries)

    @classmethod
    def parse(cls, key: str) -> Mask:
        """Read `mask.key` back."""
        entries = []
        for part in filter(None, key.split(",")):
            name, _, strength = part.partition("@")
            try:
                entries.append((Unit.parse(name), float(strength or 1.0)))
            except ValueError:
                raise SettingError(f"{part!r} is not a unit with a strength") from None
        return cls(tuple(entries))

    def strength(self, unit: Unit) -> float:
        """How far `unit` is transplanted: 0 (student) to 1 (teacher)."""
        return dict(self.entries).get(unit, 0.0)

    def __len__(self) -> int:
        """How many units are transplanted."""
        return len(self.entries)

    def __iter__(self) -> Iterator[Unit]:
        """Iterate over the transplanted units."""
        return iter(self.units)


EMPTY = Mask()
"""The student itself."""


def parse_layers(text: str) -> tuple[int, ...]:
    """`3,5-7` -> (3, 5, 6, 7); SettingError names the part that is no layer."""
    found: set[int] = set()
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() if dash else True)):
            raise SettingError(f"{part!r} is not a layer; write 0-based layers such as 3,5 or 3-6")
        low, high = int(first), int(last or first)
        if high < low or high > 10_000:
            raise SettingError(f"{part!r} is not a range of layers; write the lower one first")
        found.update(range(low, high + 1))
    return tuple(sorted(found))


def parse_units(text: str) -> Mask:
    """`3.gate,5-6.mlp@0.5,7.gate[0:64],3.head[7],5.gate~8,head` as a mask.

    A strength of 0 leaves a unit the student's.

    Raises:
        SettingError: It names the part that is no unit.
    """
    entries: list[tuple[Unit, float]] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, at, strength = part.partition("@")
        head, dash, rest = name.partition("-")
        last, dot, kind = rest.partition(".")
        try:
            value = float(strength) if at else 1.0
        except ValueError:
            raise SettingError(
                f"{part!r} has no strength behind its @; write 0 to 1, as in 3.gate@0.5"
            ) from None
        if dash and dot:
            names = [f"{layer}.{kind}" for layer in parse_layers(f"{head}-{last}")]
        else:
            names = [name]
        entries += [(Unit.parse(one), value) for one in names]
    twice = [unit for i, (unit, _) in enumerate(entries) if unit in [u for u, _ in entries[:i]]]
    if twice:
        raise SettingError(f"{twice[0]} is named twice; name each unit once")
    return Mask(tuple(entries))


def moved_text(key: str) -> str:
    """A mask in a line that tells where numbers come from; nobody calls an empty one a mask."""
    return f"mask {key}" if key else "nothing moved"
