"""How concentrated refusal is in a pair: its prompts, its orders, and what asking costs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dapa.core.masks import HEADS
from dapa.core.records import Mask, Prompt, Unit
from dapa.localize.causes.gradients import FEW_POINTS
from dapa.measure.concentrating import Concentrating, Prompts, concentration
from dapa.measure.concentration import Concentration
from dapa.measure.other_sites import Site, other_sites
from dapa.measure.size_curve import sizes_of
from dapa.model.decode.log_odds_reader import Floats, LogOddsReader
from dapa.model.decode.openers import NoOpeners, find_openers
from dapa.model.families import BLOCKS, kinds_of, sites_of
from dapa.model.pair import Pair
from dapa.model.template import render
from dapa.prompts.format import PromptFormat, Turn
from dapa.prompts.sets import PromptSet
from dapa.search.engine.contract import Mode
from dapa.search.engine.control import Halted
from dapa.search.engine.oracle import oracle
from dapa.search.orders import (
    ORDERS,
    Order,
    backward,
    by_value,
    greedy,
    readings,
    single_values,
)
from dapa.search.priors import few, opening_ids, priors
from dapa.search.setup import divided, each_once, searched_units
from dapa.store.looks import look
from dapa.store.runs import Store


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a pair."""

    kind: str = "gate"
    how: PromptFormat = PromptFormat()
    seed: int = 0
    prompt_limit: int | None = None
    """Search prompts at most."""
    held_out_limit: int | None = None
    readers: int = 32
    """Of the search prompts, those by which units are ordered, at most."""
    orders: Sequence[str] = tuple(ORDERS)
    sizes: Sequence[int] = ()
    blocks: int | None = None
    """Blocks of neurons that a site is cut into."""
    mode: Mode = "opening"
    max_new_tokens: int = 64
    minimum: float = 0.1


@dataclass(frozen=True)
class CurvePrice:
    """What it takes at most; what the store knows is not asked again."""

    units: int
    sets: int
    search: int
    """Search prompts."""
    held_out: int
    readings: int
    """Passes over one prompt that orders take; a gradient's point counts two."""

    @property
    def replies(self) -> int:
        """One a set and prompt."""
        return self.sets * (self.search + self.held_out)

    @property
    def least(self) -> int:
        """Replies after which it ends where the full set gains nothing."""
        return min(2, self.sets) * (self.search + self.held_out)


def units_of(pair: Pair, asked: Question) -> tuple[Unit, ...]:
    """What is ordered; empty where the two models are equal there.

    Raises:
        SettingError: A kind that this pair has no sites of, or that cannot be cut.
    """
    kinds = kinds_of(asked.kind)
    if all(kind in pair.differs and not pair.differs[kind] for kind in kinds):
        return ()
    return searched_units(pair, asked.kind, "bisect", asked.blocks)


def parts_of(
    pair: Pair, harmful: PromptSet, asked: Question
) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """Search prompts and held-out ones, as a search of this seed and limit would have them."""

    def rendered(prompts: Sequence[Prompt]) -> list[str]:
        return [render(pair, [Turn("user", prompt.text)], asked.how) for prompt in prompts]

    parts, _ = each_once(divided(harmful, asked.seed, asked.prompt_limit), rendered)
    held = parts.held_out
    most = asked.held_out_limit
    return parts.search, held if most is None or not held else tuple(few(held, most))


def price(pair: Pair, harmful: PromptSet, asked: Question) -> CurvePrice:
    """What `pair_concentration` would cost, before it starts."""
    units = units_of(pair, asked)
    search, held = parts_of(pair, harmful, asked)
    if not units:
        return CurvePrice(0, 0, len(search), len(held), 0)
    sizes = sizes_of(len(units), asked.sizes)
    sets = max(0, len(sizes) - 2) * len(asked.orders) + 2
    masks = sum(
        2 * FEW_POINTS + 2 if name == "gradient" else readings(name, len(units), sizes)
        for name in asked.orders
    )
    readers = min(asked.readers, len(search))
    return CurvePrice(len(units), sets, len(search), len(held), masks * readers)


