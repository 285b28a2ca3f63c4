"""The teacher as a mask: where all that two models differ in can be moved, one model is both.

Then the teacher can be one more row of the student's batch, and what the two have in common is read
once a step and not twice. This module does not know files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dapa.core.records import Mask, Site, Unit
from dapa.model.transplant import TransplantModule

_SAYS_NOTHING = {
    "_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype",
    "bos_token_id", "eos_token_id", "pad_token_id",
}  # fmt: skip
"""Keys of a config that no forward reads."""


class Joined(Protocol):
    """What is asked of a pair."""

    student: Any
    teacher: Any
    tokenizer: Any
    teacher_tokenizer: Any
    whole: bool
    live: Mapping[Site, TransplantModule]


def teacher_mask(pair: Joined) -> Mask | None:
    """The mask under which the student computes what the teacher does, to the last parameter.

    Returns:
        None where they differ in what no mask moves (a setting, a tokenizer, a norm that is no
        site), or where the teacher is not whole in memory.
    """
    if not pair.whole or not _same_settings(pair) or not _same_words(pair):
        return None
    live = pair.live
    common = {_place(tensor) for _, tensor in _tensors(pair.student)}
    moved = {_place(p) for module in live.values() for p in module.teacher.parameters()}
    ours = {name.replace(".student.", "."): b for name, b in pair.student.named_buffers()}
    for name, theirs in _tensors(pair.teacher):
        same = ours.get(name)
        equal = same is not None and same.shape == theirs.shape and torch.equal(same, theirs)
        if not equal and _place(theirs) not in common | moved:
            return None
    return Mask.of(Unit(site.layer, site.module) for site in live)


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """Where a tensor's numbers lie; one that has none anywhere is like no other."""
    where = tensor.data_ptr() or id(tensor)
    return (str(tensor.device), where, tuple(tensor.shape), tensor.stride())


def _same_settings(pair: Joined) -> bool:
    def told(model: Any) -> dict[str, Any]:
        return {k: v for k, v in model.config.to_dict().items() if k not in _SAYS_NOTHING}

    return told(pair.student) == told(pair.teacher)


def _same_words(pair: Joined) -> bool:
    """Do both write the same text for every row of tokens?"""
    ours, theirs = pair.tokenizer, pair.teacher_tokenizer
    if ours is theirs:
        return True
    fast = [getattr(each, "backend_tokenizer", None) for each in (ours, theirs)]
    if None in fast or type(ours) is not type(theirs):
        return False
    return bool(fast[0].to_str() == fast[1].to_str())  # type: ignore[union-attr]
