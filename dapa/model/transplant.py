"""The row-masked student: masks that belong to rows, and watchers that belong to a context.

For row b of the batch and a site with strength m: m = 0 runs the student's module, m = 1 the
teacher's, bit for bit; only fractions blend, y_S + m (y_T - y_S). The masks travel in a ContextVar
set around one forward step, so nothing shared is mutated after load: two threads cannot cross.

This module does not know families, tokenizers or prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dapa.core.records import Mask, Site
from dapa.model.families import MIXTURE
from dapa.model.heads import Ranges
from dapa.model.lowrank import Factors, strongest
from dapa.model.strengths import LowRank

Part = float | Tensor | LowRank
"""One strength, one per neuron, or a rank with its strength."""


@dataclass(frozen=True, eq=False)
class Move:
    """What one site does with a batch, decided on the host when the mask is set.

    `teacher_rows` None means that every row takes the teacher's module whole.
    """

    student_rows: Tensor | None
    """Rows that run only the student's module, (rows,)."""
    teacher_rows: Tensor | None
    """Rows that run only the teacher's module, (rows,)."""
    blends: tuple[tuple[Tensor, Part], ...] = ()
    """(row indices, how much) for every fractional or partial strength."""
    rows: int = 0
    """How many there are, for sites that are handed all their tokens in one line."""
    split: int = 0
    """Where rows of one model end and those of the other begin, if they stand so; else 0."""
    teacher_first: bool = False
    """Which stand first, where there is a split."""


WHOLE = Move(None, None)
"""Every row takes the teacher's module."""


@dataclass(eq=False, slots=True)  # not frozen: a toggle waits for its making
class Plan:
    """The moves of a batch whose rows carry `masks`; never changed once it is made."""

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


