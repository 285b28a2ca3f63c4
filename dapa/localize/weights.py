"""How far the weights themselves are apart, tensor by tensor, straight from the files.

No model is built: a tensor of each side is read in slices, so a pair of any size takes the memory
of its largest tensor in float32. It knows no prompts: a large change need not matter at all.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dapa.core.records import PairError
from dapa.core.settings import check_seed
from dapa.localize.rank import EffectiveRank, effective_rank
from dapa.model.checkpoint import Checkpoint

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]
"""(tensors done, tensors in all)."""

MEASURES = {"relative": "relative Frobenius", "cosine": "cosine distance", "rank": "effective rank"}
"""What a map of weights can show, and its title."""
_SLICE = 2**22  # numbers read at once from each side
_LAYER = re.compile(r"^(?P<head>(?:[^.]+\.)*?)(?P<layer>\d+)\.(?P<part>.+)$")


@dataclass(frozen=True)
class TensorChange:
    """One tensor of both models."""

    name: str
    layer: int | None
    """None outside of the layers: embeddings, last norm, head."""
    part: str
    """The name below the layer, or the whole name."""
    shape: tuple[int, ...]
    """Of what was compared."""
    relative: float | None
    """|teacher - student| / |student|, Frobenius; None where the student's is all zero."""
    cosine: float | None
    """1 - cosine of the two as long vectors; None where one of them alone is all zero."""
    rank: EffectiveRank | None
    """None for vectors, and where nothing changed."""
    note: str = ""
    """What was left out, if anything."""

    def value(self, measure: str) -> float:
        """One of `MEASURES` as a number; NaN where not defined, 0 for the rank of no change."""
        if measure == "rank":
            if self.rank is None:
                return 0.0 if self.relative == 0 and len(self.shape) > 1 else np.nan
            return self.rank.value
        found = self.relative if measure == "relative" else self.cosine
        return np.nan if found is None else found

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "tensor": self.name,
            "layer": self.layer,
            "part": self.part,
            "shape": list(self.shape),
            "relative": self.relative,
            "cosine": self.cosine,
            "effective_rank": self.rank.as_dict() if self.rank else None,
            "note": self.note,
        }


