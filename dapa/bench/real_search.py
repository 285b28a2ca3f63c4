"""r1, r2 and r5: the whole search of a real pair, beside a rival, its limit, and its memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dapa.bench.limit import Load
from dapa.bench.limit import seconds as least_seconds
from dapa.bench.limit import told as told_limit
from dapa.bench.real_scene import RealScene, seconds
from dapa.bench.rivals import Copied, generated
from dapa.bench.row import BenchRow, absent, alone, faster, share, wrong
from dapa.core.records import Label, Mask, Unit
from dapa.judges.base import judges
from dapa.model.template import encode, render
from dapa.prompts.format import Turn
from dapa.search.engine.contract import Notebook, Workload
from dapa.search.engine.inquiry import Inquiry
from dapa.search.engine.pair_runner import PairRunner

RIVAL = "sequential ddmin with memo, generate at batch N"
GOALS = {"r1": ">= 8", "r2": "<= 3", "r5": "<= 2.5"}
WITHIN = {"smollm2": 360.0, "smollm2-concentrated": 180.0}
"""Seconds that a whole confidence search may take on two cores; the quick form takes half."""
SLIPS = 0.1
"""Share of a rival's verdicts that may differ: in bfloat16 near ties hang on the batch."""
PEAK = "peak resident memory of the search / bytes of student and teacher"


def _told(scene: RealScene) -> str:
    ran = scene.searched
    record, costs = ran.report.confidence, ran.report.costs
    asked = f"{costs.prompts_judged} replies, {costs.tokens} tokens, {costs.tests} sets"
    if record is not None:
        asked += f", {record.readings} readings; {record.form}"
    return (
        f"whole {scene.claim} search of {len(scene.pair.units(scene.kind))} {scene.kind} units "
        f"({asked}; {len(ran.report.units)} units found)"
    )


def within(scene: RealScene) -> BenchRow:
    """r1-time: seconds of the whole search, against what two cores are to take."""
    limit = WITHIN.get(scene.name)
    goal = None
    if limit is not None and scene.claim != "exact":
        goal = f"<= {limit / (2 if scene.claim == 'quick' else 1):g}"
    return alone("r1-time", _told(scene), scene.searched.seconds, goal, "s")


