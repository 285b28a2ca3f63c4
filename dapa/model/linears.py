"""One linear a site: what a family fuses is parted, what it stores turned is laid out as a linear.

Done once, before a pair is wrapped, so that a mask, a tap or a block of neurons is one thing in
every family. No weight is copied: the parts are views. What the files call them is `Family.stored`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dapa.model.families import Family, submodule
from dapa.model.transplant import at_rest


class Parted(nn.Module):
    """A fused linear as linears that stand one behind another; its output is theirs, joined."""

    def __init__(self, fused: nn.Linear, kinds: tuple[str, ...]) -> None:
        """Part `fused` into equal parts of its rows, called `kinds`; they are views of it."""
        super().__init__()
        self.kinds = kinds
        self._whole: tuple[nn.Linear, ...] = (fused,)  # past the module tree
        weights = fused.weight.data.chunk(len(kinds))
        biases = fused.bias.data.chunk(len(kinds)) if fused.bias is not None else (None,) * 9
        for kind, weight, bias in zip(kinds, weights, biases, strict=False):
            setattr(self, kind, linear_of(weight, bias))

    def forward(self, x: Tensor) -> Tensor:
        """Map (rows, tokens, d_in) to (rows, tokens, d_out).

        Where nobody asks for its parts, the fused linear runs, so that the plain student is what it
        is unwrapped, bit for bit.
        """
        parts = [getattr(self, kind) for kind in self.kinds]
        if self._whole and all(map(at_rest, parts)):
            return self._whole[0](x)  # type: ignore[no-any-return]
        return torch.cat([part(x) for part in parts], -1)

    def __getstate__(self) -> dict[str, Any]:
        """A copy's parts are no views, so that it has no fused linear."""
        return {**self.__dict__, "_whole": ()}

    def let_go(self, others: Collection[int]) -> None:
        """Drop the fused storage where not all of it is needed; `others` are another's storages."""
        parts = [p for kind in self.kinds for p in getattr(self, kind).parameters()]
        if not any(_storage(part) in others for part in parts):
            return
        self._whole = ()
        for part in parts:
            if _storage(part) not in others:
                part.data = part.data.clone()


class Turned(nn.Linear):
    """A linear over a weight that is stored as (inputs, outputs): a view of it."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., d_in) to (..., d_out), in the order of sums that the stored layout has."""
        return functional.linear(x, self.weight, self.bias)


def linear_of(weight: Tensor, bias: Tensor | None, kind: type[nn.Linear] = nn.Linear) -> nn.Linear:
    """A linear that holds this very storage, without gradients."""
    with torch.device("meta"):
        made = kind(weight.shape[1], weight.shape[0], bias=bias is not None)
    made.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias, requires_grad=False)
    return made.eval()


def plain(model: Any, family: Family) -> None:
    """Give a model one linear for each of its family's sites, in place; once is enough."""
    for layer in submodule(model, family.layers):
        for path, kinds in family.fused:
            if not isinstance(submodule(layer, path), Parted):
                _replace(layer, path, Parted(submodule(layer, path), kinds))
        for kind in family.turned:
            path = family.site_path(kind)
            old = submodule(layer, path)
            if not isinstance(old, nn.Linear):
                _replace(layer, path, linear_of(old.weight.data.T, old.bias.data, Turned))


def _replace(layer: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, leaf = path.rpartition(".")
    setattr(submodule(layer, parent), leaf, module)


def let_go(model: nn.Module, other: nn.Module) -> None:
    """Where a part of a fused weight is another model's by now, keep no more than is needed.

    A view keeps the whole storage alive, the part that nobody reads among it.
    """
    others = {_storage(p) for p in other.parameters()}
    for module in model.modules():
        if isinstance(module, Parted):
            module.let_go(others)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
