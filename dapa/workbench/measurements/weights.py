"""How far the weights are apart, tensor by tensor, read from the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapa.core.measurement import Call, Measurement, Shown, Table, measurements
from dapa.core.settings import MAX_SEED, Settings, setting
from dapa.workbench.measurements.asking import NOTHING

if TYPE_CHECKING:
    from dapa.localize.weights import WeightMap

_MOST = 12


@dataclass(frozen=True, kw_only=True)
class WeightSettings(Settings):
    """What is compared."""

    rank: bool = setting(
        True,
        "effective ranks",
        "Effective ranks too; most of the time of a large pair goes there.",
        told=lambda rank: "with effective ranks" if rank else "without effective ranks",
    )
    seed: int = setting(
        0,
        "seed",
        "Splits, samples and random choices follow it.",
        low=0,
        high=MAX_SEED,
        told=lambda seed: f"seed {seed}",
    )


def _measure(call: Call) -> WeightMap:
    found: WeightMap = call.bench.weights(
        call.spec,
        call.settings.seed,
        call.counted("tensors"),
        call.stop,
        ranks=call.settings.rank,
    )
    return found


def _describe(found: WeightMap) -> Shown:
    if not found.tensors:
        return NOTHING
    equal = sum(t.relative == 0 for t in found.tensors)
    far = sorted(found.tensors, key=lambda t: -(t.relative or 0.0))[:_MOST]
    rows = [
        (
            t.name,
            None if t.relative is None else f"{t.relative:.3g}",
            None if t.cosine is None else f"{t.cosine:.3g}",
            None if t.rank is None else f"{t.rank.value:.3g} of {min(t.shape)}",
        )
        for t in far
    ]
    alone = [
        f"Only the {who} has {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}."
        for who, names in (("student", found.only_student), ("teacher", found.only_teacher))
        if names
    ]
    head = ("tensor", "relative Frobenius", "cosine distance", "effective rank of the difference")
    most = far[0].relative
    furthest = f" Furthest apart is {far[0].name}, at {most:.3g}." if most else ""
    return Shown(
        f"{equal:,} of {len(found.tensors):,} tensors are equal in both models.{furthest}",
        (Table(head, rows),),
        (
            *alone,
            f"The {len(far)} furthest apart; the CSV has all. A large change need not matter.",
        ),
    )


def _figures(found: WeightMap, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures.weights import weights_heatmap
    from dapa.localize.weights import MEASURES

    ranked = any(t.rank is not None for t in found.tensors)
    return [
        (f"by {title}", weights_heatmap(found, name, dark))
        for name, title in MEASURES.items()
        if found.parts
        if ranked or name != "rank"
    ]


measurements.add("weights", "weights")(
    Measurement(
        "Weights",
        "How far the weights are apart, tensor by tensor",
        "Compare every weight tensor of the two checkpoints, without building a model.\n\n"
        "Ctrl-C stops with the tensors compared so far.",
        "Read from the files: a column per layer, a row per tensor. Relative Frobenius: the change "
        "against the student’s own weights, 1 being as large as they are. A large change need not "
        "matter: what matters is told by the causal views.",
        "files",
        WeightSettings,
        _measure,
        _describe,
        _figures,
        by_layer=True,
    )
)