def three(tests: Sequence[frozenset[int]], found: frozenset[int]) -> tuple[list, list[int]]:
    """Three of these tests, one that keeps the found set and two that do not, and their weights."""
    good = [test for test in tests if found <= test]
    bad = [test for test in tests if not found <= test]
    chosen = [good[len(good) // 2], bad[len(bad) // 3], bad[2 * len(bad) // 3]]
    return chosen, [len(good), len(bad) - len(bad) // 2, len(bad) // 2]


def whole_search(scene: RealScene) -> BenchRow:
    """r1: three of the rival's tests timed, times the number it makes where the set is needed."""
    ran, pair = scene.searched, scene.pair
    found = frozenset(ran.report.units)
    tests = scene.ddmin(found)
    chosen, weights = three(tests, frozenset(unit.layer for unit in found))
    how = scene.settings.format()
    ids = [encode(pair, render(pair, [Turn("user", text)], how), how) for text in ran.prompts]
    copied = Copied(*scene.plain, pair.family, scene.kind)
    judge, said = judges["rules"](), list[bool]()
    took = []
    for layers in chosen:

        def test(layers: frozenset[int] = layers) -> None:
            copied.transplant(layers)
            made = generated(copied.model, pair.tokenizer, ids, ran.limit, len(ids))
            replies = [pair.tokenizer.decode(row, skip_special_tokens=True) for row in made]
            said.extend(
                judge(text, reply).label is Label.REFUSAL
                for text, reply in zip(ran.prompts, replies, strict=True)
            )

        took.append(seconds(test))
    copied.transplant(set())
    theirs = sum(n * t for n, t in zip(weights, took, strict=True))
    off = _differing(scene, ids, chosen, said)
    what = (
        f"{_told(scene)} beside {len(tests)} tests of {len(ids)} prompts up to {ran.limit} tokens "
        f"(what ddmin makes where exactly the found set is needed; three timed, "
        f"{', '.join(f'{t:.1f}' for t in took)} s, and multiplied; it certifies nothing); "
        f"{off} of {len(said)} of their verdicts differ from ours"
    )
    if off > SLIPS * len(said):
        return wrong("r1", what, "s", RIVAL, GOALS["r1"], "the verdicts differ")
    return faster("r1", what, ran.seconds, RIVAL, theirs, GOALS["r1"])


def _differing(
    scene: RealScene,
    ids: list[tuple[int, ...]],
    tests: Sequence[frozenset[int]],
    said: Sequence[bool],
) -> int:
    """How many of the rival's verdicts ours does not share, whole replies of the same sets."""
    ran, judge = scene.searched, judges["rules"]()
    runner = PairRunner(scene.pair, ran.prompts, ids, judges["opening"](), judge, ran.limit)
    masks = [Mask.of(Unit(layer, scene.kind) for layer in layers) for layers in tests]
    memory = Notebook()
    Inquiry(Workload(len(ids), runner, memory), mode="full").judge(list(dict.fromkeys(masks)))
    ours = [
        memory.pages["full", mask][prompt][0].label is Label.REFUSAL
        for mask in masks
        for prompt in range(len(ids))
    ]
    return sum(a != b for a, b in zip(ours, said, strict=True))


def over_limit(scene: RealScene, machine: dict[str, Any]) -> BenchRow:
    """r2: the search's seconds over what its work takes at the speed that was measured."""
    load, readings = load_of(scene)
    c, bw = machine["flops_per_second"], machine["bytes_per_second"]
    least = least_seconds(load, c, bw)
    if readings:  # a prompt that is only read costs its prefill
        alone_read = replace(load, judged=readings, new=0.0, longest=0.0)
        least += least_seconds(alone_read, c, bw)
    what = (
        f"{_told(scene)} / the physical limit of {least:.3g} s: {told_limit(load, c, bw)}; "
        f"{readings} readings, of which as much is taken to be reused as of the prefill"
    )
    return share("r2", what, scene.searched.seconds, "physical limit", least, GOALS["r2"], "s")


def load_of(scene: RealScene) -> tuple[Load, int]:
    """What the search asked of the machine, and how many prompts it read besides."""
    ran, pair = scene.searched, scene.pair
    costs, config = ran.report.costs, pair.student.config
    work, replies = costs.work, max(costs.prompts_judged, 1)
    read, reused = work.get("prefilled", 0.0), work.get("reused", 0.0)
    embedding = pair.student.get_input_embeddings().weight
    matrices = pair.parameters if pair.tied else pair.parameters - embedding.numel()
    new = costs.tokens / replies
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    size = embedding.element_size()
    record = ran.report.confidence
    load = Load(
        judged=replies,
        prompt=(read + reused) / replies,
        reused=reused / max(read + reused, 1.0),
        new=new,
        rounds=len({trial.phase for trial in ran.report.trials}) + costs.tests,
        longest=new,
        flop=2 * matrices,
        context=(read + reused) / replies + new / 2,
        kv=2 * config.num_hidden_layers * config.num_key_value_heads * dim * size,
        weights=matrices * size,
        sites=sum(
            p.numel() * p.element_size()
            for unit in pair.units(scene.kind)
            for site in pair.sites_of(unit)
            for p in pair.sites[site].teacher.parameters()
        ),
    )
    return load, record.readings if record is not None else 0


def peak_resident(work: Callable[[], Any]) -> int | None:
    """The most bytes of this process that were resident while `work` ran; None off Linux."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    except OSError:
        work()
        return None
    work()
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def resident(scene: RealScene, peak: int | None) -> BenchRow:
    """r5."""
    whole = 2 * sum(p.numel() * p.element_size() for p in scene.pair.student.parameters())
    what = (
        f"{PEAK}, with all of Python and its libraries; the pair's own weights take "
        f"{scene.pair.weight_bytes:,}"
    )
    if peak is None:
        reason = "this system tells no high-water mark"
        return absent("r5", what, "bytes", None, GOALS["r5"], reason)
    return share("r5", what, peak, "student + teacher", whole, GOALS["r5"], "bytes")
