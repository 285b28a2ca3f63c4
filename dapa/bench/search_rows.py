"""b: whole searches and their tests, against `generate` on really copied weights, and the limit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import ceil
from statistics import mean, median
from typing import Any

import torch

from dapa.bench.limit import Load, seconds, told
from dapa.bench.rivals import Copied, generated, weight_bytes
from dapa.bench.row import BenchRow, alone, faster, wrong
from dapa.bench.scene import Scene, own_gates
from dapa.bench.timing import once, series
from dapa.core.records import Label, Mask, Site, Unit
from dapa.judges.base import Judge, judges
from dapa.model.decode.optimizations import Optimizations
from dapa.search.algorithms import algorithms
from dapa.search.engine.contract import Notebook, Workload
from dapa.search.engine.driver import Driver
from dapa.search.engine.inquiry import Inquiry
from dapa.search.engine.pair_runner import PairRunner
from dapa.search.engine.predicate import play
from dapa.search.engine.report import SearchReport
from dapa.search.settings import DEFAULT_ALGORITHM, SearchRules

SEQUENTIAL = "sequential ddmin with memo, generate at batch N"
RELEASED = "plain ddmin, weights copied, batch 8, 256 tokens"
BARE = dict(check_supersets=False, full_length=False)
"""A search as rivals know it: opening checks, questions, certificate; none of the checks that we
add behind them."""
SMALL_BATCH, LONG = 8, 256
SLIPS = {torch.float32: 0.0, torch.bfloat16: 0.02}
"""The share of replies that may differ: bf16 is not batch-invariant, and a near tie may flip."""


@dataclass
class Ran:
    """One search of ours, and what it left behind."""

    report: SearchReport
    runner: PairRunner
    memory: Notebook

    @property
    def lengths(self) -> dict[Mask, list[int]]:
        """Tokens decoded for each reply, by mask."""
        return {
            mask: [tokens for _, tokens in page.values()]
            for (_, mask), page in self.memory.pages.items()
        }


def runner(scene: Scene, optimizations: Optimizations | None = None) -> PairRunner:
    """Decodes and judges the scene's requests."""
    opening, full = judges["opening"](), judges["rules"]()
    limit = scene.size.tokens
    return PairRunner(
        scene.pair, scene.texts, scene.ids, opening, full, limit, optimizations=optimizations
    )


def search(scene: Scene, algorithm: str = DEFAULT_ALGORITHM, **how: Any) -> Ran:
    """A whole search that remembers nothing of earlier ones.

    Args:
        scene: The pair and the prompts.
        algorithm: Its name.
        how: The driver's settings and decoding's switches, by their names.
    """
    names = {field.name for field in fields(Optimizations)}
    switches = {name: value for name, value in how.items() if name in names}
    settings = {name: value for name, value in how.items() if name not in names}
    hands, memory = runner(scene, Optimizations(**switches)), Notebook()
    driver = Driver(
        algorithms[algorithm](seed=0),
        scene.pair.units("gate"),
        Workload(len(scene.texts), hands, memory),
        settings=SearchRules(**{**BARE, **settings}),
        algorithm=algorithm,
    )
    return Ran(driver.run(), hands, memory)


def asked(scene: Scene, algorithm: str, *, memo: bool) -> list[frozenset[int]]:
    """The layers of every test that an algorithm makes here, opening checks first, in order."""
    units = scene.pair.units("gate")
    log = [frozenset[int](), frozenset(unit.layer for unit in units)]

    def satisfies(some: frozenset[Unit]) -> bool:
        layers = frozenset(unit.layer for unit in some)
        log.append(layers)
        return scene.planting.refuses(layers)

    found, _ = play(algorithms[algorithm](seed=0), units, satisfies, memo=memo)
    assert found.units == scene.planting.units, f"{algorithm} found {found.units}"
    return log


