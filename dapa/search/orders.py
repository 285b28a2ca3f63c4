"""Nested orders of units by refusal log-odds: which unit first, which next, down to the last.

Four ways that lean on different things: each unit's share of the whole effect (mask gradients),
what it does alone, what the rest loses without it, what it adds to those chosen before it. All but
the first only need to be told log-odds of masks, so they are tested on tables, and whoever reads
them may batch a question's masks. An order says nothing of a verdict.

Backward and greedy count a prompt up to what the full set gives it: a prompt on which one unit
already does what all do has nothing more to ask for, however far its log-odds could still rise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dapa.core.records import EMPTY, Mask, Unit

Floats = NDArray[np.float64]
Read = Callable[[Sequence[Mask]], Floats]
"""Masks -> their refusal log-odds, (masks, prompts), always of the same prompts."""
Order = tuple[Unit, ...]
"""Every unit once, the most wanted first; its beginnings are the nested sets."""

FEW = 12
"""So many units or fewer are taken away one by one."""
CHUNKS = 4
"""Of more, a quarter at a time."""

ORDERS = {
    "gradient": "mask gradients",
    "single": "single effects",
    "backward": "backward, in blocks",
    "greedy": "greedy forward",
}
"""The orders by name; `gradient` is `search.priors`'s, the others are made here."""


def by_value(units: Sequence[Unit], values: Mapping[Unit, float]) -> Order:
    """The highest value first; equal ones in the order given."""
    return tuple(sorted(units, key=lambda unit: -values[unit]))


def single_values(units: Sequence[Unit], read: Read) -> dict[Unit, float]:
    """What each unit alone adds to the student's log-odds, mean over prompts."""
    found = read([EMPTY, *(Mask.of([unit]) for unit in units)])
    return dict(zip(units, (found[1:] - found[0]).mean(1).tolist(), strict=True))


def backward(units: Sequence[Unit], read: Read, prior: Sequence[Unit] | None = None) -> Order:
    """From all units down: of a few blocks, the one that is missed least goes next.

    More than `FEW` units are cut into quarters of the prior's order; fewer go one by one. What
    went first stands last, inside a block as the prior has it.

    Args:
        units: All of them.
        read: Told the masks of one question at once.
        prior: An order to cut along, the most wanted first; as given if None.
    """
    left, tail = list(prior or units), list[Unit]()
    ends = read([Mask.of(units)])[0]
    while len(left) > 1:
        size = max(1, len(left) // CHUNKS) if len(left) > FEW else 1
        cuts = range(0, len(left), size)
        blocks = [left[at : at + size] for at in cuts]
        rests = [[unit for unit in left if unit not in block] for block in blocks]
        kept = promise(read([Mask.of(rest) for rest in rests]), ends)
        # of equals the last goes, which the prior wants least
        chosen = max(range(len(blocks)), key=lambda i: (kept[i], i))
        tail = [*blocks[chosen], *tail]
        left = rests[chosen]
    return (*left, *tail)


def greedy(units: Sequence[Unit], read: Read, sizes: Sequence[int] = ()) -> Order:
    """From none up: the unit that adds most to those chosen goes next.

    Args:
        units: All of them.
        read: Told the masks of one sweep at once.
        sizes: Where to sweep again; between two of them those go in that were best in the last
            sweep. Empty sweeps for every unit.
    """
    ends, chosen, left = read([Mask.of(units)])[0], list[Unit](), list(units)
    stops = sorted({size for size in sizes if 0 < size < len(left)} | {len(left)})
    for size in stops if sizes else range(1, len(left) + 1):
        if size == len(units) and len(left) == 1:
            break
        found = promise(read([Mask.of([*chosen, unit]) for unit in left]), ends)
        best = sorted(range(len(left)), key=lambda i: (-found[i], i))[: size - len(chosen)]
        chosen += [left[i] for i in best]
        left = [unit for unit in left if unit not in chosen]
    return (*chosen, *left)


def promise(odds: Floats, full: Floats) -> Floats:
    """How far masks go towards the full set: mean log-odds, each prompt's up to the full set's.

    Args:
        odds: (masks, prompts).
        full: The full set's, (prompts,).
    """
    return np.asarray(np.minimum(odds, full).mean(1))


def readings(name: str, count: int, sizes: Sequence[int] = ()) -> int:
    """Masks that making an order asks about, the empty and the full one included."""
    units = tuple(Unit(layer) for layer in range(count))
    asked: set[Mask] = set()

    def read(masks: Sequence[Mask]) -> Floats:
        asked.update(masks)
        return np.zeros((len(masks), 1))

    if name == "single":
        single_values(units, read)
    elif name == "backward":
        backward(units, read)
    elif name == "greedy":
        greedy(units, read, sizes)
    return len(asked | {EMPTY, Mask.of(units)})
