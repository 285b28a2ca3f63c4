"""Embeddings and head have a row a token: which rows two vocabularies share, and how they move.

A row stays the student's where the teacher has none of its number, or where the two tokenizers
mean different tokens by it. A renamed token (a reserved one that the teacher puts to use) is still
the same row. This module knows tokenizers and tensors, no pairs.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn


def shared_rows(ours: Any, theirs: Any, rows: tuple[int, int]) -> Tensor | None:
    """Which rows of the student's table are the same token's in the teacher's.

    Args:
        ours: The student's tokenizer.
        theirs: The teacher's.
        rows: How many rows each table has.

    Returns:
        None where all are and the tables are of one size; else (student's rows,) of bool.
    """
    mine, other = ours.get_vocab(), theirs.get_vocab()
    both = min(rows)
    parted = [
        row
        for token, row in mine.items()
        if row < both and other.get(token, row) != row  # the token moved elsewhere
    ]
    parted += [row for token, row in other.items() if row < both and mine.get(token, row) != row]
    if rows[0] == rows[1] and not parted:
        return None
    shared = torch.zeros(rows[0], dtype=torch.bool)
    shared[:both] = True
    shared[parted] = False
    return shared


def twin(module: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    """A module like `module` that holds these tensors for its parameters; what is left out, shared.

    Hooks are not copied. The tensors keep their storage.
    """
    memo: dict[int, Any] = {}
    for name, parameter in module.named_parameters():
        new = tensors.get(name)
        memo[id(parameter)] = parameter if new is None else nn.Parameter(new, requires_grad=False)
    made = deepcopy(module, memo)
    for part in made.modules():
        part._forward_hooks.clear()
        part._forward_hooks_with_kwargs.clear()
    return made


def with_rows(ours: nn.Module, theirs: Tensor, shared: Tensor) -> Tensor:
    """The weight of `ours` with the shared rows taken from `theirs`, (rows, d)."""
    weight: Tensor = ours.weight.detach().clone()  # type: ignore[operator, union-attr]
    index = shared.nonzero().flatten().to(weight.device)
    weight[index] = theirs.detach().to(weight.device, weight.dtype)[index.to(theirs.device)]
    return weight