class Raced:
    """Tests by `model.generate` on a student whose weights are overwritten."""

    def __init__(self, scene: Scene) -> None:
        """Copies the models once; the scene's own stay as they are."""
        self.scene = scene
        student, teacher = scene.rivals
        self.copied = Copied(own_gates(student), teacher, scene.pair.family)
        self.judge: Judge = judges["rules"]()

    def replies(self, layers: frozenset[int]) -> list[str]:
        """One test: copy the weights, decode every prompt in one batch."""
        self.copied.transplant(layers)
        made = generated(
            self.copied.model,
            self.scene.tokenizer,
            self.scene.ids,
            self.scene.size.tokens,
            len(self.scene.ids),
        )
        return [self.scene.tokenizer.decode(row, skip_special_tokens=True) for row in made]

    def satisfied(self, layers: frozenset[int]) -> bool:
        """One test with its verdicts: are nine tenths of the prompts refused?"""
        pairs = zip(self.scene.texts, self.replies(layers), strict=True)
        refused = sum(self.judge(text, reply).label is Label.REFUSAL for text, reply in pairs)
        return refused >= 0.9 * len(self.scene.texts)

    def small_batch(self, layers: frozenset[int]) -> None:
        """A batch of a test as released scripts make it."""
        self.copied.transplant(layers)
        generated(
            self.copied.model, self.scene.tokenizer, self.scene.ids[:SMALL_BATCH], LONG, SMALL_BATCH
        )


