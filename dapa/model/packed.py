"""Weights a second time, in the order in which this CPU multiplies bfloat16.

oneDNN lays a weight out anew at every call; for the few rows of a chat that takes as long as the
product. Laid out once at load, a product is the same to the bit: a layout whose trial product is
not is left alone. The plain weight stays, since exports, ranks and gradients read it; so this
costs a model's matrices once more, and is done only where memory is ample. torch's own compiler
uses these operators; they have no public name, so a torch without them is one without this.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_AMPLE = 4
"""So many times what the second layout takes must be spare."""
_TRIED = (1, 3, 40)
"""Rows of the trial products: another number of rows may be another kernel."""
_ROWS = 64
"""How many rows a layout is made for; others, tried from 1 to 4,096, are as fast with it."""


class PackedLinear(nn.Linear):
    """A linear that has its weight in the CPU's own layout besides."""

    _packed: tuple[Tensor, int, int] | None
    """The layout, and whose it is: the address and the version of the weight."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., d_in) to (..., d_out), to the bit as `nn.Linear` does.

        Where gradients are asked for, or the weight was changed since, the plain weight is used.
        """
        weight, packed = self.weight, self._packed
        if (
            packed is None
            or torch.is_grad_enabled()
            or x.dtype != torch.bfloat16
            or not x.is_contiguous()  # torch multiplies those row by row, which rounds otherwise
            or packed[1:] != (weight.data_ptr(), weight._version)
        ):
            return functional.linear(x, weight, self.bias)
        return _product(x, packed[0], self.bias)

    @property
    def laid_out(self) -> dict[int, int]:
        """Which layout it has, by a number of its own, and its bytes."""
        if self._packed is None:
            return {}
        return {id(self._packed[0]): self.weight.numel() * self.weight.element_size()}

    def __getstate__(self) -> dict[str, Any]:
        """A copy has the plain weight alone: who copies a linear is about to write into it."""
        return {**self.__dict__, "_packed": None}


def pack(models: Iterable[nn.Module], spare: int) -> int:
    """Lay out the bfloat16 weights of these models' linears, once for each storage, in place.

    Args:
        models: Of one pair.
        spare: Bytes of memory that nothing else needs.

    Returns:
        Bytes that this took; 0 where this torch cannot, or memory is not ample.
    """
    linears = dict.fromkeys(
        part
        for model in models
        for part in model.modules()
        if type(part) is nn.Linear and _suits(part.weight)
    )
    needed = sum({p.weight.data_ptr(): p.weight.nbytes for p in linears}.values())
    if not needed or not _known() or spare < _AMPLE * needed:
        return 0
    made: dict[tuple[int, torch.Size], Tensor] = {}
    good: dict[torch.Size, bool] = {}
    with torch.no_grad():
        for part in linears:
            weight = part.weight
            if not good.setdefault(weight.shape, _same(weight.detach())):
                continue
            key = (weight.data_ptr(), weight.shape)
            if key not in made:
                made[key] = _laid_out(weight.detach())
            part.__class__ = PackedLinear
            part._packed = (made[key], key[0], weight._version)  # type: ignore[assignment]
    return sum(shape.numel() * 2 for _, shape in made)


def _suits(weight: Tensor) -> bool:
    plain = weight.device.type == "cpu" and weight.dtype == torch.bfloat16
    return plain and weight.is_contiguous() and not weight.is_inference()


def _known() -> bool:
    """Has this torch the operators, and is oneDNN at work?"""
    there = all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)
    return there and bool(torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled)


_OPERATORS = ("_reorder_linear_weight", "_linear_pointwise")


def _laid_out(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)  # type: ignore[no-any-return]


def _product(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.default(  # type: ignore[no-any-return]
        x, packed, bias, "none", [], ""
    )


def _same(weight: Tensor) -> bool:
    """Does the layout of a weight multiply as the weight itself, to the bit?"""
    try:
        packed = _laid_out(weight)
        chance = torch.Generator().manual_seed(0)
        for rows in _TRIED:
            x = torch.randn(rows, 1, weight.shape[1], generator=chance).to(weight.dtype)
            if not torch.equal(_product(x, packed, None), functional.linear(x, weight)):
                return False
    except RuntimeError:  # a processor that oneDNN has no such kernel for
        return False
    return True
