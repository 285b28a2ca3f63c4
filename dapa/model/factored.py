"""A linear that is another model's and a low-rank difference beside it: no second matrix is held.

y = W x + B (A x), the sum in float32 and rounded once. Merged weights are rounded before they
multiply, so the two may part in a last bit, and with it, where two tokens are as likely, in a word.
Whoever asks for the weight gets W + B A made anew each time, as merging makes it.
This module does not know adapters or files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dapa.model.linears import linear_of


class Factored(nn.Module):
    """Stands in a linear's place in a model that shares the linear with another."""

    def __init__(self, base: nn.Linear, a: Tensor, b: Tensor) -> None:
        """Hold references to `base`, and both factors in float32.

        Args:
            base: The other model's linear, (d_out, d_in); it stays as it is.
            a: (r, d_in).
            b: (d_out, r), the scale among it.
        """
        super().__init__()
        self._base = (base.weight, base.bias)  # past the module tree: they are another's
        place = base.weight.device
        self._factors = (a.float().contiguous().to(place), b.float().contiguous().to(place))

    @property
    def weight(self) -> Tensor:
        """The whole matrix (d_out, d_in), made now."""
        ours, (a, b) = self._base[0], self._factors
        with torch.no_grad():
            return torch.addmm(ours.float(), b, a).to(ours.dtype)

    @property
    def bias(self) -> Tensor | None:
        """The other linear's own: a low-rank difference has none."""
        return self._base[1]

    @property
    def held(self) -> tuple[Tensor, ...]:
        """What is really in memory, the other model's tensors among it."""
        return (*(x for x in self._base if x is not None), *self._factors)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """As a linear has them; the weight is made for whoever asks."""
        yield "weight", nn.Parameter(self.weight, requires_grad=False)
        if self.bias is not None:
            yield "bias", nn.Parameter(self.bias, requires_grad=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Linear:
        """A plain linear: who copies a module is about to write into its weight."""
        bias = self.bias
        made = linear_of(self.weight, None if bias is None else bias.detach().clone())
        memo[id(self)] = made
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., d_in) to (..., d_out)."""
        weight, bias = self._base
        y = functional.linear(x, weight, bias)
        a, b = self._factors
        return (y + functional.linear(functional.linear(x.float(), a), b)).to(y.dtype)
