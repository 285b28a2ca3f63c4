"""Bytes of tensors that are alive, counted from the operations themselves: no RSS, no clock."""

from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Within it, `peak` is the most bytes that tensors made here held at once."""

    def __init__(self):
        super().__init__()
        self.peak = 0
        self._held = {}
        self._sum = 0  # of all in `_held`, dead ones too until it would be a new peak

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        known = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs or {})) if _real(x)}
        for x in tree_leaves(out):
            storage = x.untyped_storage() if _real(x) else None
            if storage is not None and storage._cdata not in known:
                self._sum += storage.nbytes() - self._held.get(storage._cdata, (None, 0))[1]
                self._held[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        if self._sum > self.peak:
            self._held = {k: v for k, v in self._held.items() if not v[0].expired()}
            self._sum = sum(size for _, size in self._held.values())
            self.peak = max(self.peak, self._sum)
        return out


def _real(x):
    return hasattr(x, "untyped_storage") and x.device.type != "meta"
