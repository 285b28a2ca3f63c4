"""c: toggle one layer until the next forward is ready, against really copied weights.

Every gate is toggled in turn, and back, beside the planted set; half of the masks are new to the
pair. Microseconds are taken from the wall: asking for CPU seconds would take as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import torch

from dapa.bench.rivals import Copied, padded, save_and_load
from dapa.bench.row import BenchRow, faster, wrong
from dapa.bench.scene import Scene, own_gates
from dapa.bench.timing import now
from dapa.core.records import Mask, Unit
from dapa.model.transplant import Plan, masked

FAR = {torch.float32: 1e-3, torch.bfloat16: 1.0}
"""How far logits of up to 40 may be apart."""


class _Hands:
    """Both ways to toggle, one layer after another."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.pair = scene, scene.pair
        student, teacher = scene.rivals
        self.copied = Copied(own_gates(student), teacher, scene.pair.family)
        self.copied.transplant(set(scene.planting.needed))
        self.units = tuple(Unit(layer) for layer in range(scene.size.layers))
        self.needed = frozenset(scene.planting.needed)

    def presses(self) -> list[tuple[int, bool, tuple[Unit, ...]]]:
        """(layer, on?, the units that are on from then): each layer toggled, and back."""
        made = []
        for layer in range(len(self.units)):
            for on in ((layer not in self.needed), (layer in self.needed)):
                kept = (self.needed - {layer}) | ({layer} if on else set())
                made.append((layer, on, tuple(self.units[i] for i in sorted(kept))))
        return made

    def ours(self, press: tuple[int, bool, tuple[Unit, ...]]) -> Plan | None:
        """From the units that are on to a plan that the next forward runs under."""
        return self.pair.plan([Mask.of(press[2])])

    def theirs(self, press: tuple[int, bool, tuple[Unit, ...]]) -> None:
        """Overwrite the gate."""
        self.copied.toggle(press[0], press[1])


def _each(side: Callable[..., object], hands: _Hands) -> float:
    """Seconds of one toggle, the mean over all layers there and back."""
    presses = hands.presses()
    hands.pair.forget_plans()
    start = now(hands.scene.device), perf_counter()
    for press in presses:
        side(press)
    now(hands.scene.device)
    return (perf_counter() - start[1]) / len(presses)


def _between_forwards(hands: _Hands) -> tuple[float, float, float]:
    """Medians where a forward of each side runs between two toggles; how far their logits are."""
    tokens, attention = padded(hands.scene.ids[:1], hands.pair.device)
    device = hands.scene.device
    mine, theirs, worst = [], [], 0.0
    with torch.inference_mode():
        for press in hands.presses():
            start = perf_counter()
            plan = hands.ours(press)
            mine.append(perf_counter() - start)
            with masked(plan):
                one = hands.pair.student(input_ids=tokens, attention_mask=attention).logits
            now(device)
            start = perf_counter()
            hands.theirs(press)
            now(device)
            theirs.append(perf_counter() - start)
            other = hands.copied.model(input_ids=tokens, attention_mask=attention).logits
            worst = max(worst, float((one - other).abs().max()))
    return median(mine), median(theirs), worst


WIDE = 320
"""The width from which on the goals are the whole ones: a narrow gate is soon copied."""


def goals_of(scene: Scene) -> tuple[str, str]:
    """Goals of c1 and c2 at this width."""
    return (">= 8", ">= 5e4") if scene.size.shape.hidden >= WIDE else (">= 4", ">= 1e4")


def rows(scene: Scene, goals: tuple[str, str] | None = None, loads: int = 5) -> Iterator[BenchRow]:
    """c1 against an in-place copy, c2 against saving and loading."""
    goals = goals or goals_of(scene)
    hands = _Hands(scene)
    cold, copied, worst = _between_forwards(hands)
    what = (
        f"toggle one of {scene.size.layers} gates until the next forward is ready, all in turn; "
        f"just behind a forward, its weights in the caches, {1e6 * cold:.0f} us"
    )
    beside = f"{what} against {1e6 * copied:.0f} us"
    if worst > FAR[scene.dtype]:
        yield wrong("c1", beside, "s", "in-place copy", goals[0], f"logits {worst:.2g} apart")
        return
    ours, theirs = [], []
    for _ in range(1 + scene.rounds):
        ours.append(_each(hands.ours, hands))
        theirs.append(_each(hands.theirs, hands))
    mine = median(ours[1:])
    yield faster("c1", beside, mine, "in-place copy", median(theirs[1:]), goals[0])
    took = []
    with TemporaryDirectory() as folder:
        for _ in range(loads):
            start = perf_counter()
            save_and_load(hands.copied.model, hands.copied, 0, Path(folder))
            now(scene.device)
            took.append(perf_counter() - start)
    yield faster("c2", what, mine, "save and load", median(took), goals[1])
