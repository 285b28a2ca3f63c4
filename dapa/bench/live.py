"""How many bytes of activations are alive at once, counted tensor by tensor.

The resident set says more of the allocator than of the program; this counts every storage that an
operation returns for as long as somebody holds it. Weights are no operation's output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class Live(TorchDispatchMode):
    """While it is entered, `peak` is the most bytes that were alive after any operation."""

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        """Args: tensors whose storages do not count, such as weights."""
        super().__init__()
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation and look at what it returned."""
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, Tensor) and tensor.layout == torch.strided:
                storage = tensor.untyped_storage()
                place = storage.data_ptr()
                if place and place not in self._known:
                    self._alive[place] = (StorageWeakRef(storage), storage.nbytes())
        self._alive = {p: (r, n) for p, (r, n) in self._alive.items() if not r.expired()}
        self.peak = max(self.peak, sum(n for _, n in self._alive.values()))
        return out


def peak_bytes(work: Callable[[], Any], known: Iterable[Tensor]) -> int:
    """The most bytes alive while `work` runs, `known` tensors apart."""
    with Live(known) as live:
        work()
    return live.peak