@dataclass(frozen=True)
class WeightMap:
    """Every tensor that both checkpoints have."""

    tensors: tuple[TensorChange, ...]
    only_student: tuple[str, ...]
    only_teacher: tuple[str, ...]
    pair: str
    asked: int
    """Tensors that both have; more than compared where the sweep was stopped."""
    seed: int

    @property
    def layers(self) -> tuple[int, ...]:
        """0 to the last layer seen."""
        return tuple(
            range(1 + max((t.layer for t in self.tensors if t.layer is not None), default=-1))
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """The names below a layer, in the order of the files."""
        return tuple(dict.fromkeys(t.part for t in self.tensors if t.layer is not None))

    def grid(self, measure: str = "relative") -> Floats:
        """One of `MEASURES`, (layers, parts); NaN where a layer has no such tensor."""
        places = {part: j for j, part in enumerate(self.parts)}
        values = np.full((len(self.layers), len(places)), np.nan)
        for tensor in self.tensors:
            if tensor.layer is not None:
                values[tensor.layer, places[tensor.part]] = tensor.value(measure)
        return values

    @property
    def outside(self) -> tuple[TensorChange, ...]:
        """The tensors of no layer."""
        return tuple(tensor for tensor in self.tensors if tensor.layer is None)

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""
        n = len(self.tensors)
        counted = f"{n} tensors" + (f" of {self.asked}" if n < self.asked else "")
        return (
            f"{self.pair} · weights: relative Frobenius, cosine, effective rank of the difference "
            f"· {counted} · seed {self.seed}"
        )

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows, for a file."""
        headers = (
            *("tensor", "layer", "shape", "relative_frobenius", "cosine_distance"),
            *("effective_rank", "rank_low", "rank_high", "energy_seen", "note"),
        )
        rows = []
        for t in self.tensors:
            rank = (t.rank.value, t.rank.low, t.rank.high, t.rank.seen) if t.rank else (None,) * 4
            shape = "x".join(map(str, t.shape))
            rows.append((t.name, t.layer, shape, t.relative, t.cosine, *rank, t.note))
        return headers, rows

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "tensors": [tensor.as_dict() for tensor in self.tensors],
            "only_student": list(self.only_student),
            "only_teacher": list(self.only_teacher),
        }


def weight_map(
    student: Checkpoint,
    teacher: Checkpoint,
    title: str = "",
    seed: int = 0,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    *,
    ranks: bool = True,
) -> WeightMap:
    """Compare every tensor that two checkpoints share by name.

    Args:
        student: Its files.
        teacher: Its files.
        title: What to call the pair.
        seed: Of the randomised decompositions.
        progress: Told after every tensor.
        stop: When set, the map holds the tensors compared so far.
        ranks: Take effective ranks too; most of the time goes there.

    Raises:
        SettingError: A seed out of range.
        PairError: No tensor has the same name in both.
    """
    check_seed(seed)
    shared = [name for name in sorted(student.shards, key=_order) if name in teacher.shards]
    if not shared:
        names = " against ".join(min(c.shards, default="none") for c in (student, teacher))
        raise PairError(
            f"{student.name} and {teacher.name} share no tensor by name ({names}); "
            "choose two checkpoints of one architecture"
        )
    found = []
    for name in shared:
        if stop is not None and stop.is_set():
            break
        found.append(compare(student, teacher, name, seed, ranks))
        if progress:
            progress(len(found), len(shared))
    return WeightMap(
        tuple(found),
        tuple(sorted(student.shards.keys() - teacher.shards.keys())),
        tuple(sorted(teacher.shards.keys() - student.shards.keys())),
        title or f"{student.name} ← {teacher.name}",
        len(shared),
        seed,
    )


def compare(
    student: Checkpoint, teacher: Checkpoint, name: str, seed: int = 0, ranks: bool = True
) -> TensorChange:
    """One tensor of both; where one has more rows (added tokens), the rows that both have."""
    match = _LAYER.match(name)
    layer, part = (int(match["layer"]), match["part"]) if match else (None, name)
    ours, theirs = student.shapes[name], teacher.shapes[name]

    def unread(why: str) -> TensorChange:
        return TensorChange(name, layer, part, ours, None, None, None, why)

    if ours[1:] != theirs[1:] or len(ours) != len(theirs):
        return unread(f"shapes {_shape(ours)} and {_shape(theirs)} do not match")
    kinds = (student.dtypes[name], teacher.dtypes[name])
    if not set(kinds) <= _FLOATS:
        return unread(f"stored as {kinds[0]} and {kinds[1]}: packed weights are not compared")
    shape = (min(ours[0], theirs[0]), *ours[1:]) if ours else ()
    note = "" if ours == theirs else f"the first {shape[0]} rows of {ours[0]} and {theirs[0]}"
    width = int(np.prod(shape[1:], dtype=np.int64)) if shape else 1
    wanted = ranks and len(shape) > 1
    change = torch.empty(shape[0] if wanted else 0, width)
    ab = aa = bb = dd = 0.0
    done = 0
    for x, y in _slices(student, teacher, name, shape):
        a, b = x.double().reshape(-1, width), y.double().reshape(-1, width)
        d = b - a
        ab += float((a * b).sum())
        aa += float((a * a).sum())
        bb += float((b * b).sum())
        dd += float((d * d).sum())
        if wanted:
            change[done : done + len(d)] = d.float()
            done += len(d)
    relative = 0.0 if dd == 0 else (dd / aa) ** 0.5 if aa else None
    cosine = 0.0 if dd == 0 else max(0.0, 1 - ab / (aa * bb) ** 0.5) if aa and bb else None
    flat = change if len(shape) < 3 else change.reshape(-1, shape[-1])  # experts under each other
    rank = effective_rank(flat, seed) if wanted and dd else None
    return TensorChange(name, layer, part, shape, relative, cosine, rank, note)


_FLOATS = {"F64", "F32", "F16", "BF16"}


def _slices(
    student: Checkpoint, teacher: Checkpoint, name: str, shape: tuple[int, ...]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The same rows of both, a few at a time."""
    if not shape:
        yield student.tensor(name)[None], teacher.tensor(name)[None]
        return
    width = int(np.prod(shape[1:], dtype=np.int64))
    step = max(1, _SLICE // max(width, 1))
    with student.rows(name) as ours, teacher.rows(name) as theirs:
        for start in range(0, shape[0], step):
            stop = min(start + step, shape[0])
            yield ours[start:stop], theirs[start:stop]


def _order(name: str) -> tuple[Any, ...]:
    """Numbers inside of names in the order of numbers."""
    return tuple((0, int(x), "") if x.isdigit() else (1, 0, x) for x in name.split("."))


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"
