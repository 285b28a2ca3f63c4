"""LoRA adapters as PEFT saves them, read by our own code: one low-rank difference a matrix.

The weight of a matrix W that an adapter changes is W + s B A (Hu et al., arXiv 2106.09685), with
s = alpha / r, or alpha / sqrt(r) for rank-stabilised ones (Kalajdzievski, arXiv 2312.03732). What
its config says is `lora_settings`' to read. This module reads files and tensors; it does not know
models.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dapa.core.errors import gist
from dapa.core.records import PairError
from dapa.model.lora_settings import CONFIG, LoraSettings, read_settings, wrong

WEIGHTS = "adapter_model.safetensors"
_PART = re.compile(r"(.+)\.lora_(embedding_)?([AB])(?:\.(?!weight$)\w+)?(?:\.weight)?")
_SAVED = re.compile(r"\.(?:base_layer|modules_to_save(?:\.\w+)?)(?=\.\w+$)")


@dataclass(frozen=True)
class Difference:
    """What an adapter adds to one matrix: `scale` B A."""

    a: str
    """The tensor (r, d_in) in the adapter's file."""
    b: str
    """The tensor (d_out, r)."""
    scale: float
    rank: int
    turned: bool = False
    """Of embeddings, which hold a row a token, and of GPT-2: the product stands on its side."""


@dataclass(frozen=True)
class Lora:
    """An adapter's folder, with its settings checked and no tensor read."""

    folder: Path
    settings: LoraSettings
    shapes: Mapping[str, tuple[int, ...]]
    """Name in the adapter's file -> shape."""

    @property
    def files(self) -> list[Path]:
        """What it is made of."""
        return [self.folder / CONFIG, self.folder / WEIGHTS]

    @cached_property
    def mark(self) -> str:
        """A name that changes with whatever decides what it does."""
        told = json.dumps(self.settings.decisive, sort_keys=True)
        digest = hashlib.blake2b(told.encode(), digest_size=16)
        with (self.folder / WEIGHTS).open("rb") as file:
            while block := file.read(2**24):
                digest.update(block)
        return digest.hexdigest()

    def tensor(self, name: str) -> Tensor:
        """One of its tensors."""
        with safe_open(self.folder / WEIGHTS, "pt") as file:
            return file.get_tensor(name)  # type: ignore[no-any-return]

    def parts(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        ends: Collection[str] = (),
        turned: tuple[str, ...] = (),
        inside: Callable[[str], str | None] | None = None,
    ) -> tuple[dict[str, Difference], dict[str, str]]:
        """What it changes in a base.

        Args:
            shapes: The base's tensors.
            ends: Modules that `all-linear` leaves out: embeddings and head.
            turned: How modules end that store their weights as (inputs, outputs).
            inside: Of a text model inside a multimodal one, what it calls a wrapper's tensor; None
                for those of the rest, which are left out.

        Returns:
            Tensor of the base -> its difference, and tensor of the base -> the adapter's tensor
            that takes its place whole (`modules_to_save`).

        Raises:
            PairError: What does not fit together, with the next step.
        """
        found: dict[str, dict[str, str]] = {}
        on_side: set[str] = set()
        spelled: dict[str, str] = {}  # patterns are meant for the adapter's own names
        saved: dict[str, str] = {}
        for key in self.shapes:
            named = key.removeprefix("base_model.model.")
            bare = named if inside is None else inside(named)
            if bare is None:
                continue
            match = _PART.fullmatch(bare)
            if match is None:
                whole = _SAVED.sub("", bare)  # PEFT also saves a base's ends that it adapts
                end = whole.removesuffix(".weight")
                if end in ends and whole not in shapes:
                    raise self._wrong(
                        f"changes {end} (target_modules or modules_to_save), which its base ties "
                        "to the other end of the model; save the merged model instead"
                    )
                if whole not in shapes:
                    raise self._wrong(f"holds {key}, which its base has no place for")
                saved[whole] = key
                continue
            module, embedding, side = match.groups()
            own = _PART.fullmatch(named)
            spelled[module] = own[1] if own else module
            if side in found.setdefault(module, {}):
                raise self._wrong(f"holds two adapters, as in {key}")
            found[module][side] = key
            on_side |= {module} if embedding or module.endswith(turned) else set()
        targeted = frozenset(found)
        if inside is None:  # else the patterns were meant for other names
            targeted = self.settings.targeted(targeted, shapes, ends)
        else:
            targeted &= {name.removesuffix(".weight") for name in shapes}
        for module in sorted(found.keys() - targeted):
            why = f"holds tensors of {module}"
            if f"{module}.weight" not in shapes:
                raise self._wrong(f"{why}, which its base has not; give the base it was made for")
            raise self._wrong(f"{why}, which the target_modules of {CONFIG} do not name")
        made = {}
        for module in sorted(targeted):
            sides = found.get(module, {})
            if sides.keys() != {"A", "B"}:
                lost = "lora_A" if "A" not in sides else "lora_B"
                raise self._wrong(f"lacks {lost} of {module}; it is not whole, so get it again")
            made[f"{module}.weight"] = self._difference(
                spelled[module], sides, shapes[f"{module}.weight"], module in on_side
            )
        for name, key in saved.items():
            if self.shapes[key] != shapes[name]:
                raise self._wrong(
                    f"{name} is {list(self.shapes[key])} in it and {list(shapes[name])} in its base"
                )
        return made, saved

    def _difference(
        self, module: str, sides: Mapping[str, str], shape: tuple[int, ...], turned: bool
    ) -> Difference:
        rank, scale = self.settings.rank(module), self.settings.scale(module)
        a, b = self.shapes[sides["A"]], self.shapes[sides["B"]]
        out, into = reversed(shape) if turned else shape
        if (a, b) != ((rank, into), (out, rank)):
            raise self._wrong(
                f"{module} has A {list(a)} and B {list(b)}, which is not rank {rank} on its base's "
                f"{list(shape)}; give the base it was made for"
            )
        return Difference(sides["A"], sides["B"], scale, rank, turned)

    def _wrong(self, why: str) -> PairError:
        return wrong(self.folder, why)


