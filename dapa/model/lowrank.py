"""The strongest directions of a matrix's difference: what a transplant at a rank moves.

Of D = W_T - W_S the best approximation of rank k keeps the k largest singular values (Eckart and
Young, 1936). With U the k leading left singular vectors it is U (U^T D), so the eigenvectors of the
smaller Gram matrix suffice; in float64, since squaring halves the digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Factors:
    """A difference as left @ right, in float32."""

    left: Tensor  # (outputs, rank)
    right: Tensor  # (rank, inputs)
    squares: Tensor  # (min(outputs, inputs),)
    """Every squared singular value of the whole difference, descending; float64, on the host."""

    @property
    def rank(self) -> int:
        """How many directions are there."""
        return self.left.shape[1]

    def first(self, rank: int) -> Factors:
        """The strongest of them: views."""
        return Factors(self.left[:, :rank], self.right[:rank], self.squares)

    @property
    def kept(self) -> float:
        """The sum of squares that these directions hold; an energy is its share of `whole`."""
        return float(self.squares[: self.rank].sum())

    @property
    def whole(self) -> float:
        """The squared Frobenius norm of the whole difference."""
        return float(self.squares.sum())

    def product(self) -> Tensor:
        """The difference at this rank, (outputs, inputs)."""
        return self.left @ self.right


def strongest(ours: Tensor, theirs: Tensor, rank: int) -> Factors:
    """The leading `rank` directions of theirs - ours, both (outputs, inputs)."""
    device = "cpu" if ours.device.type == "mps" else ours.device  # which has no float64
    with torch.inference_mode(False), torch.no_grad():  # a gradient may pass through them later
        apart = theirs.detach().to(device).double() - ours.detach().to(device).double()
        wide = apart.shape[0] <= apart.shape[1]
        values, vectors = torch.linalg.eigh(apart @ apart.T if wide else apart.T @ apart)
        basis = vectors.flip(1)[:, :rank]  # ascending, as eigh gives them
        left, right = (basis, basis.T @ apart) if wide else (apart @ basis, basis.T)
        place = ours.device
        return Factors(
            left.float().contiguous().to(place),
            right.float().contiguous().to(place),
            values.flip(0).clamp(min=0.0).cpu(),
        )
