"""r: a real pair, on every thread, in the precision that this machine is faster in.

Seconds are on the wall, so a busy neighbour tells in both sides; the load stands beside the
machine. Rows are named by the pair, as in `r1@smollm2`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch

from dapa.bench import real_search, timing
from dapa.bench.hook_views import ours_of, plain_views
from dapa.bench.machine import describe
from dapa.bench.real_scene import RealScene, absent_because, every_thread, seconds
from dapa.bench.rivals import Copied, generated
from dapa.bench.row import BenchRow, absent, alone, faster, higher, wrong
from dapa.chat.conversation import PANES, Voice, converse
from dapa.core.cache import cache
from dapa.core.records import DapaError, Mask
from dapa.core.resident import give_back
from dapa.judges.base import judges
from dapa.model.decode.sampling import Decoding
from dapa.model.presets import presets
from dapa.model.template import encode, render
from dapa.prompts.format import PromptFormat, Turn

PAIRS = ("smollm2", "smollm2-concentrated")
GOALS = {**real_search.GOALS, "r3": ">= 2", "r4": ">= 2"}
WHAT = {
    "r1": "whole search of whole MLPs",
    "r2": "r1 / the physical limit",
    "r3": "chat, tokens/s of three panes",
    "r4": "summary of all views by layer",
    "r5": real_search.PEAK,
    "r6": "cold start to the first token of a reply",
}
QUESTION = "Explain step by step how bread is made at home, and what each ingredient does."
CHAT_TOKENS, VIEWS = 96, 64
NEAR = 0.5
"""Logits within which two words are a near tie: bfloat16 tells them to 0.1, layer upon layer."""


def rows(
    claim: str = "confidence",
    only: str | None = None,
    tell: Callable[[dict[str, Any]], None] = lambda machine: None,
    views: int = VIEWS,
) -> Iterator[BenchRow]:
    """r1 to r6 of every real pair that is at hand; null rows with the reason for the others.

    Args:
        claim: Of the search: confidence, quick or exact.
        only: Digits of the rows to run, as in 36; all if None.
        tell: Told the machine, once.
        views: Prompts of r4.
    """
    wanted = [name for name in WHAT if only is None or name[1] in only]
    machine: dict[str, Any] = {}
    for name in PAIRS:
        scene = None  # r5 is of one pair: nothing of the one before stays
        give_back()
        if reason := absent_because(name):
            for row in wanted:
                goal = GOALS.get(row)
                yield absent(f"{row}@{name}", f"{WHAT[row]}, {name}", "s", None, goal, reason)
            continue
        every_thread()
        if "r6" in wanted:
            yield _named(cold(name), name)
        scene = RealScene(name, claim)
        if not machine:
            machine = describe(str(scene.pair.device), scene.pair.student.dtype, wall=True)
            tell({**machine, "models": scene.title})
        for row in of(scene, machine, wanted, views):
            yield _named(row, name)


def of(
    scene: RealScene, machine: dict[str, Any], wanted: Sequence[str], views: int = VIEWS
) -> Iterator[BenchRow]:
    """The rows of one pair; r5 is looked at while r1's search is the only thing in memory."""
    _ = scene.pair
    if {"r1", "r2", "r5"} & set(wanted):
        yield from _search_rows(scene, machine, wanted)
    if "r3" in wanted:
        yield chat(scene)
    if "r4" in wanted:
        yield summary_row(scene, views)


def _search_rows(
    scene: RealScene, machine: dict[str, Any], wanted: Sequence[str]
) -> Iterator[BenchRow]:
    """r1, r2 and r5; null rows where the search ends without a set."""
    try:
        peak = real_search.peak_resident(lambda: scene.searched)
    except DapaError as error:
        for name in ("r1", "r2", "r5"):
            if name in wanted:
                yield absent(name, WHAT[name], "s", None, GOALS[name], str(error))
        return
    if "r5" in wanted:
        yield real_search.resident(scene, peak)
    if "r1" in wanted:
        yield real_search.within(scene)
        yield real_search.whole_search(scene)
    if "r2" in wanted:
        yield real_search.over_limit(scene, machine)


def _named(row: BenchRow, name: str) -> BenchRow:
    return replace(row, id=f"{row.id}@{name}")


# -- chat and views --------------------------------------------------------------------------------