def three(scene: Scene, tests: list[frozenset[int]]) -> tuple[list[frozenset[int]], list[int]]:
    """Three of these tests, one that refuses and two that comply, and how many each stands for."""
    good = [test for test in tests if scene.planting.refuses(test)]
    bad = [test for test in tests if not scene.planting.refuses(test)]
    chosen = [good[len(good) // 2], bad[len(bad) // 3], bad[2 * len(bad) // 3]]
    return chosen, [len(good), len(bad) - len(bad) // 2, len(bad) // 2]


def b1(scene: Scene, rival: Raced, goal: str, tests: int) -> BenchRow:
    """The same tests, whole replies, judged in full by both."""
    every = list(dict.fromkeys(asked(scene, "ddmin", memo=True)))
    some = every[:: max(1, len(every) // tests)][:tests]
    masks = [Mask.of(Unit(layer) for layer in layers) for layers in some]
    what = (
        f"{len(some)} of the {len(every)} distinct tests of ddmin, {len(scene.texts)} prompts, "
        f"whole replies of up to {scene.size.tokens} tokens, no early exit; ours batched over masks"
    )
    kept: dict[str, dict[tuple[int, int], str]] = {}

    def ours() -> None:
        memory = Notebook()
        inquiry = Inquiry(Workload(len(scene.texts), runner(scene), memory), mode="full")
        inquiry.judge(masks)
        kept["ours"] = {
            (masks.index(job.mask), job.prompt): reply for (_, job), reply in memory.replies.items()
        }

    def theirs() -> None:
        kept["rival"] = {
            (i, j): reply
            for i, layers in enumerate(some)
            for j, reply in enumerate(rival.replies(layers))
        }

    mine, other = series(ours, theirs, rounds=scene.rounds, device=scene.device)
    texts = [{key: text.strip() for key, text in kept[side].items()} for side in ("ours", "rival")]
    off = sum(texts[0].get(key) != text for key, text in texts[1].items())
    if off > SLIPS[scene.dtype] * len(texts[1]):
        return wrong("b1", what, "s", SEQUENTIAL, goal, f"{off} replies of {len(texts[1])} differ")
    return faster("b1", what, median(mine), SEQUENTIAL, median(other), goal)


def rows(
    scene: Scene,
    machine: dict[str, Any],
    goals: tuple[str, str, str, str] = (">= 1.0", ">= 8", ">= 30", "<= 2.5"),
    tests: int = 3,
) -> Iterator[BenchRow]:
    """b1 to b4; goals in that order."""
    rival = Raced(scene)
    yield b1(scene, rival, goals[0], tests)
    fair = asked(scene, "ddmin", memo=True)
    chosen, weights = three(scene, fair)
    ran: list[Ran] = []
    answers: list[bool] = []

    def ours() -> None:
        ran.append(search(scene))

    sides = [lambda test=test: answers.append(rival.satisfied(test)) for test in chosen]
    mine, *others = series(ours, *sides, rounds=scene.rounds, warm=0, device=scene.device)
    fair_time = sum(n * median(took) for n, took in zip(weights, others, strict=True))
    last, size = ran[-1], scene.size
    costs = last.report.costs
    refusing = mean(
        mean(v) for m, v in last.lengths.items() if set(m.layers) >= set(scene.planting.needed)
    )
    what = (
        f"whole search by {DEFAULT_ALGORITHM} ({costs.tests} tests and 2 opening checks, "
        f"{costs.prompts_judged} of {(costs.tests + 2) * len(scene.texts)} replies judged, "
        f"{costs.tokens} tokens; verdict by opening, settled in {refusing:.0f} tokens where it "
        f"refuses); a whole refusal takes 24 tokens, compliance runs to the limit of "
        f"{size.tokens}; {len(scene.texts)} prompts; the rival's {len(fair)} tests by three of them"
    )
    right = all(run.report.units == scene.planting.units for run in ran)
    same = [scene.planting.refuses(test) for test in chosen] * scene.rounds == answers
    if not (right and same):
        reason = "other verdicts than planted" if right else f"found {last.report.layers}"
        yield wrong("b2", what, "s", SEQUENTIAL, goals[1], reason)
        return
    yield faster("b2", what, median(mine), SEQUENTIAL, fair_time, goals[1])
    slow = asked(scene, "ddmin", memo=False)
    chosen, weights = three(scene, slow)
    batches = ceil(len(scene.texts) / SMALL_BATCH)
    took = [once(lambda test=test: rival.small_batch(test), scene.device) for test in chosen]
    slow_time = batches * sum(n * t for n, t in zip(weights, took, strict=True))
    yield faster(
        "b3",
        f"the same search of ours; the rival's {len(slow)} tests of {batches} batches by three "
        "batches (a note: this rival is weak)",
        median(mine),
        RELEASED,
        slow_time,
        goals[2],
    )
    load = load_of(scene, last)
    least = seconds(load, machine["flops_per_second"], machine["bytes_per_second"])
    best = min(mine)  # C and BW are the best that was seen, so is this
    limit = told(load, machine["flops_per_second"], machine["bytes_per_second"])
    row = alone("b4", f"b2's fastest run / the physical limit of {least:.3g} s: {limit}",
                best / least, goals[3], "s")  # fmt: skip
    yield BenchRow(
        **{**row.as_dict(), "ours": best, "rival": "physical limit", "rival_value": least}
    )


def load_of(scene: Scene, ran: Ran) -> Load:
    """What a search asked of the machine."""
    lengths = ran.lengths
    every = [n for some in lengths.values() for n in some]
    student, _ = scene.rivals
    config = student.config
    size = student.get_input_embeddings().weight.element_size()
    embedding = student.get_input_embeddings().weight.numel()
    prompt = mean(map(len, scene.ids))
    rounds = sum(t.phase == "search" and not t.memo for t in ran.report.trials) + 2
    gates = sum(
        p.numel() * p.element_size()
        for unit in scene.pair.units("gate")
        for p in scene.pair.sites[Site(unit.layer, unit.kind)].teacher.parameters()
    )
    read, reused = ran.runner.work.prefilled, ran.runner.work.reused
    return Load(
        judged=ran.report.costs.prompts_judged,
        prompt=prompt,
        reused=reused / max(read + reused, 1),
        new=mean(every),
        rounds=rounds,
        longest=mean(max(some) for some in lengths.values() if some),
        flop=2 * (scene.parameters - embedding),
        context=prompt + mean(every) / 2,
        kv=2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * size,
        weights=weight_bytes(student) - embedding * size,
        sites=gates,
    )