class TransplantModule(nn.Module):
    """Stands in a site's place and holds references to both models' modules.

    A head that is tied to the embeddings is the embeddings' site in a second place.

    The teacher's module is kept out of the module tree, so parameters(), state_dict() and .to()
    of the student see the student's own weights only.
    """

    def __init__(
        self, site: Site, student: nn.Module, teacher: nn.Module, tap: str | None = None
    ) -> None:
        """Wrap `student`; `teacher` must be on the same device and map the same shapes.

        Args:
            site: Whose masks it obeys.
            student: The module that stood here.
            teacher: Its counterpart.
            tap: The name that watchers see, where it is not the site's.
        """
        super().__init__()
        self.site = site
        self._tap = Tap("student", site.layer, tap or site.module)
        self.student = student
        self._student = (student,)  # the same, without the module tree's slow look-up
        self._teacher = (teacher,)
        self._factors: Factors | None = None
        self.mask_input = site.module in ("down", "o")
        """Are its neurons its inputs? Those of down are the MLP's, those of o the heads'."""
        self._flat = site.module in MIXTURE

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
        """How many neurons the site has: its output's width, its input's for down and o, or 0."""
        if self._flat:
            return 0
        columns = self.mask_input or isinstance(self.student, nn.Embedding)
        return int(self.weight.shape[1 if columns else 0])

    @property
    def full_rank(self) -> int:
        """The largest rank that its difference can have."""
        return min(self.weight.shape)

    def differs(self, ranges: Ranges) -> bool:
        """Do the two models differ in these neurons, or in these neurons' biases?"""
        ours, theirs = (dict(m.named_parameters()) for m in (self.student, self.teacher))
        if ours.keys() != theirs.keys():
            return True
        return any(
            not torch.equal(a[where], theirs[name][where])
            for name, a in ours.items()
            for start, stop in ranges
            for where in self.places(name, start, stop)
        )

    def places(self, parameter: str, start: int, stop: int) -> list[tuple[slice, ...]]:
        """Where neurons [start, stop) stand in a parameter; nowhere in a bias of down or o."""
        if not self.mask_input:
            return [(slice(start, stop),)]
        return [] if parameter == "bias" else [(slice(None), slice(start, stop))]

    def low_rank(self, rank: int) -> Factors:
        """The strongest directions of the difference; found once, then remembered."""
        known = self._factors
        if known is None or known.rank < rank:
            ours, theirs = (m.weight for m in (self.student, self.teacher))
            known = strongest(ours, theirs, rank)  # type: ignore[arg-type]
            self._factors = known  # whoever comes second finds the same
        return known.first(rank)

    def bias_moved(self) -> Tensor | float:
        """The teacher's bias less the student's, in float32; 0 without one."""
        ours, theirs = (getattr(m, "bias", None) for m in (self.student, self.teacher))
        return (0.0 if theirs is None else theirs.float()) - (0.0 if ours is None else ours.float())

    def forward(self, x: Tensor, *more: Tensor) -> Any:
        """Map (rows, tokens, d_in), or (rows, tokens) of ids, to (rows, tokens, d_out).

        The parts of a mixture of experts get their tokens in one line, (rows * tokens, d), row b's
        being b tokens to (b + 1) tokens; experts get what the router chose for them as `more`.
        """
        plan = _PLAN.get()
        move = plan.moves.get(self.site) if plan is not None else None
        if move is None:
            y: Any = self._student[0](x, *more)
        elif move.teacher_rows is None or move.student_rows is None:
            y = self._run_teacher(x, *more)
        elif self._flat:
            y = self._tokens_mixed((x, *more), move.student_rows, move.teacher_rows, move.rows)
        elif move.split:
            first, second = self._student[0], self._run_teacher
            if move.teacher_first:
                first, second = second, first
            y = torch.cat((first(x[: move.split]), second(x[move.split :])))  # no row is copied
        else:
            y = self._mixed(x, move.student_rows, move.teacher_rows, move.blends)
        watcher = _WATCHER.get()
        if watcher is not None:
            seen = watcher(self._tap, self, (x, *more), {}, y)
            y = y if seen is None else seen
        return y

    def _run_teacher(self, x: Tensor, *more: Tensor) -> Any:
        """The teacher's module without its taps: those tell of the teacher's own forwards only."""
        return self.teacher.forward(x, *more)

    def _tokens_mixed(
        self, inputs: tuple[Tensor, ...], student_rows: Tensor, teacher_rows: Tensor, rows: int
    ) -> Any:
        """Each module on the tokens of its own rows; a router returns several tensors."""
        tokens = torch.arange(len(inputs[0]), device=inputs[0].device).view(rows, -1)
        made = []
        for own, run in ((student_rows, self.student), (teacher_rows, self._run_teacher)):
            places = tokens.index_select(0, own.to(tokens.device)).flatten()
            y = run(*(x.index_select(0, places) for x in inputs))
            made.append((places, y if isinstance(y, tuple) else (y,)))
        whole = tuple(y.new_empty(len(inputs[0]), *y.shape[1:]) for y in made[0][1])
        for places, parts in made:
            for y, part in zip(whole, parts, strict=True):
                y.index_copy_(0, places, part)
        return whole if len(whole) > 1 else whole[0]

    def _mixed(
        self,
        x: Tensor,
        student_rows: Tensor,
        teacher_rows: Tensor,
        blends: tuple[tuple[Tensor, Part], ...],
    ) -> Tensor:
        """Run each module on its own rows, and both on the rows that ask for a blend."""
        parts = [  # the plan's tensors are on the first card; a spread pair's site may not be
            (rows, self._blend(x.index_select(0, rows.to(x.device)), m)) for rows, m in blends
        ]
        for rows, run in ((student_rows, self.student), (teacher_rows, self._run_teacher)):
            if len(rows):
                parts.append((rows, run(x.index_select(0, rows.to(x.device)))))
        first = parts[0][1]
        y = first.new_empty(x.shape[0], *first.shape[1:])
        for rows, part in parts:
            y.index_copy_(0, rows.to(y.device), part)
        return y

    def _blend(self, x: Tensor, m: Part) -> Tensor:
        """Both modules on rows of one strength: a scalar, one value per neuron, or a rank.

        Strengths stay in float32 until the last step, so that 0.3 is 0.3 in bfloat16 too.
        """
        if isinstance(m, Tensor):
            m = m.to(x.device)
        if isinstance(m, LowRank):
            y_s, found = self.student(x), self.low_rank(m.rank)
            left, right = (part.to(x.device) for part in (found.left, found.right))
            moved = functional.linear(functional.linear(x.float(), right), left)
            ranked: Tensor = (y_s + m.share * (moved + self.bias_moved())).to(y_s.dtype)
            return ranked
        if isinstance(m, Tensor) and self.mask_input:  # the neurons of down are its inputs
            y = self.student((x * (1 - m)).to(x.dtype)) + self._run_teacher((x * m).to(x.dtype))
            bias = getattr(self.teacher, "bias", None)
            return y if bias is None else y - bias  # the bias belongs to no neuron, to no head
        y_s, y_t = self.student(x), self._run_teacher(x)
        mixed = (y_s + m * (y_t - y_s)).to(y_s.dtype)
        if isinstance(m, Tensor):
            mixed = torch.where(m == 1, y_t, torch.where(m == 0, y_s, mixed))
        return mixed


def at_rest(module: nn.Module) -> bool:
    """Does this context ask nothing of a module that may be a site: no other weights, no look?"""
    if _WATCHER.get() is not None:
        return False
    plan = _PLAN.get()
    return plan is None or getattr(module, "site", None) not in plan.moves


def install_tap(module: nn.Module, tap: Tap) -> None:
    """Let watchers see `module`'s output as `tap`; inert while this context has no watcher."""

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        watcher = _WATCHER.get()
        return None if watcher is None else watcher(tap, module, args, kwargs, output)

    module.register_forward_hook(look, with_kwargs=True)