def is_adapter(folder: Path) -> bool:
    """Does a folder hold an adapter and no whole model?"""
    whole = ("model.safetensors", "model.safetensors.index.json")
    if not (folder / CONFIG).is_file():
        return False
    return not ((folder / "config.json").is_file() and any((folder / w).is_file() for w in whole))


def read_lora(folder: Path) -> Lora:
    """Read an adapter's config and header.

    Raises:
        PairError: Another method than LoRA, or files that cannot be read, with the next step.
    """
    settings = read_settings(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        if (folder / "adapter_model.bin").is_file():
            raise wrong(
                folder,
                "has only pickled weights (adapter_model.bin), which can run code when opened; "
                "convert them to safetensors first",
            )
        raise wrong(folder, f"has no {WEIGHTS}; give the folder of a whole adapter")
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            types = {str(part.get_dtype()) for part in slices.values()}
    except (SafetensorError, OSError, ValueError) as error:
        raise wrong(
            folder,
            f"has a {WEIGHTS} ({path.stat().st_size} bytes) that is not whole ({gist(error)}); "
            "get it again",
        ) from error
    if not shapes:
        raise wrong(folder, f"has a {WEIGHTS} without tensors; get it again")
    if strange := sorted(kind for kind in types if not kind.startswith(("F", "BF"))):
        raise wrong(folder, f"holds tensors of type {strange[0]}, which are no plain numbers")
    return Lora(folder, settings, shapes)


def low_rank(lora: Lora, part: Difference, rows: slice | None = None) -> Tensor:
    """An adapter's difference of one matrix, or of some of its rows, in float32 or wider."""
    a, b = lora.tensor(part.a), lora.tensor(part.b)
    # not torch.promote_types, which knows no float8
    wide = torch.float64 if torch.float64 in (a.dtype, b.dtype) else torch.float32
    a, b = a.to(wide), b.to(wide)
    if part.turned:
        return (b @ (a if rows is None else a[:, rows])).T * part.scale
    return ((b if rows is None else b[rows]) @ a) * part.scale
