"""The least time that a search can take on a machine, from the work that it cannot avoid."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Load:
    """What a search asked of the machine."""

    judged: float
    """n r N: replies that were decoded, over all tests."""
    prompt: float
    """P: mean tokens of a prompt."""
    reused: float
    """s: share of the prefill that was reused."""
    new: float
    """G: mean new tokens of a reply."""
    rounds: int
    """How often the search had to wait for an answer before it could ask on."""
    longest: float
    """G_max: the most new tokens of a round's replies, on average."""
    flop: float
    """f: FLOP per token."""
    context: float
    """c: mean tokens in the context while decoding."""
    kv: float
    """k: KV bytes per token of context."""
    weights: float
    """W: bytes of the student's weights."""
    sites: float
    """g: bytes of the teacher's sites."""


def seconds(load: Load, flops: float, bandwidth: float) -> float:
    """T >= max(n r N [(1-s) P f/C + G (f/C + c k/BW)], rounds G_max (W+g)/BW)."""
    prefill = (1 - load.reused) * load.prompt * load.flop / flops
    decode = load.new * (load.flop / flops + load.context * load.kv / bandwidth)
    reading = load.rounds * load.longest * (load.weights + load.sites) / bandwidth
    return max(load.judged * (prefill + decode), reading)


def told(load: Load, flops: float, bandwidth: float) -> str:
    """The numbers that went in, for the reader to check."""
    values: dict[str, Any] = asdict(load)
    parts = [f"{name} {value:.4g}" for name, value in values.items()]
    return ", ".join([*parts, f"C {flops:.3g} FLOP/s", f"BW {bandwidth:.3g} bytes/s"])
