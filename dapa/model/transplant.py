"""The row-masked student: masks that belong to rows, and watchers that belong to a context.

For row b of the batch and a site with strength m: m = 0 runs the student's module, m = 1 the
teacher's, bit for bit; only fractions blend, y_S + m (y_T - y_S). The masks travel in a ContextVar
set around one forward step, so nothing shared is mutated after load: two threads cannot cross.

This module does not know families, tokenizers or prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dapa.model.sites import Strength, resolve
from dapa.records import Mask, Site


@dataclass(frozen=True, eq=False)
class Move:
    """What one site does with a batch, decided on the host when the mask is set.

    `teacher_rows` None means that every row takes the teacher's module whole.
    """

    student_rows: Tensor | None
    """Rows that run only the student's module, (rows,)."""
    teacher_rows: Tensor | None
    """Rows that run only the teacher's module, (rows,)."""
    blends: tuple[tuple[Tensor, Tensor], ...] = ()
    """(row indices, strength over neurons or a scalar) for every fractional or partial strength."""


@dataclass(frozen=True, eq=False)
class Plan:
    """The moves of a batch whose rows carry `masks`."""

    masks: tuple[Mask, ...]
    moves: Mapping[Site, Move]


Watcher = Callable[["Tap", nn.Module, tuple[Any, ...], dict[str, Any], Any], Any]
"""(tap, module, args, kwargs, output) -> None to record, or a value that replaces the output."""

_PLAN: ContextVar[Plan | None] = ContextVar("dapa_plan", default=None)
_WATCHER: ContextVar[Watcher | None] = ContextVar("dapa_watcher", default=None)


@dataclass(frozen=True)
class Tap:
    """A place where a watcher may look: `residual`, `attention`, `mlp` or a site's kind."""

    role: str
    """`student` or `teacher`."""
    layer: int
    kind: str


@contextmanager
def masked(plan: Plan | None) -> Iterator[None]:
    """Run forwards under `plan` in this context. Never hold it open across a yield."""
    token = _PLAN.set(plan)
    try:
        yield
    finally:
        _PLAN.reset(token)


@contextmanager
def watching(watcher: Watcher | None) -> Iterator[None]:
    """Let `watcher` see (and replace) the tapped outputs in this context; None silences."""
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def _as_move(strengths: Sequence[Strength], width: int, device: torch.device) -> Move | None:
    """The plan of one site for rows with these strengths; None if every row is the student's."""
    groups: dict[Strength, list[int]] = {}
    for row, strength in enumerate(strengths):
        groups.setdefault(strength, []).append(row)
    if set(groups) == {0.0}:
        return None
    if set(groups) == {1.0}:
        return Move(None, None)

    def rows(wanted: Callable[[Strength], bool]) -> Tensor:
        return torch.tensor([r for r, s in enumerate(strengths) if wanted(s)], device=device)

    blends = []
    for strength, members in groups.items():
        if strength in (0.0, 1.0):
            continue
        if isinstance(strength, tuple):
            value = torch.zeros(width, device=device)
            for start, stop, part in strength:
                value[start:stop] = part
        else:
            value = torch.tensor(float(strength), device=device)
        blends.append((torch.tensor(members, device=device), value))
    return Move(rows(lambda s: s == 0.0), rows(lambda s: s == 1.0), tuple(blends))


def plan_masks(
    masks: Sequence[Mask], sites: Mapping[Site, TransplantModule], device: torch.device
) -> Plan | None:
    """Decide per site what a batch with these masks, one a row, has to run.

    Sites that the pair does not differ in are absent from `sites` and are left alone.

    Returns:
        None where every row is the plain student.
    """
    resolved = {mask: resolve(mask) for mask in set(masks)}
    moves = {}
    for site in sorted({site for parts in resolved.values() for site in parts}):
        if site not in sites:
            continue
        strengths = [resolved[mask].get(site, 0.0) for mask in masks]
        move = _as_move(strengths, sites[site].neurons, device)
        if move is not None:
            moves[site] = move
    return Plan(tuple(masks), moves) if moves else None


class TransplantModule(nn.Module):
    """Stands in a site's place and holds references to both models' modules.

    The teacher's module is kept out of the module tree, so parameters(), state_dict() and .to()
    of the student see the student's own weights only.
    """

    def __init__(self, site: Site, student: nn.Module, teacher: nn.Module) -> None:
        """Wrap `student`; `teacher` must be on the same device and map the same shapes."""
        super().__init__()
        self.site = site
        self.student = student
        self._teacher = (teacher,)
        self.mask_input = site.module == "down"

    @property
    def teacher(self) -> nn.Module:
        """The aligned module of the same address."""
        return self._teacher[0]

    @property
    def weight(self) -> Tensor:
        """The student's weight, for code that peeks at it."""
        return self.student.weight  # type: ignore[return-value]

    @property
    def neurons(self) -> int:
        """How many neurons a block of this site may address."""
        return int(self.weight.shape[1 if self.mask_input else 0])

    def forward(self, x: Tensor) -> Tensor:
        """Map (rows, tokens, d_in) to (rows, tokens, d_out) under this context's masks."""
        plan = _PLAN.get()
        move = plan.moves.get(self.site) if plan is not None else None
        if move is None:
            y: Tensor = self.student(x)
        elif move.teacher_rows is None or move.student_rows is None:
            y = self.teacher(x)
        else:
            y = self._mixed(x, move)
        watcher = _WATCHER.get()
        if watcher is not None:
            tap = Tap("student", self.site.layer, self.site.module)
            seen = watcher(tap, self, (x,), {}, y)
            y = y if seen is None else seen
        return y

    def _mixed(self, x: Tensor, move: Move) -> Tensor:
        """Run each module on its own rows, and both on the rows that ask for a blend."""
        assert move.student_rows is not None and move.teacher_rows is not None
        y_s = self.student(x.index_select(0, move.student_rows))
        y_t = self.teacher(x.index_select(0, move.teacher_rows))
        y = y_s.new_empty(x.shape[0], *y_s.shape[1:])
        y = y.index_copy(0, move.student_rows, y_s).index_copy(0, move.teacher_rows, y_t)
        for rows, m in move.blends:
            y = y.index_copy(0, rows, self._blend(x.index_select(0, rows), m.to(x.dtype)))
        return y

    def _blend(self, x: Tensor, m: Tensor) -> Tensor:
        """Both modules on rows of one strength: a scalar, or one value per neuron."""
        if self.mask_input and m.ndim:  # the neurons of down are its inputs
            bias = self.teacher(torch.zeros_like(x[:1, :1]))  # counted once, not twice
            y: Tensor = self.student(x * (1 - m)) + self.teacher(x * m) - bias
            return y
        y_s, y_t = self.student(x), self.teacher(x)
        mixed = y_s + m * (y_t - y_s)
        return torch.where(m == 1, y_t, torch.where(m == 0, y_s, mixed))


def install_tap(module: nn.Module, tap: Tap) -> None:
    """Let watchers see `module`'s output as `tap`; inert while this context has no watcher."""

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        watcher = _WATCHER.get()
        return None if watcher is None else watcher(tap, module, args, kwargs, output)

    module.register_forward_hook(look, with_kwargs=True)
