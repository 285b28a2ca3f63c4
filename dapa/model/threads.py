"""With how many threads a pair computes, for every thread of the program that runs it.

torch keeps the number per thread of the program: whoever sets it sets it for itself and for threads
that begin later, not for those that have computed before. So a pair does not set it once for the
process. Each of its models tells whoever runs it, once, until that thread turns to another pair.
Two replies that are written at once thus never change each other's number, and a browser's thread
that served the toy computes the next pair as that pair wants.

What somebody set by hand, or by OMP_NUM_THREADS, before a load is the most that the pair takes; set
by hand after the load, it stays until the thread turns to another pair.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import nn

from dapa.model.machine import choose_threads, cores


class _Here(threading.local):
    """What this thread of the program was told last."""

    by: Threads | None = None


class _Program:
    """What pairs told anyone, apart from what others set."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.allowed = 0
        self.told: set[int] = set()


_here, _program = _Here(), _Program()


def allowed() -> int:
    """The most threads that a pair may take: as torch had it, whatever earlier pairs chose."""
    now = torch.get_num_threads()
    with _program.lock:
        ours = _program.told if _here.by is None else {_here.by.count}
        if now not in ours or not _program.allowed:  # nobody chose yet, or someone else did since
            _program.allowed = now
        return min(_program.allowed, cores())


class Threads:
    """One pair's number."""

    def __init__(self, count: int) -> None:
        """Remember it; `tell` passes it on."""
        self.count = count

    def tell(self, *_: Any) -> None:
        """Let this thread of the program compute with so many, once per turn to this pair."""
        if _here.by is self:
            return
        with _program.lock:
            _program.told.add(self.count)
            torch.get_num_threads()  # a new thread takes the program's number at its first use,
            torch.set_num_threads(self.count)  # and would take it over what is set before that
        _here.by = self


def install_threads(parameters: int, device: torch.device, *models: nn.Module) -> int | None:
    """Choose a pair's threads; tell this thread now, and each that runs one of its models.

    Args:
        parameters: Of the student.
        device: Where the pair is.
        models: What runs as a whole.

    Returns:
        The number; None where the pair is not on the CPU, so that torch stays as it is.
    """
    count = choose_threads(parameters, device.type, allowed())
    if count is None:
        return None
    threads = Threads(count)
    threads.tell()
    for model in models:
        model.register_forward_pre_hook(threads.tell)
    return count
