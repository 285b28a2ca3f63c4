"""A checkpoint whose weights are codes, as one whose weights are numbers: each is read as asked.

What the codes mean is `codes`' to say. Nothing is written; the digest is that of the files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch

from dapa.model.checkpoint import Checkpoint
from dapa.model.codes import IDLE, Coded, find_codes

_KEY = "quantization_config"


@dataclass(frozen=True)
class Unpacked(Checkpoint):
    """The files with their codes read; names, shapes and tensors are those of the numbers."""

    packed: Checkpoint
    coded: Mapping[str, Coded]

    @property
    def codes(self) -> str:
        """What its weights are stored as."""
        told = self.quantiser
        bits = told.get("bits") or ""
        form = told.get("format") or (f"{bits} bit" if bits else "")
        title = next(iter(self.coded.values())).form.title
        return f"{title} ({form})" if form else title

    @property
    def weight_files(self) -> list[str]:
        """The names of its own files, those of codes alone too."""
        return self.packed.weight_files

    @property
    def quantiser(self) -> Mapping[str, Any]:
        """What its config says of these codes."""
        told: Mapping[str, Any] = self.packed.config[_KEY]
        return told

    @cached_property
    def settings(self) -> Any:
        """The config, which asks for no quantiser."""
        settings = super().settings
        if hasattr(settings, _KEY):
            delattr(settings, _KEY)
        return settings

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor; numbers in float32 where they stood as codes."""
        coded = self.coded.get(name)
        if coded is None:
            return self.packed.tensor(name)
        return coded.numbers(self.packed.tensor, self.quantiser)

    @contextmanager
    def rows(self, name: str) -> Iterator[Any]:
        """One tensor to be read a few rows at a time."""
        if name in self.coded:
            yield self.tensor(name)
            return
        with self.packed.rows(name) as whole:
            yield whole


def unpacked(packed: Checkpoint) -> Checkpoint:
    """The same with its codes read, where it has any that can be; else as it is.

    Raises:
        PairError: Codes whose scales are not there.
    """
    told = packed.config.get(_KEY)
    if not isinstance(told, dict):
        return packed
    method = str(told.get("quant_method", ""))
    if not method and (told.get("load_in_4bit") or told.get("load_in_8bit")):
        method = "bitsandbytes"  # as old versions of it wrote
    coded = find_codes(method, packed.shapes.keys())
    if not coded:
        return packed
    own = {name for one in coded.values() for name in one.parts.values()}
    plain = [n for n in packed.shapes if n not in own and not n.endswith(IDLE)]
    shapes = {n: packed.shapes[n] for n in plain}
    shapes |= {n: c.shape(packed.shapes, packed.tensor, told) for n, c in coded.items()}
    first = {n: next(iter(c.parts.values())) for n, c in coded.items()}
    given = {f.name: getattr(packed, f.name) for f in fields(Checkpoint)}
    given |= {
        "shapes": shapes,
        "dtypes": {n: "F32" if n in coded else packed.dtypes[n] for n in shapes},
        "shards": {n: packed.shards[first.get(n, n)] for n in shapes},
        "config": {k: v for k, v in packed.config.items() if k != _KEY},
    }
    return Unpacked(**given, packed=replace(packed), coded=coded)
