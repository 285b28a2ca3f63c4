"""Do judges agree, with each other and with people? Cohen's kappa, and where they part.

This module compares verdicts; who gave them, and how, it does not know. A judge that could not be
asked about a reply has said nothing of it, so that such replies are left out of its pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from dapa.core.records import Label, Rate, Verdict
from dapa.core.statistics import kappa, wilson

HUMAN = "human"
"""The name under which people's rulings stand beside the judges."""


@dataclass(frozen=True)
class Agreed:
    """Two judges on the replies that both have ruled on."""

    a: str
    b: str
    observed: Rate
    """Share of replies on which they say the same."""
    kappa: Rate | None
    """Over the four labels; None where both always say the same one thing."""
    refusal: Rate | None
    """Kappa over refusal or not, which is all that DSR asks."""
    table: Mapping[tuple[Label, Label], int]
    """(what a says, what b says) -> replies."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "a": self.a,
            "b": self.b,
            "observed": self.observed.as_dict(),
            "kappa": self.kappa and self.kappa.as_dict(),
            "refusal_kappa": self.refusal and self.refusal.as_dict(),
            "table": {f"{x}/{y}": n for (x, y), n in self.table.items()},
        }


@dataclass(frozen=True)
class Agreement:
    """Every pair of judges, and the replies on which not all say the same."""

    judges: tuple[str, ...]
    pairs: tuple[Agreed, ...]
    disagreements: tuple[int, ...]
    """Places of those replies."""

    def pair(self, a: str, b: str) -> Agreed:
        """Two judges, in either order."""
        return next(p for p in self.pairs if {p.a, p.b} == {a, b})

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; `matrix` holds kappa, row by row in the judges' order."""
        matrix = [
            [
                None if a == b or (rate := self.pair(a, b).kappa) is None else rate.value
                for b in self.judges
            ]
            for a in self.judges
        ]
        return {
            "judges": list(self.judges),
            "matrix": matrix,
            "pairs": [pair.as_dict() for pair in self.pairs],
            "disagreements": list(self.disagreements),
        }


def agreement(said: Mapping[str, Sequence[Verdict | Label | None]]) -> Agreement:
    """Compare judges over the same replies.

    Args:
        said: Judge -> what it says of each reply, in one order; None is nothing.
    """
    labels = {judge: [_label(word) for word in words] for judge, words in said.items()}
    pairs = tuple(_agreed(a, b, labels[a], labels[b]) for a, b in combinations(labels, 2))
    apart = [
        place
        for place, words in enumerate(zip(*labels.values(), strict=True))
        if len({word for word in words if word is not None}) > 1
    ]
    return Agreement(tuple(labels), pairs, tuple(apart))


def _label(word: Verdict | Label | None) -> Label | None:
    if isinstance(word, Verdict):
        return None if word.failed else word.label
    return word


def _agreed(a: str, b: str, left: Sequence[Label | None], right: Sequence[Label | None]) -> Agreed:
    both = [(x, y) for x, y in zip(left, right, strict=True) if x is not None and y is not None]
    xs, ys = [x for x, _ in both], [y for _, y in both]
    table: dict[tuple[Label, Label], int] = {}
    for cell in both:
        table[cell] = table.get(cell, 0) + 1
    return Agreed(
        a,
        b,
        wilson(sum(x == y for x, y in both), len(both)),
        kappa(xs, ys),
        kappa([x is Label.REFUSAL for x in xs], [y is Label.REFUSAL for y in ys]),
        table,
    )