def pair_concentration(
    pair: Pair,
    harmful: PromptSet,
    store: Store,
    asked: Question,
    progress: Callable[[str, float], None] = lambda what, share: None,
    stop: threading.Event | None = None,
) -> Concentration:
    """Size against refusals for one kind of site of a pair.

    Args:
        pair: The two models.
        harmful: Prompts; its split decides which of them choose and which tell.
        store: Where verdicts are kept; a search of the same prompts finds them there.
        asked: The rest.
        progress: Told (what, share done).
        stop: Set it, and what was judged by then is told.

    Raises:
        SettingError: Units or sizes that do not exist.
        PromptError: A prompt that cannot be rendered.
    """
    units, (search, held) = units_of(pair, asked), parts_of(pair, harmful, asked)
    texts = [prompt.text for prompt in search]

    def sites() -> tuple[Site, ...]:
        return other_sites(pair, asked.kind, few(texts), asked.how, stop)

    if not units:
        return Concentration(
            (), None, None, (0.0, 0.0, 0.0), asked.minimum, searched=len(search),
            held_out=len(held), kind=asked.kind, sites=sites(), seed=asked.seed,
        )  # fmt: skip
    cut = any(unit.cut and unit.kind not in HEADS for unit in units)
    parts = {part for kind in kinds_of(asked.kind) for part in pair.family.parts(kind)}
    sides = [_side(pair, prompts, units, asked, store, stop) for prompts in (search, held)]
    made = _Orders(pair, units, texts, asked, sides[0][1], stop)
    found = concentration(
        units,
        sides[0][0],
        sides[1][0] if held else None,
        made,
        Concentrating(
            sizes=asked.sizes,
            mode=asked.mode,
            kind="block" if cut else asked.kind,
            minimum=asked.minimum,
            seed=asked.seed,
            sites=sites,
            finer=bool(parts & set(BLOCKS)),
            progress=progress,
            stop=stop,
        ),
    )
    if not held or found.student is None:
        return found
    who = f"concentration {asked.kind} {asked.blocks or ''}".strip()
    return replace(found, looks=look(store, pair.digest, [p.text for p in held], who))


def _side(
    pair: Pair,
    prompts: Sequence[Prompt],
    units: Sequence[Unit],
    asked: Question,
    store: Store,
    stop: threading.Event | None,
) -> tuple[Prompts, LogOddsReader | None]:
    """One list of prompts with who answers and who reads."""
    split = oracle(pair, prompts, asked.how, asked.max_new_tokens, store)
    if not prompts:
        return Prompts(split), None
    try:
        openers = find_openers(pair)
    except NoOpeners:
        return Prompts(split), None
    read = LogOddsReader(
        pair, opening_ids(pair, [p.text for p in prompts], asked.how, units), openers
    )
    every = range(len(prompts))
    return Prompts(split, lambda masks: read(masks, every, stop=stop)), read


class _Orders:
    """Makes the orders that were asked for, on a few search prompts."""

    def __init__(
        self,
        pair: Pair,
        units: tuple[Unit, ...],
        texts: Sequence[str],
        asked: Question,
        reader: LogOddsReader | None,
        stop: threading.Event | None,
    ) -> None:
        self.pair, self.units, self.asked, self.stop = pair, units, asked, stop
        self.reader = reader
        self.places = few(range(len(texts)), asked.readers)
        self.texts = [texts[place] for place in self.places]

    def __call__(self, tell: Callable[[str, float], None]) -> dict[str, Order]:
        """The orders by name; without openers the local divergence's alone.

        Raises:
            Halted: It was stopped.
        """
        if self.reader is None:
            return {"divergence": by_value(self.units, self._prior("divergence", tell, 0.0, 1.0))}
        made: dict[str, Order] = {}
        whole = any(s.module in self.pair.mixture for u in self.units for s in sites_of(u))
        names = [name for name in self.asked.orders if name != "gradient" or not whole]
        for at, name in enumerate(names):
            start, end = at / len(names), (at + 1) / len(names)
            made[name] = self._make(name, made, tell, start, end)
        return made

    def _make(
        self,
        name: str,
        made: dict[str, Order],
        tell: Callable[[str, float], None],
        start: float,
        end: float,
    ) -> Order:
        title, units = ORDERS[name], self.units
        if name == "gradient":
            return by_value(units, self._prior(name, tell, start, end))
        sizes = sizes_of(len(units), self.asked.sizes)
        expected, asked = readings(name, len(units), sizes), 0

        def read(masks: Sequence[Mask]) -> Floats:
            nonlocal asked
            assert self.reader is not None, "orders by log-odds need openers"
            tell(f"order: {title}", start + (end - start) * min(1.0, asked / expected))
            found = self.reader(masks, self.places, stop=self.stop)
            if np.isnan(found).any():
                raise Halted("stopped")
            asked += len(masks)
            return found

        if name == "single":
            return by_value(units, single_values(units, read))
        if name == "greedy":
            return greedy(units, read, sizes)
        return backward(units, read, made.get("gradient") or made.get("single"))

    def _prior(
        self, name: str, tell: Callable[[str, float], None], start: float, end: float
    ) -> dict[Unit, float]:
        def heard(done: int, total: int) -> None:
            tell(f"order: {ORDERS.get(name, name)}", start + (end - start) * done / total)

        make = priors[name]
        return dict(make(self.pair, self.units, self.texts, self.asked.how, self.stop, heard))