def chat(scene: RealScene, tokens: int = CHAT_TOKENS) -> BenchRow:
    """r3: three panes at once beside three calls of `generate`, one after another."""
    pair, judge = scene.pair, judges["rules"]()
    how = PromptFormat()
    units = [u for u in pair.units(scene.kind) if u.layer % 2 == 0]
    copied = Copied(*scene.plain, pair.family, scene.kind)
    ids = encode(pair, render(pair, [Turn("user", QUESTION)], how), how)
    rates: dict[str, list[float]] = {"ours": [], "rival": []}
    said: dict[str, list[list[int]]] = {}
    patched = {unit.layer for unit in units}
    models = ((set(), copied.model), (patched, copied.model), (None, scene.plain[1]))

    def each() -> Iterator[Any]:
        """The three models, one after another, as their weights stand then."""
        for layers, model in models:
            if layers is not None:
                copied.transplant(layers)
            yield model

    def ours() -> list[list[int]]:
        turns = {name: [Turn("user", QUESTION)] for name in PANES}
        voice = Voice(how, Decoding(tokens))
        *_, last = converse(pair, turns, Mask.of(units), judge, voice)
        names = (list(last.pane(name).pieces) for name in PANES)
        return [pair.tokenizer.convert_tokens_to_ids(pieces) for pieces in names]

    def rival() -> list[list[int]]:
        return [generated(model, pair.tokenizer, [ids], tokens, 1)[0] for model in each()]

    for turn in range(1 + timing.ROUNDS):
        for name, side in (("ours", ours), ("rival", rival)):
            kept: list[Any] = []
            took = seconds(lambda side=side, kept=kept: kept.append(side()))
            said[name] = kept[0]
            if turn:
                rates[name].append(sum(map(len, kept[0])) / took)
    gaps = [
        parting(model, ids, mine, theirs)
        for model, mine, theirs in zip(each(), said["ours"], said["rival"], strict=True)
    ]
    copied.transplant(set())
    same = sum(a == b for a, b in zip(said["ours"], said["rival"], strict=True))
    what = (
        f"{WHAT['r3']} of up to {tokens} tokens, every second MLP patched; {same} of 3 replies "
        f"are alike to the letter, the others part where two words are {max(gaps):.2f} apart in "
        "logits at most (near ties hang on the batch)"
    )
    name = "three calls of generate"
    if max(gaps) > NEAR:
        reason = "a reply parts from its rival's where there is no near tie"
        return wrong("r3", what, "tokens / s", name, GOALS["r3"], reason)
    mine, theirs = (median(rates[side]) for side in ("ours", "rival"))
    return higher("r3", what, mine, name, theirs, GOALS["r3"], "tokens / s")


def parting(model: Any, ids: Sequence[int], mine: Sequence[int], theirs: Sequence[int]) -> float:
    """How far apart in logits two replies' tokens are where they part; 0.0 where they do not.

    The model reads the prompt and what both replies have in common, in a pass of its own.
    """
    both = list(zip(mine, theirs, strict=False))
    place = next((i for i, (a, b) in enumerate(both) if a != b), None)
    if place is None:
        return 0.0 if len(mine) == len(theirs) else float("inf")  # one goes on where one ended
    device = model.get_input_embeddings().weight.device
    with torch.inference_mode():
        read = torch.tensor([[*ids, *mine[:place]]], device=device)
        logits = model(input_ids=read).logits[0, -1].float()
    return float(logits.max() - torch.stack([logits[mine[place]], logits[theirs[place]]]).min())


def summary_row(scene: RealScene, count: int = VIEWS) -> BenchRow:
    """r4: every column of the summary beside the same by plain hooks, three layers of it timed."""
    prompts = scene.harmful.prompts[:count]
    kept: dict[str, Any] = {}
    mine = seconds(lambda: kept.update(ours=ours_of(scene, prompts)))
    found = plain_views(scene, prompts)
    mutual = [name for name in found.values if name in kept["ours"].columns]
    worst = {name: _apart(kept["ours"], name, found.values[name]) for name in mutual}
    what = (
        f"{WHAT['r4']}, {len(prompts)} prompts, kind {scene.kind}; the other's columns by layer "
        f"are {len(found.layers)} of {scene.pair.n_layers} layers timed and multiplied; largest "
        f"difference as a share of the column's range: "
        + ", ".join(f"{name} {value:.2f}" for name, value in worst.items())
    )
    rival = "plain hooks and copied weights"
    if not worst or fmean(worst.values()) > 0.25:
        return wrong("r4", what, "s", rival, GOALS["r4"], "the columns differ")
    return faster("r4", what, mine, rival, found.seconds, GOALS["r4"])


def _apart(ours: Any, name: str, theirs: dict[int, float]) -> float:
    """The largest difference of a column, as a share of its range."""
    values = ours.columns[name].values
    span = max(float(values.max() - values.min()), 1e-9)
    return max(abs(float(values[layer]) - value) for layer, value in theirs.items()) / span


# -- cold start ------------------------------------------------------------------------------------


def cold(name: str) -> BenchRow:
    """r6: a process of its own, from nothing to the first token, the model's files not cached."""
    dropped = _drop(sorted((cache() / presets()[name].student).glob("*")))
    root = Path(__file__).resolve().parents[2]
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "dapa.bench.cold", name],
        cwd=root,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None, "it was asked for"
        said = child.stdout.readline()
        took = time.perf_counter() - start
    what = (
        f"{WHAT['r6']} (python starts, imports, loads the pair, answers); model files "
        f"{'dropped from' if dropped else 'left in'} the system's cache before"
    )
    if said.strip() != b"first":
        return wrong("r6", what, "s", None, None, "no token came")
    return alone("r6", what, took, None, "s")


def _drop(files: Sequence[Path]) -> bool:
    """Ask the system to forget what it cached of these files."""
    advise = getattr(os, "posix_fadvise", None)
    if advise is None:
        return False
    for file in files:
        with file.open("rb") as opened:
            advise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return bool(files)
