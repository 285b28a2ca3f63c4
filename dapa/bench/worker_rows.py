"""w: the same questions asked of two workers and of this process alone: speed-up and overhead.

Seconds on the wall tell the speed-up where the cores are free, and the best of the runs in turns
counts. On a shared machine they tell of the neighbours; so the overhead is told in CPU seconds, of
all processes that had a part in it, which neighbours change little.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import psutil

from dapa.bench import timing
from dapa.bench.row import BenchRow, absent, alone, faster, share, wrong
from dapa.bench.scene import Scene
from dapa.core.records import EMPTY, Mask
from dapa.judges.base import judges
from dapa.model.machine import cores
from dapa.model.pair import Pair
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec
from dapa.search.algorithms.questions import without
from dapa.search.engine.contract import Notebook, Workload
from dapa.search.engine.inquiry import Inquiry
from dapa.search.engine.pair_runner import PairRunner
from dapa.search.engine.workers.crew import Crew
from dapa.search.engine.workers.hiring import crew_of
from dapa.search.engine.workers.shared import SharedRunner

WORKERS = 2
GOALS = (">= 1.6", "<= 1.15")
"""Of the speed-up on the wall, and of the CPU seconds of all processes."""
RIVAL = "one process"
WAIT = 600.0


def rows(scene: Scene, goals: tuple[str, str] = GOALS) -> Iterator[BenchRow]:
    """w1 to w3; absent where there is one core, or a GPU."""
    what = "whole replies of the full mask less each unit"
    if scene.device != "cpu" or cores() < WORKERS:
        reason = "a GPU computes" if scene.device != "cpu" else "there is one core"
        yield absent("w1", what, "s", RIVAL, goals[0], reason)
        return
    with tempfile.TemporaryDirectory() as folder:
        pair = _readable(scene, Path(folder))
        crew = crew_of(pair, WORKERS)
        assert crew is not None, "two workers are a crew"
        try:
            yield from _rows(scene, pair, crew, goals, what)
        finally:
            crew.end()


def _rows(
    scene: Scene, pair: Pair, crew: Crew, goals: tuple[str, str], what: str
) -> Iterator[BenchRow]:
    began = time.perf_counter()
    if not crew.wait(WAIT):
        why = "; ".join(crew.lost) or f"no worker joined in {WAIT:g} s"
        yield absent("w1", what, "s", RIVAL, goals[0], why)
        return
    joined = time.perf_counter() - began
    units = pair.units("gate")
    masks = [EMPTY, Mask.of(units), *(Mask.of(without(units, (unit,))) for unit in units)]
    what += f", {len(masks)} masks, {len(scene.texts)} prompts, {WORKERS} workers of one thread"
    runner = _runner(scene, pair)
    helped = SharedRunner(runner, False, crew)
    processes = [psutil.Process(), *(psutil.Process(one.pid) for one in crew.joined)]
    walls: dict[str, list[float]] = {"helped": [], "alone": []}
    worked: dict[str, list[float]] = {"helped": [], "alone": []}
    said = {}
    for turn in range(1 + timing.ROUNDS):
        for name, answers in (("helped", helped), ("alone", runner)):
            memory = Notebook()
            start, before = time.perf_counter(), _cpu(processes)
            Inquiry(Workload(len(scene.texts), answers, memory), mode="full").judge(masks)
            took, cpu = time.perf_counter() - start, _cpu(processes) - before
            if turn:
                walls[name].append(took)
                worked[name].append(cpu)
            said[name] = memory.replies
    if said["helped"] != said["alone"]:
        yield wrong("w1", what, "s", RIVAL, goals[0], "the replies differ")
        return
    ours, theirs = (min(walls[name]) for name in ("helped", "alone"))
    yield faster(
        "w1", f"{what}; on the wall, best of {timing.ROUNDS}", ours, RIVAL, theirs, goals[0]
    )
    ours, theirs = (median(worked[name]) for name in ("helped", "alone"))
    yield share("w2", "the same; CPU seconds of all processes", ours, RIVAL, theirs, goals[1], "s")
    yield alone("w3", "from the start of two workers until both have joined", joined, None, "s")


def _readable(scene: Scene, folder: Path) -> Pair:
    """The scene's pair as one that other processes can read from its folders."""
    for role, model in zip(("student", "teacher"), scene.rivals, strict=True):
        model.save_pretrained(folder / role)
        scene.tokenizer.save_pretrained(folder / role)
    places = str(folder / "student"), str(folder / "teacher")
    spec = PairSpec(*places, "bench-workers", "float32", "cpu")
    return load_pair(replace(spec, planted=scene.pair.spec.planted))


def _runner(scene: Scene, pair: Pair) -> PairRunner:
    opening, full = judges["opening"](), judges["rules"]()
    return PairRunner(pair, scene.texts, scene.ids, opening, full, scene.size.tokens)


def _cpu(processes: list[psutil.Process]) -> float:
    """Seconds that they have computed so far."""
    return sum(one.cpu_times().user + one.cpu_times().system for one in processes)
