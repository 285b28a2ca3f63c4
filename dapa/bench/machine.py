"""The machine: what it is, and how fast it multiplies and reads when nothing else is in the way."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from typing import Any

import torch
import transformers

from dapa.bench.timing import once
from dapa.model.machine import processor

_SIDES = {"cpu": ((48, 512, 512), (256, 512, 512), (512, 512, 512)), "cuda": ((8192,) * 3,)}
_LOAD = hasattr(os, "getloadavg")  # not on Windows
_BYTES = {"cpu": 2**27, "cuda": 2**31}


def flops(device: str = "cpu", dtype: torch.dtype = torch.float32, wall: bool = False) -> float:
    """FLOP/s of matrix products: the best of several sizes and tries, since a limit is a limit."""
    best = 0.0
    for m, k, n in _SIDES[torch.device(device).type]:
        x = torch.randn(m, k, device=device, dtype=dtype)
        w = torch.randn(n, k, device=device, dtype=dtype)
        for _ in range(12):
            seconds = once(lambda x=x, w=w: torch.nn.functional.linear(x, w), device, wall)
            best = max(best, 2 * m * k * n / seconds)
    return best


def bandwidth(device: str = "cpu", wall: bool = False) -> float:
    """Bytes/s read from memory, the best of several sums over more than a cache holds."""
    x = torch.ones(_BYTES[torch.device(device).type] // 4, device=device)
    return max(x.nbytes / once(lambda: x.sum(), device, wall) for _ in range(8))


def describe(
    device: str = "cpu", dtype: torch.dtype = torch.float32, wall: bool = False
) -> dict[str, Any]:
    """What a reader needs to know of where the figures come from.

    Args:
        device: Where the rows run.
        dtype: Of their weights.
        wall: Measure by the wall's clock, where several threads compute.
    """
    cuda = torch.device(device).type == "cuda"
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()) if _LOAD else None,
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "dtype": str(dtype).removeprefix("torch."),
        "flops_per_second": flops(device, dtype, wall),
        "bytes_per_second": bandwidth(device, wall),
    }
