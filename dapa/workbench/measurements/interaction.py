"""Units in pairs: how far the effects of each two do not add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapa.core.masks import HEADS, Mask, parse_layers
from dapa.core.measurement import Call, Measurement, Shown, Table, measurements
from dapa.core.records import SettingError
from dapa.core.settings import setting
from dapa.prompts.settings import HarmfulSettings
from dapa.workbench.measurements.asking import NOTHING, origin, texts

if TYPE_CHECKING:
    from dapa.localize.causes.interaction import Interactions


@dataclass(frozen=True, kw_only=True)
class InteractionSettings(HarmfulSettings):
    """Which units are paired."""

    layers: str = setting(
        "", "layers", "Only these 0-based layers, such as 3,5 or 3-6; empty: all that differ."
    )


def _measure(call: Call) -> Interactions:
    from dapa.model.families import units_for

    chosen, bench = parse_layers(call.settings.layers), call.bench
    units = Mask.of(units_for(call.kind, chosen)).units if chosen else bench.pair.units(call.kind)
    if chosen and set(call.kind.split(",")) & set(HEADS):  # a unit a head, not all of a layer's
        units = tuple(unit for unit in bench.pair.units(call.kind) if unit.layer in chosen)
        if not units:
            raise SettingError(
                f"no head differs in layers {call.settings.layers}; choose others, or none"
            )
    found: Interactions = bench.interaction(
        texts(call),
        units,
        how=call.settings.format(),
        progress=call.counted("prompts, pairs of units"),
        stop=call.stop,
    )
    return found


def _describe(found: Interactions) -> Shown:
    if not found.n:
        return NOTHING
    places = range(len(found.units))

    def sure(i: int, j: int) -> bool:
        return bool(found.low[i, j] > 0 or found.high[i, j] < 0)

    def cell(i: int, j: int) -> str:
        if i == j:
            return f"({found.alone[i].value:+.2f})"
        return f"{found.values[i, j]:+.2f}" + ("*" if sure(i, j) else "")

    pairs = [(i, j) for i in places for j in places if i < j and sure(i, j)]
    total = len(found.units) * (len(found.units) - 1) // 2
    more = sum(bool(found.values[i, j] > 0) for i, j in pairs)
    grid = [(found.units[i], *(cell(i, j) for j in places)) for i in places]
    return Shown(
        f"Of {total} pairs, {more} bring clearly more refusal together than apart and "
        f"{len(pairs) - more} clearly less; n = {found.n} prompts.",
        (
            Table(
                ("", *map(str, found.units)),
                grid,
                about="On the diagonal each alone. *: the 95 % interval leaves out 0.",
                drawn=True,
            ),
        ),
        ("Above 0: two units bring more refusal together than apart.",),
    )


def _figures(found: Interactions, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures.inner import interaction_heatmap

    return [("two units together, beyond the sum of each alone", interaction_heatmap(found, dark))]


measurements.add("interaction", "units in pairs")(
    Measurement(
        "Units in pairs",
        "Do units work together?",
        "Measure how far the effects of each two units do not add up, in refusal log-odds.\n\n"
        "All units that differ, or those of --layers.",
        "Above 0: two units bring more refusal together than apart. Dots: the 95 % interval "
        "includes 0.",
        "pair",
        InteractionSettings,
        _measure,
        _describe,
        _figures,
        origin=origin,
        by_kind=True,
        screen=False,
    )
)
