"""What this machine offers: devices, dtypes, memory. Asked before anything is read."""

from __future__ import annotations

import os
import time
from functools import cache
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch

from dapa.core.records import PairError

DTYPES = {
    "auto": None,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
LARGE = 2**25
"""Parameters of one model from which on every thread is worth having. Tried on two idle cores: from
37 M on two threads read prompts 1.8 times and decode 16 to 48 rows 1.1 to 1.3 times as fast, and
lose nothing with one row. Below 23 M they lose up to 7 % with few rows; and beside a busy neighbour
each of many small steps waits for it, which made the toy up to 14 times slower."""
_CGROUP = Path("/sys/fs/cgroup")


def choose_device(wanted: str) -> str:
    """`auto` takes CUDA where there is one; PairError if CUDA is asked for and absent."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = wanted.partition(":")
    if kind not in {"cpu", "cuda", "mps"} or (number and not number.isdecimal()):
        raise PairError(f"{wanted!r} is not a device; use auto, cpu, cuda or cuda:N")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise PairError(f"device {wanted!r} was asked for, but torch sees no CUDA; use cpu")
        if int(number or 0) >= torch.cuda.device_count():
            raise PairError(
                f"device {wanted!r} was asked for, but there are only "
                f"{torch.cuda.device_count()}; use cuda:0"
            )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise PairError(f"device {wanted!r} was asked for, but torch sees none; use cpu")
    return kind if kind == "cpu" else wanted


def choose_dtype(wanted: str, device: str, parameters: int = 0) -> torch.dtype:
    """What `auto` stands for: bfloat16 off the CPU, and on one that is surely faster with it.

    Args:
        wanted: As the user said.
        device: Where the pair is to be.
        parameters: Of one model; a small one stays in float32, where nothing is won.
    """
    if wanted not in DTYPES:
        raise PairError(f"{wanted!r} is not a dtype; choose one of {', '.join(DTYPES)}")
    if (known := DTYPES[wanted]) is not None:
        return known
    half = device != "cpu" or (parameters >= LARGE and half_is_faster())
    return torch.bfloat16 if half else torch.float32


@cache
def half_is_faster() -> bool:
    """Does this CPU multiply matrices in bfloat16 in less than 0.6 of float32's time? Measured.

    Processors with bfloat16 of their own take a quarter; those without take several times as long.
    """
    took = {}
    for dtype in (torch.float32, torch.bfloat16):
        rows, weight = torch.ones(128, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype)
        seconds = []
        for _ in range(6):
            start = time.perf_counter()
            torch.nn.functional.linear(rows, weight)
            seconds.append(time.perf_counter() - start)
        took[dtype] = median(seconds[1:])  # the first makes its plan
    return took[torch.bfloat16] < 0.6 * took[torch.float32]


def cores() -> int:
    """Processors that this program may use: those it is bound to, or its container's share."""
    bound = getattr(os, "sched_getaffinity", None)  # Linux alone
    count = len(bound(0)) if bound else os.cpu_count() or 1
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return count if quota == "max" else max(1, min(count, ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return count


def choose_threads(parameters: int, device: str, allowed: int) -> int | None:
    """Threads that a pair computes with: all that are allowed for a large one, one for others.

    Args:
        parameters: Of one model.
        device: Its kind, as in `torch.device.type`.
        allowed: What the machine has and the user allows.

    Returns:
        The number; None off the CPU, where threads only wait.
    """
    if device != "cpu":
        return None
    return allowed if parameters >= LARGE else 1


def rows_in_flight(kind: str) -> int:
    """Rows that are decoded at once at most, by the kind of device; near the ridge of both."""
    return 48 if kind == "cpu" else 192


_MIDDLE = ("intermediate_size", "n_inner", "ffn_hidden_size")
"""What configs call the MLP's width; one that says nothing means four times the stream's."""


def work_bytes(settings: Any, width: int, rows: int, tokens: int) -> int:
    """What a batch takes beside the weights: KV cache, a layer's widest states, and logits.

    Args:
        settings: The model's config.
        width: Bytes of a number.
        rows: Rows in flight.
        tokens: Of each, prompt and reply.
    """
    heads = settings.num_attention_heads
    size = getattr(settings, "head_dim", None) or settings.hidden_size // heads
    shared = getattr(settings, "num_key_value_heads", None) or heads
    kv = 2 * settings.num_hidden_layers * shared * size
    middle = next(filter(None, (getattr(settings, key, None) for key in _MIDDLE)), 0)
    wide = 2 * (middle or 4 * settings.hidden_size) + 4 * settings.hidden_size
    return int(rows * (tokens * (kv + wide) * width + settings.vocab_size * 4))


def free_memory(device: str) -> int:
    """Bytes that a load may still take: of the graphics card, or of this machine or container."""
    if device.startswith("cuda"):
        reusable = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + reusable)
    free = int(psutil.virtual_memory().available)
    try:  # a container's limit lies below the machine's
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        lines = (line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        cache = int(dict(lines).get("inactive_file", 0))
        return free if limit == "max" else min(free, int(limit) - used + cache)
    except (OSError, ValueError):
        return free
