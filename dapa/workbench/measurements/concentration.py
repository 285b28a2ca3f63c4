"""Concentration: how many units does refusal take, before any set is claimed?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapa.core.errors import SettingError
from dapa.core.measurement import Call, Interval, Measurement, Shown, Table, measurements
from dapa.core.settings import setting
from dapa.prompts.settings import OFFERED, TOKENS, HarmfulSettings
from dapa.workbench.measurements.asking import NOTHING
from dapa.workbench.measurements.beside import Sheet
from dapa.writing.claims import looks_text
from dapa.writing.concentration import concentration_sentence, price_text
from dapa.writing.numbers import percent
from dapa.writing.unit_names import unit_name

if TYPE_CHECKING:
    from dapa.measure.concentration import Concentration, SizeCurve
    from dapa.measure.pair_concentration import Question

ORDERS = ("gradient", "single", "backward", "greedy")


def _orders() -> Mapping[str, str]:
    """The orders by name; a heavy room, so late."""
    from dapa.search.orders import ORDERS as titles

    return titles


@dataclass(frozen=True, kw_only=True)
class ConcentrationSettings(HarmfulSettings):
    """Which orders and sizes, on which prompts."""

    orders: tuple[str, ...] = setting(
        ORDERS,
        "orders of the units",
        "gradient, single, backward, greedy: all four by default.",
        choices=_orders,
        row=1,
        told=lambda orders: f"{len(orders)} order{'' if len(orders) == 1 else 's'}",
    )
    sizes: str = setting(
        "",
        "sizes",
        "Sizes to measure, with commas; 0, 1, 2, 3, 4, 6, 8, 12 ... n by default.",
        most=1000,
        row=2,
        placeholder="0, 1, 2, 3, 4, 6, 8, 12 …",
        told=lambda sizes: f"sizes {sizes}" if sizes else "",
    )
    blocks: int | None = setting(
        None,
        "blocks of neurons a site",
        "Cut each site into so many blocks of neurons.",
        low=1,
        high=4096,
        row=2,
        none="whole sites",
        told=lambda blocks: f"each in {blocks} blocks" if blocks else "",
    )
    held_out_limit: int | None = setting(
        None,
        "held-out prompts at most",
        "At most so many held-out prompts, evenly spread.",
        low=1,
        high=1_000_000,
        row=50,
        preset=OFFERED,
        told=lambda most: f"{most:,} held out at most" if most else "all held out",
    )
    readers: int = setting(
        32,
        "prompts that order the units",
        "Search prompts whose log-odds order the units, at most.",
        low=1,
        high=100_000,
        row=50,
        told=lambda readers: f"{readers:,} order the units",
    )
    max_new_tokens: int = setting(
        TOKENS, "max new tokens", "Tokens of a reply at most.", low=1, high=8192, row=50
    )
    minimum_gain: float = setting(
        0.1,
        "least gain",
        "What all units together must surely gain, as a share of the prompts.",
        low=0.0,
        high=1.0,
        step=0.01,
        row=51,
        told=lambda gain: "" if gain == 0.1 else f"a gain of {percent(gain)} at least",
    )
    whole: bool = setting(
        False,
        "judge whole replies",
        "Judge whole replies rather than their openings.",
        row=70,
        told=lambda whole: "whole replies" if whole else "openings",
    )

    @property
    def steps(self) -> tuple[int, ...]:
        """The sizes; empty for the usual ones."""
        try:
            return tuple(int(part) for part in self.sizes.split(",") if part.strip())
        except ValueError:
            raise SettingError(
                f"sizes {self.sizes[:60]!r} are no whole numbers; write 1,2,4"
            ) from None

    def check(self) -> None:
        """There is an order, and sizes are numbers."""
        super().check()
        if not self.orders:
            raise SettingError(f"no order is named; choose of {', '.join(ORDERS)}")
        if any(step < 0 for step in self.steps):
            raise SettingError(f"size {min(self.steps)} is below 0; choose 0 or more")


@dataclass(frozen=True, eq=False)
class Concentrated:
    """The curves, and whose they are."""

    found: Concentration
    provenance: str

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return self.found.as_dict()

    def table(self) -> Sheet:
        """Headers and rows of the CSV: a row an order and size."""
        return self.found.table()


def _question(call: Call) -> Question:
    from dapa.measure.pair_concentration import Question

    asked: ConcentrationSettings = call.settings
    return Question(
        kind=call.kind,
        how=asked.format(),
        seed=asked.seed,
        prompt_limit=asked.prompt_limit,
        held_out_limit=asked.held_out_limit,
        readers=asked.readers,
        orders=asked.orders,
        sizes=asked.steps,
        blocks=asked.blocks,
        mode="full" if asked.whole else "opening",
        max_new_tokens=asked.max_new_tokens,
        minimum=asked.minimum_gain,
    )


def _measure(call: Call) -> Concentrated:
    from dapa.measure.pair_concentration import pair_concentration

    bench = call.bench
    harmful = bench.named_set(call.settings)
    found = pair_concentration(
        bench.pair, harmful, bench.store, _question(call), call.progress, call.stop
    )
    return Concentrated(
        found, f"{bench.pair.spec.title} · {found.provenance} · from {harmful.name}"
    )


def cost(call: Call, settings: ConcentrationSettings) -> str:
    """What it takes, before it starts."""
    from dapa.measure.pair_concentration import price

    asked = _question(call)
    told = price(call.bench.pair, call.bench.named_set(settings), asked)
    return price_text(told, asked.mode, call.bench.reply_pace())


def _describe(record: Concentrated) -> Shown:
    found = record.found
    if found.units and found.student is None:
        return NOTHING
    judged = "whole replies" if found.mode == "full" else "replies judged by their openings"
    notes = [
        f"Units are ordered on search prompts by refusal log-odds; {found.where} prompts tell, "
        f"{judged}, Wilson's 95 % intervals. Numbers of units and areas: bootstrap over prompts, "
        "of measured sizes. CPR and CMD are the areas of the benchmark MIB (arXiv 2504.13151), "
        "under the share of the gain and under its distance from 1, over the share of units; an "
        "even spread gives one half. No claim is made of any set that was not measured.",
    ]
    if not found.held_out:
        notes.append("No prompt is held out: the prompts that chose the order tell, too well.")
    if found.looks:
        notes.append(looks_text(found.looks))
    stopped = () if found.complete else ("Stopped early: only the sets judged by then.",)
    if not found.curves:
        return Shown(concentration_sentence(found), notes=tuple(notes[1:]), warnings=stopped)
    return Shown(
        concentration_sentence(found),
        (_orders_table(found), _sizes_table(found)),
        tuple(notes),
        warnings=stopped,
    )


def _orders_table(found: Concentration) -> Table:
    first = found.main
    rows: list[tuple[Any, ...]] = []
    for curve in sorted(found.curves, key=lambda curve: -curve.search.cpr.value):
        told = curve.told
        rows.append(
            (
                curve.title,
                Interval(told.cpr.value, told.cpr.low, told.cpr.high, ".2f"),
                Interval(told.cmd.value, told.cmd.low, told.cmd.high, ".2f"),
                *(_units(one) for one in told.needed.values()),
                _units(told.enough),
                f"up to {told.floor}" if told.floor >= 0 else "none",
            )
        )
    shares = [f"{percent(share)}\nof the gain" for share in first.told.needed]
    points = f"{round(100 * found.margin)} points"
    head = (
        "order",
        "CPR",
        "CMD",
        *shares,
        f"enough\nlose at most {points}",
        "too few\nall lose more",
    )
    return Table(
        head,
        rows,
        "How many units it takes, by order",
        f"On {found.where} prompts; the highest area on search prompts first.",
        frozenset({0}),
    )


def _units(one: Any) -> Interval:
    """A number of units with its interval."""
    return Interval(one.value, one.low, one.high, ".0f")


def _sizes_table(found: Concentration) -> Table:
    main: SizeCurve = found.main
    rows: list[tuple[Any, ...]] = []
    before = 0
    for point in main.points:
        added, before = main.order[before : point.size], point.size
        value, low, high = point.loss
        odds = point.odds_held_out if found.held_out else point.odds
        rows.append(
            (
                point.size,
                _named(added),
                point.search,
                *((point.held_out,) if found.held_out else ()),
                Interval(100 * value, 100 * low, 100 * high, "+.0f"),
                None if odds is None else f"{odds:+.1f}".replace("-", "−"),
            )
        )
    held = ("DSR, held out",) if found.held_out else ()
    head = ("units", "added", "DSR, search", *held, "loss, points", "log-odds")
    return Table(head, rows, f"In the order of {main.title}", "Loss: against all units, paired.")


_SHOWN = 6


def _named(units: Sequence[Any]) -> str:
    """Units in their order; whole layers' by number."""
    names = [unit_name(unit) for unit in units[:_SHOWN]]
    if len(names) > 1 and all(name.startswith("layer ") for name in names):
        names = [name.removeprefix("layer ") for name in names]
        names[0] = f"layers {names[0]}"
    more = f" and {len(units) - _SHOWN} more" if len(units) > _SHOWN else ""
    return ", ".join(names) + more


def _figures(record: Concentrated, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures.concentration import odds_chart, size_chart

    found = record.found
    drawn = [("refusals by number of units", size_chart(found, dark))]
    if any(point.odds is not None for curve in found.curves for point in curve.points):
        drawn.append(("log-odds by number of units", odds_chart(found, dark)))
    return drawn


measurements.add("concentration")(
    Measurement(
        "Concentration",
        "How concentrated is refusal?",
        "Move more and more units, in several orders, and count refusals: how many does it take?"
        "\n\n"
        "Asked before any search: units are ordered by mask gradients, by single effects, "
        "backward and greedily, on search prompts; nested sets are judged on search and held-out "
        "prompts. Tells units needed for 50, 80, 90 and 95 % of the gain, areas (CPR, CMD), and "
        "whether refusal is concentrated, graded, spread, or not here. Ctrl-C stops with what was "
        "judged.",
        "Size against refusals along several orders, before any set is claimed: a steep curve is "
        "concentrated, a straight one spread.",
        "pair",
        ConcentrationSettings,
        _measure,
        _describe,
        _figures,
        by_kind=True,
        cost=cost,
    )
)
