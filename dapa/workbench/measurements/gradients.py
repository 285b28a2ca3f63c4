"""Mask gradients: each unit's share of the whole effect, and whether true flips agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapa.core.measurement import Call, Measurement, Shown, Table, measurements
from dapa.core.settings import setting
from dapa.prompts.settings import HarmfulSettings
from dapa.workbench.measurements.asking import NOTHING, effect, effect_text, origin, texts
from dapa.writing.numbers import percent
from dapa.writing.unit_names import unit_name, units_text

if TYPE_CHECKING:
    from dapa.localize.causes.gradients import GradientMap
    from dapa.localize.rank_agreement import RankAgreement


@dataclass(frozen=True, kw_only=True)
class GradientSettings(HarmfulSettings):
    """How slopes are integrated, and what is told beside them."""

    points: int | None = setting(
        None, "points on the path",
        "Points on the path from student to full (default: 4, or 16 where the sum then misses).",
        low=1, high=1024, none="as few as do",
    )  # fmt: skip
    neurons: int = setting(
        0, "neurons named", "Name so many of each unit's neurons.", low=0, high=1000, preset=3
    )
    true_flips: bool = setting(
        True,
        "hold against true flips",
        "Hold the ranking against true single flips.",
        flag="--check",
        preset=False,
    )


@dataclass(frozen=True, eq=False)
class Shares:
    """Shares of the whole effect, beside true flips where those were made."""

    found: GradientMap
    neurons: int
    """How many of each unit's neurons are named."""
    agreement: Mapping[str, RankAgreement]
    """`alone` and `left_out` -> rank correlation of the shares with true single flips."""

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""
        return self.found.provenance

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows, for a file."""
        return self.found.table()

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        told = {name: one.as_dict() for name, one in self.agreement.items()}
        return {**self.found.as_dict(self.neurons), **({"agreement": told} if told else {})}


def _measure(call: Call) -> Shares:
    from dapa.localize.rank_agreement import rank_agreement

    asked: GradientSettings = call.settings
    bench, units, prompts = call.bench, call.bench.pair.units(call.kind), texts(call)
    found = bench.gradients(
        prompts,
        units,
        how=asked.format(),
        points=asked.points,
        progress=call.counted("prompts"),
        stop=call.stop,
    )
    agreement = {}
    if asked.true_flips and not call.stop.is_set():
        flips = bench.flips(
            prompts,
            units,
            how=asked.format(),
            progress=call.counted("prompts, true flips"),
            stop=call.stop,
        )
        if not call.stop.is_set():
            agreement = {
                side.kind.replace(" ", "_"): rank_agreement(found.values, side.values)
                for side in flips
            }
    return Shares(found, asked.neurons, agreement)


def _describe(shares: Shares) -> Shown:
    found = shares.found
    if not found.whole.n:
        return NOTHING
    rows: list[tuple[Any, ...]] = []
    for unit in found.ranked:
        named = [
            f"{s} {n} ({round(v, 2) + 0.0:+.2f})"
            for s, n, v in found.strongest(unit, shares.neurons)
        ]
        told = effect(found.effects[found.units.index(unit)])
        rows.append((unit, told, *([", ".join(named)] if shares.neurons else [])))
    head = ("unit", "share of the effect", *(["strongest neurons"] if shares.neurons else []))
    agreed = "; ".join(
        f"{name.replace('_', ' ')} {a.rho:.2f} [{a.low:.2f}, {a.high:.2f}]"
        for name, a in shares.agreement.items()
    )
    top = found.ranked[:3]
    return Shown(
        f"The whole effect is {effect_text(found.whole)} refusal log-odds; {units_text(top)} "
        f"{'has' if len(top) == 1 else 'have'} the largest shares. Together the shares miss the "
        f"whole by {found.residual.value:+.3f}, {percent(found.error, 1)} of it.",
        (Table(head, rows),),
        (
            *([f"Rank correlation with true single flips: {agreed}."] if agreed else []),
            f"Mask gradients integrated over {found.points} strengths from 0 to 1. A prior and a "
            f"map, not a verdict. n = {found.whole.n} prompts, 95 % intervals.",
        ),
    )


def _figures(shares: Shares, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures.effects import TOGETHER, effects_chart

    found = shares.found
    rows = [
        (unit_name(unit), {"share of the effect": e})
        for unit, e in zip(found.units, found.effects, strict=True)
    ]
    return [
        (
            "each unit’s share of the effect",
            effects_chart(rows, found.whole, dark, whole_name=TOGETHER),
        )
    ]


measurements.add("gradients", "mask gradients")(
    Measurement(
        "Mask gradients",
        "Each layer’s share of the whole effect",
        "Share the whole effect on refusal log-odds out among units, by mask gradients.\n\n"
        "Slopes are integrated while all strengths move from 0 to 1; the residual is what their "
        "sum misses. --sites takes several kinds, as in gate,up.",
        "One backward pass through the row-masked student for each of a few strengths.",
        "pair",
        GradientSettings,
        _measure,
        _describe,
        _figures,
        origin=origin,
        by_kind=True,
    )
)
