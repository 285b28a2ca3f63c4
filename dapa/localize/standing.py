"""Where prompts stand in the residual stream: last-token states of student, patched and teacher.

Student and patched are two rows of one batch; the teacher reads its own tokens. States go to the
host batch by batch, so a caller that only adds them up takes no more memory for more prompts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from dapa.core.records import EMPTY, Mask, PromptError
from dapa.localize.divergence.recording import run_below_head, states_of
from dapa.localize.divergence.tokens import Encoded, batch, encoded
from dapa.model.decode.openers import Role
from dapa.model.pair import Pair
from dapa.model.room import within_memory
from dapa.model.transplant import Plan
from dapa.prompts.format import PromptFormat

PANES = ("student", "patched", "teacher")
Progress = Callable[[int, int], None]
"""(prompts done, prompts in all)."""


def panes_of(mask: Mask) -> tuple[str, ...]:
    """Under the empty mask the patched model is the student."""
    return PANES if len(mask) else ("student", "teacher")


def standing(
    pair: Pair,
    prompts: Sequence[str],
    how: PromptFormat,
    mask: Mask = EMPTY,
    batch_size: int = 16,
    stop: threading.Event | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Batch by batch, each pane's states behind every layer, (prompts, layers, d), float32.

    Raises:
        PromptError: No prompt, or one that cannot be read.
        OutOfMemory: Not even one prompt fits into memory.
    """
    if not prompts:
        raise PromptError("there is no prompt to measure on; choose a prompt set with some")
    pair.validate(mask)
    ours = [encoded(pair, prompt, how) for prompt in prompts]
    theirs = [encoded(pair, prompt, how, "teacher") for prompt in prompts]
    at, size = 0, batch_size
    while at < len(prompts) and not (stop is not None and stop.is_set()):
        here = slice(at, at + size)
        rows = list(zip(ours[here], theirs[here], strict=True))
        yield from within_memory(
            pair,
            rows,
            lambda part: _batch(pair, [a for a, _ in part], [b for _, b in part], mask),
            lambda row: len(row[0].ids),
        )
        at += size


def _batch(
    pair: Pair, ours: Sequence[Encoded], theirs: Sequence[Encoded], mask: Mask
) -> dict[str, Tensor]:
    n = len(ours)
    if not len(mask):
        student = _last(pair, "student", ours, None)
        return {"student": student, "teacher": _last(pair, "teacher", theirs, None)}
    both = _last(pair, "student", [*ours, *ours], pair.plan([EMPTY] * n + [mask] * n))
    teacher = _last(pair, "teacher", theirs, None)
    return {"student": both[:n], "patched": both[n:], "teacher": teacher}


def _last(pair: Pair, role: Role, rows: Sequence[Encoded], plan: Plan | None) -> Tensor:
    tokens = batch(rows, "last", pair.device)
    seen: list[Tensor] = []

    def keep(tap: Any, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        if tap.role == role and tap.kind == "residual":
            seen.append(tokens.pick(states_of(output))[:, 0].float().cpu())

    run_below_head(pair, role, tokens, plan, keep)
    return torch.stack(seen, dim=1)  # (rows, layers, d)
