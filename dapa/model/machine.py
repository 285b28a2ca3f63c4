"""What this machine offers: devices, dtypes, memory. Asked before anything is read."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from hashlib import sha256
from math import ceil
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import psutil
import torch

from dapa.core.cache import cache as fetched_to
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
_NAMES = {"cuda": "CUDA", "mps": "MPS", "xpu": "XPU"}
ALL_CARDS = "cuda:all"
_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def choose_device(wanted: str) -> str:
    """`auto` takes CUDA where there is one; PairError for a device that is asked for and absent.

    `mps` (Apple) and `xpu` (Intel) are taken where torch has them and somebody asks; nothing here
    was tried on either. `cuda:all` spreads a pair over every CUDA card; not tried either.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = wanted.partition(":")
    numbered = number.isdecimal() if kind in {"cpu", "cuda", "xpu"} else False
    if kind not in {"cpu", *_NAMES} or (number and not numbered and wanted != ALL_CARDS):
        raise PairError(
            f"{wanted!r} is not a device; use auto, cpu, cuda, cuda:N, {ALL_CARDS}, mps or xpu"
        )
    if kind == "cpu":
        return kind
    there = _accelerator(kind)
    if not there.is_available():
        raise PairError(
            f"device {wanted!r} was asked for, but torch sees no {_NAMES[kind]}; use cpu"
        )
    if numbered and int(number) >= there.device_count():
        raise PairError(
            f"device {wanted!r} was asked for, but there are only {there.device_count()}; "
            f"use {kind}:0"
        )
    return wanted


def _accelerator(kind: str) -> Any:
    """Torch's module of a kind of device; one that says no where this torch was built without."""
    return getattr(torch, kind, None) or SimpleNamespace(is_available=lambda: False)


def cards(device: str) -> list[str]:
    """The devices over which a pair is spread; the device itself where it is one."""
    if device != ALL_CARDS:
        return [device]
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


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
    """Does this CPU multiply matrices in bfloat16 in less than 0.6 of float32's time?

    Measured once for a processor and a version of torch, and kept in the user's cache, so that a
    pair's precision, and with it what was judged of it, does not hang on a busy moment.
    """
    known = _kept_at()
    try:
        if known is not None:
            return known.read_text(encoding="utf-8").startswith("faster")
    except (OSError, ValueError):
        pass
    found = _half_measured()
    if known is not None:
        with suppress(OSError):
            known.parent.mkdir(parents=True, exist_ok=True)
            known.write_text("faster\n" if found else "slower\n", encoding="utf-8")
    return found


def processor() -> str:
    """Its name, where the system tells it."""
    with suppress(OSError):
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        for line in info.splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _kept_at() -> Path | None:
    """Where this processor's answer lies; None where there is no cache."""
    on = f"{processor()} {torch.backends.cpu.get_cpu_capability()} {torch.__version__}"
    try:
        return fetched_to() / f"bfloat16-{sha256(on.encode()).hexdigest()[:12]}.txt"
    except PairError:
        return None


def _half_measured() -> bool:
    """Processors with bfloat16 of their own take a quarter; those without take several times."""
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


def backward_bytes(settings: Any, tokens: int) -> int:
    """What a row of a backward pass keeps until it ends: every layer's states, in float32.

    By measurement on Llamas (83 kB a token and layer at 576 wide and 1,536 in the middle).

    Args:
        settings: The model's config.
        tokens: Of the row.
    """
    middle = next(filter(None, (getattr(settings, key, None) for key in _MIDDLE)), 0)
    wide = 8 * (middle or 4 * settings.hidden_size) + 12 * settings.hidden_size
    return int(4 * tokens * settings.num_hidden_layers * wide)


def free_memory(device: str) -> int:
    """Bytes that a load may still take: of the graphics card, or of this machine or container."""
    kind = device.partition(":")[0]
    if device == ALL_CARDS:
        return sum(map(free_memory, cards(device)))
    if kind in ("cuda", "xpu"):
        there = _accelerator(kind)
        reusable = there.memory_reserved(device) - there.memory_allocated(device)
        return int(there.mem_get_info(device)[0] + reusable)
    if kind == "mps":  # one memory for both: what Metal recommends, less what it has
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    free = int(psutil.virtual_memory().available)
    return max(0, min([free, *_limits()]))


def _limits() -> Iterator[int]:
    """Bytes that are left below limits lower than the machine's: a container's, `ulimit -v`'s."""
    for names, place, root in _cgroups():
        for each in (place, *place.parents):  # a group within a group obeys both
            try:
                limit = (each / names[0]).read_text().strip()
                used = int((each / names[1]).read_text())
                lines = (line.split() for line in (each / "memory.stat").read_text().splitlines())
                cached = int(dict(lines).get(names[2], 0))  # which the kernel gives back at need
                if limit != "max":
                    yield int(limit) - used + cached
            except (OSError, ValueError):
                pass
            if each == root:
                break
    try:
        import resource  # not on Windows

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most != resource.RLIM_INFINITY:
            yield int(most - psutil.Process().memory_info().vms)
    except ImportError:
        pass


_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _cgroups() -> Iterator[tuple[tuple[str, str, str], Path, Path]]:
    """(file names, this process's group, the highest group that is seen) of either version."""
    try:
        lines = _OWN_CGROUP.read_text().splitlines()
    except OSError:
        lines = []
    paths = dict(line.split(":", 2)[1:] for line in lines if line.count(":") >= 2)
    kinds = [(_V2, _CGROUP, paths.get("", "/"))]
    for controllers, path in paths.items():
        if "memory" in controllers.split(","):
            kinds.append((_V1, _CGROUP / "memory", path))
    for names, root, path in kinds:
        inside = path.strip("/")  # a container may see its group's own path, or the root as its own
        place = root / inside if ".." not in inside.split("/") else root
        yield names, place if place.is_dir() else root, root
