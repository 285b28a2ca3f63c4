"""Ours and a rival in turns, A B A B, in one process; medians, since machines are shared.

On a CPU one thread computes and the clock counts the process's own CPU seconds. On an idle machine
that is the time on the wall; on a shared one the wall tells of the neighbours. On a GPU the wall.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

ROUNDS = 5
"""The least number of times that each side runs."""


def now(device: torch.device | str = "cpu", wall: bool = False) -> float:
    """Seconds, once everything given to the device is done.

    Args:
        device: Who computes.
        wall: Of the wall's clock on a CPU too: where several threads compute.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.perf_counter() if wall else time.process_time()


def once(work: Callable[[], Any], device: torch.device | str = "cpu", wall: bool = False) -> float:
    """Seconds of one run."""
    start = now(device, wall)
    work()
    return now(device, wall) - start


def interleaved(
    *sides: Callable[[], Any],
    rounds: int | None = None,
    warm: int = 1,
    device: torch.device | str = "cpu",
) -> tuple[float, ...]:
    """Median seconds of each side, run in turns `rounds` times after `warm` rounds for nothing."""
    return tuple(map(median, series(*sides, rounds=rounds, warm=warm, device=device)))


def series(
    *sides: Callable[[], Any],
    rounds: int | None = None,
    warm: int = 1,
    device: torch.device | str = "cpu",
) -> tuple[list[float], ...]:
    """The seconds of each side's runs, run in turns."""
    rounds = rounds or ROUNDS
    assert rounds >= ROUNDS, f"{rounds} rounds are too few for a median; give {ROUNDS} or more"
    took: tuple[list[float], ...] = tuple([] for _ in sides)
    gc.collect()
    gc.disable()  # a collection in the middle of one side would be its neighbour's litter
    try:
        for turn in range(warm + rounds):
            for side, kept in zip(sides, took, strict=True):
                seconds = once(side, device)
                if turn >= warm:
                    kept.append(seconds)
    finally:
        gc.enable()
    return took
