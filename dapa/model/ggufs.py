"""GGUF files, read through transformers: one file that holds config, tokenizer and weights.

Its weights are codes as a quantised checkpoint's are, so they are read as numbers. Transformers
turns a whole file at once; what it made is kept as long as the checkpoint is, and a large model's
in bfloat16.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint
from transformers.utils.import_utils import is_gguf_available

from dapa.core.errors import gist
from dapa.core.records import PairError
from dapa.model.checkpoint import Checkpoint, ready

SUFFIX = ".gguf"
_LARGE = 10**9
"""Numbers from which on a file is read in bfloat16, half of float32's bytes."""


@dataclass(frozen=True)
class Gguf(Checkpoint):
    """A GGUF file, with names, shapes and tensors as transformers has them."""

    file: Path
    kind: str
    """How most of its bytes are stored, as in Q4_K."""

    @property
    def codes(self) -> str:
        """The format of codes that its weights are read from."""
        return f"GGUF ({self.kind})"

    @property
    def place(self) -> Path:
        """What no other checkpoint has: its file."""
        return self.file.resolve()

    @cached_property
    def settings(self) -> Any:
        """The config as transformers reads it off the file."""
        return _settings(self.name, self.file)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer.json that lies beside the file, else the file's own."""
        if (self.folder / "tokenizer.json").is_file():
            return super().tokenizer
        try:
            return ready(
                AutoTokenizer.from_pretrained(
                    self.folder, gguf_file=self.file.name, local_files_only=True
                )
            )
        except Exception as error:  # each converter raises a kind of its own
            raise PairError(
                f"{self.name}: its tokenizer cannot be read ({gist(error)}); put the model's "
                "tokenizer.json and tokenizer_config.json beside the file"
            ) from error

    @cached_property
    def _numbers(self) -> dict[str, torch.Tensor]:
        dtype = torch.bfloat16 if self.parameters > _LARGE else torch.float32
        try:
            read: dict[str, torch.Tensor] = load_gguf_checkpoint(
                self.file,
                return_tensors=True,
                model_to_load=_hollow(self.settings),
                torch_dtype=dtype,
            )["tensors"]
        except Exception as error:  # each architecture raises a kind of its own
            raise PairError(
                f"{self.name} cannot be read ({gist(error)}); download it again"
            ) from error
        return read

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor in numbers; PairError where the file lacks it."""
        if name not in self._numbers:
            raise PairError(f"{self.name}: {name} is not in the file; download it again")
        return self._numbers[name]

    @contextmanager
    def rows(self, name: str) -> Iterator[Any]:
        """One tensor to be read a few rows at a time."""
        yield self.tensor(name)


def open_gguf(name: str, file: Path) -> Gguf:
    """Read the head of a GGUF file.

    Raises:
        PairError: Whatever keeps it from being read, with the next step.
    """
    if not is_gguf_available():
        raise PairError(f"{name} is a GGUF file, which takes the package gguf; pip install gguf")
    from gguf import GGUFReader

    try:
        sizes: Counter[str] = Counter()
        for tensor in GGUFReader(file).tensors:
            sizes[tensor.tensor_type.name] += int(tensor.n_bytes)
    except Exception as error:  # numpy's, struct's and its own
        raise PairError(
            f"{name} is not a whole GGUF file ({gist(error)}); download it again"
        ) from error
    settings = _settings(name, file)
    try:
        hollow = _hollow(settings)
    except Exception as error:  # each architecture raises a kind of its own
        raise PairError(
            f"{name}: transformers cannot build its {settings.model_type} ({gist(error)}); give "
            "the model in safetensors"
        ) from error
    shapes = {n: tuple(t.shape) for n, t in hollow.state_dict().items()}
    if settings.tie_word_embeddings:
        shapes = {n: shape for n, shape in shapes.items() if not n.startswith("lm_head.")}
    made = Gguf(
        name,
        file.parent,
        {**settings.to_dict(), "model_type": settings.model_type},
        dict.fromkeys(shapes, file.name),
        shapes,
        dict.fromkeys(shapes, "F32"),
        file.stat().st_size,
        file,
        sizes.most_common(1)[0][0] if sizes else "empty",
    )
    made.__dict__["settings"] = settings  # a file's head takes seconds to read
    return made


def gguf_in(folder: Path) -> Path | None:
    """The GGUF file of a folder that holds no other weights; PairError if there are several."""
    found = sorted(folder.glob(f"*{SUFFIX}"))
    if not found or (folder / "config.json").is_file():
        return None
    if len(found) > 1:
        raise PairError(
            f"{folder} holds {len(found)} GGUF files; name one, as in {folder / found[0].name}"
        )
    return found[0]


def _settings(name: str, file: Path) -> Any:
    try:
        return AutoConfig.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    except Exception as error:  # each architecture raises a kind of its own
        raise PairError(
            f"{name}: transformers cannot read its config ({gist(error)}); give the model in "
            "safetensors"
        ) from error


def _hollow(settings: Any) -> Any:
    """The model without weights, for its names."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(settings)


def small_parts(file: Path) -> Iterator[bytes]:
    """What decides a GGUF file beside its large tensors: its head, and some of every tensor."""
    from gguf import GGUFReader

    reader = GGUFReader(file)
    with file.open("rb") as opened:
        yield opened.read(int(reader.data_offset))
    for tensor in reader.tensors:
        data = tensor.data.reshape(-1)
        yield data[: 2**16 if prod(data.shape) > 2**23 else None].tobytes()
