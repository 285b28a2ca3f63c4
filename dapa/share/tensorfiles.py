"""Safetensors files, read and written by their bytes: what is not changed is copied as it stands.

The library writes tensors in an order of its own and its metadata in any order; a file that is made
twice has to be the same to the byte, and one tensor at a time has to be enough of memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from dapa.core.records import PairError

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""The dtypes that a weight may have."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_CHUNK = 2**24
_META = "__metadata__"


@dataclass(frozen=True)
class Entry:
    """One tensor's line in a file's header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    """Bytes behind the header."""
    end: int


@dataclass(frozen=True)
class Header:
    """A file's tensors in the order of their bytes, and what else it says of itself."""

    entries: tuple[Entry, ...]
    metadata: Mapping[str, str]
    data: int
    """Where the first tensor's bytes stand in the file."""


def header_of(path: Path) -> Header:
    """Read a file's header; PairError where it has none."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > 2**27:
                raise ValueError("its header is too long")
            told: dict[str, Any] = json.loads(file.read(length))
        metadata = told.pop(_META, {})
        entries = [
            Entry(name, one["dtype"], tuple(one["shape"]), *one["data_offsets"])
            for name, one in told.items()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PairError(
            f"{path} is no safetensors file ({type(error).__name__}); give one that is whole"
        ) from error
    ordered = sorted(entries, key=lambda one: (one.start, one.end, one.name))
    return Header(tuple(ordered), metadata, 8 + length)


def dtype_name(dtype: torch.dtype) -> str:
    """What a header calls a dtype."""
    return _NAMES[dtype]


def payload(tensor: Tensor) -> bytes:
    """A tensor's bytes as a file has them."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy().tobytes())


@dataclass(frozen=True)
class Part:
    """A tensor to be written: what its header says, and its bytes when they are wanted."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    write: Callable[[BinaryIO], None]

    @property
    def size(self) -> int:
        """Its bytes."""
        bits = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16}.get(self.dtype)
        assert bits is not None, f"a made tensor cannot be {self.dtype}"
        return prod(self.shape) * bits // 8


def made(name: str, dtype: torch.dtype, shape: Iterable[int], make: Callable[[], Tensor]) -> Part:
    """A tensor that is computed when its turn comes."""
    return Part(name, dtype_name(dtype), tuple(shape), lambda out: _put(out, make().to(dtype)))


def _put(out: BinaryIO, tensor: Tensor) -> None:
    out.write(payload(tensor))


def write_file(path: Path, parts: Iterable[Part], metadata: Mapping[str, str]) -> None:
    """Write a file of tensors in this order."""
    parts = list(parts)
    lines: dict[str, Any] = {_META: dict(metadata)} if metadata else {}
    at = 0
    for part in parts:
        lines[part.name] = _line(part.dtype, part.shape, at, part.size)
        at += part.size
    with path.open("xb") as out:
        _head(out, lines)
        for part in parts:
            part.write(out)


def rewrite(source: Path, target: Path, new: Mapping[str, Part]) -> None:
    """Copy a file with some of its tensors replaced, and others put behind its last.

    Args:
        source: A safetensors file.
        target: Must not exist.
        new: Tensor -> what stands in its place, or what is added.
    """
    header = header_of(source)
    lines: dict[str, Any] = {_META: dict(header.metadata)} if header.metadata else {}
    at = 0
    for old in header.entries:
        part = new.get(old.name)
        size = old.end - old.start if part is None else part.size
        dtype, shape = (old.dtype, old.shape) if part is None else (part.dtype, part.shape)
        lines[old.name] = _line(dtype, shape, at, size)
        at += size
    known = {old.name for old in header.entries}
    behind = [part for name, part in new.items() if name not in known]
    for part in behind:
        lines[part.name] = _line(part.dtype, part.shape, at, part.size)
        at += part.size
    with source.open("rb") as whole, target.open("xb") as out:
        _head(out, lines)
        for old in header.entries:
            part = new.get(old.name)
            if part is not None:
                part.write(out)
            else:
                _copy(whole, out, header.data + old.start, old.end - old.start)
        for part in behind:
            part.write(out)


def _line(dtype: str, shape: tuple[int, ...], at: int, size: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}


def _head(out: BinaryIO, lines: Mapping[str, Any]) -> None:
    text = json.dumps(lines, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # readers want the data aligned
    out.write(len(text).to_bytes(8, "little") + text)


def _copy(whole: BinaryIO, out: BinaryIO, start: int, size: int) -> None:
    whole.seek(start)
    while size:
        chunk = whole.read(min(size, _CHUNK))
        if not chunk:
            raise PairError(f"{whole.name} ends too early; download the model again")
        out.write(chunk)
        size -= len(chunk)
