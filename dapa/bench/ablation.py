"""Each optimization of a search: what it is worth alone and among others, and the work it saves.

An optimization is a setting of the search, a switch of decoding, or the choice of algorithm; a new
one is a line in `SWITCHES`. The plain path has them all off. Whatever is off, a mask's verdict on a
prompt must be the same, and is compared.

Two have no switch. Several candidates in one batch follow from rows that carry their own mask
(`lookahead` adds those that may never be asked); and on a CPU the rows of each model are
gathered by index, on which nothing else is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from dapa.bench.row import BenchRow, faster, wrong
from dapa.bench.scene import Scene, Size
from dapa.bench.search_rows import Ran, search
from dapa.bench.timing import once
from dapa.core.records import EMPTY
from dapa.model.pair import Pair
from dapa.model.pair_loading import load_pair
from dapa.model.presets import preset
from dapa.planted.wiring import ModelShape
from dapa.prompts.sets import bundled
from dapa.search.settings import DEFAULT_ALGORITHM

ROUNDS = 3
"""Runs of each variant, in turns; there are some twenty variants."""
Saved = Callable[[Ran, Ran], str]
"""(with the optimization, without it) -> the work that it saved, in its own words."""


@dataclass(frozen=True)
class Switch:
    """One optimization."""

    name: str
    number: int
    """In the house's list of optimizations, by the size of the prize expected."""
    off: Mapping[str, Any]
    """What switches it off: settings of the search, switches of decoding, or the algorithm."""
    saved: Saved


def _work(name: str, what: str) -> Saved:
    """A counter of the runner's work, with the optimization."""
    return lambda on, off: f"{getattr(on.runner.work, name):,.0f} {what}"


def _fewer(count: Callable[[Ran], float], what: str) -> Saved:
    """A count that the optimization lowers."""
    return lambda on, off: f"{count(on):,.0f} instead of {count(off):,.0f} {what}"


def _tokens(ran: Ran) -> float:
    return ran.runner.work.decoded + ran.runner.work.idle


SWITCHES = (
    Switch("bisection", 1, {"algorithm": "ddmin"}, _fewer(lambda r: r.report.costs.tests, "tests")),
    Switch("memo", 1, {"memo": False}, lambda on, off: f"{on.report.costs.memo_hits} memo hits"),
    Switch(
        "curtail",
        2,
        {"curtail": False},
        lambda on, off: f"{on.report.costs.prompts_spared} prompts spared",
    ),
    Switch("eager", 3, {"eager": False}, _fewer(lambda r: r.runner.work.steps, "steps")),
    Switch("settle", 3, {"settle": False}, _work("settled", "rows settled early")),
    Switch("leave", 3, {"leave": False}, _fewer(_tokens, "tokens computed")),
    Switch("refill", 3, {"refill": False}, _work("refilled", "rows came into a running batch")),
    Switch("reuse", 4, {"reuse": False}, _work("reused", "prompt tokens not read again")),
    Switch(
        "share",
        4,
        {"share": False},
        lambda on, off: f"{on.runner.work.reused - off.runner.work.reused:,.0f} prompt tokens more",
    ),
    Switch("alike", 4, {"alike": False}, _fewer(lambda r: r.runner.work.padding, "empty places")),
)
"""In the order of the house's list."""
PLAIN: dict[str, Any] = {key: value for switch in SWITCHES for key, value in switch.off.items()}
"""Everything off."""


def toy(name: str = "toy-gate", prompts: int = 64) -> Scene:
    """A trained pair in the place of a planted one: its prompts differ in their verdicts."""
    texts = [p.text for p in bundled()["toy_harmful"].split(0).search][:prompts]
    pair = load_pair(preset(name).spec("float32", "cpu"))
    size = Size(name, pair.n_layers, ModelShape(), len(texts), (0, 0), 48)
    return _Toy(size, pair=pair, texts=texts)


class _Toy(Scene):
    """A scene whose pair and prompts are given."""

    def __init__(self, size: Size, pair: Pair, texts: list[str]) -> None:
        super().__init__(size)
        self.__dict__.update(pair=pair, texts=texts)  # in the place of what a scene would make


def variants() -> dict[str, dict[str, Any]]:
    """Name -> what is off: nothing, each optimization alone, all but each, and all."""
    made: dict[str, dict[str, Any]] = {"all on": {}}
    for switch in SWITCHES:
        made[f"{switch.name} off"] = dict(switch.off)
    for switch in SWITCHES:
        made[f"{switch.name} alone"] = {k: v for k, v in PLAIN.items() if k not in switch.off}
    return {**made, "all off": dict(PLAIN)}


def rows(scene: Scene, rounds: int = ROUNDS) -> Iterator[BenchRow]:
    """A row a optimization, and one for all of them together; no goals, so `passed` is null."""
    times: dict[str, list[float]] = {name: [] for name in variants()}
    last: dict[str, Ran] = {}
    search(scene)  # what is loaded once is not the first variant's fault
    for _ in range(rounds):
        for name, off in variants().items():
            settings = {"algorithm": DEFAULT_ALGORITHM, **off}

            def work(name: str = name, settings: dict[str, Any] = settings) -> None:
                last[name] = search(scene, **settings)

            times[name].append(once(work, scene.device))
    took = {name: median(runs) for name, runs in times.items()}
    trouble = {name: _differs(last["all off"], ran) for name, ran in last.items()}
    where = f"on {scene.size.name}, {scene.size.layers} gates, {len(scene.texts)} prompts"
    for switch in SWITCHES:
        off, lone = f"{switch.name} off", f"{switch.name} alone"
        name = f"optimization-{switch.name}@{scene.size.name}"
        what = (
            f"optimization {switch.number}, {switch.name}, {where}: whole search with it off, "
            f"all else on; by itself on the plain path "
            f"{took['all off'] / took[lone]:.2f} times faster; "
            f"saved: {switch.saved(last['all on'], last[off])}"
        )
        bad = trouble[off] or trouble[lone] or trouble["all on"]
        if bad:
            yield wrong(name, what, "s", off, None, bad)
            continue
        yield faster(name, what, took["all on"], off, took[off], None)
    what = f"all optimizations together, {where}: whole search on the plain path, {PLAIN}"
    yield faster(
        f"optimization-all@{scene.size.name}",
        what,
        took["all on"],
        "all off",
        took["all off"],
        None,
    )


def _differs(one: Ran, other: Ran) -> str:
    """Where two runs judged the same mask and prompt unlike; empty where they did not."""
    for key, page in one.memory.pages.items():
        theirs = other.memory.pages.get(key, {})
        for prompt, (verdict, _) in page.items():
            if prompt in theirs and theirs[prompt][0].label is not verdict.label:
                return f"mask {key[1].key or EMPTY}, prompt {prompt}: verdicts differ"
    return ""


__all__ = ["PLAIN", "SWITCHES", "Switch", "rows", "toy", "variants"]
