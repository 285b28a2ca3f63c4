"""A whole model's files, opened: its config, its headers and its tokenizer, but no weights.

What a person names may be an adapter too, which is `adapted`'s to open; here are whole models.
Whatever the disk, transformers or a tokenizer raises becomes a PairError in plain words with the
value seen and the next step.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

from dapa.core.errors import gist
from dapa.core.records import PairError, Site
from dapa.model.architectures import AS, FAMILIES, INSIDE, WRAPPERS, family_of, inside_name
from dapa.model.families import Family, Stored
from dapa.model.files import files_of, read_config

_GENERIC = ("TokenizersBackend", "PreTrainedTokenizerFast")


@dataclass(frozen=True)
class Checkpoint:
    """A model's files on this disk, with their headers read but no weights."""

    name: str
    """The hub id or folder, as the user gave it."""
    folder: Path
    config: dict[str, Any]
    """config.json as it stands; `settings` has the defaults filled in."""
    shards: dict[str, str]
    """Tensor name -> file name."""
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    bytes: int

    @property
    def codes(self) -> str:
        """The format of codes that its weights are read from; empty for plain ones."""
        return ""

    @property
    def quantiser(self) -> Mapping[str, Any]:
        """What its config says of these codes."""
        return {}

    @property
    def parameters(self) -> int:
        """Numbers in the files; a matrix that stands there once counts once."""
        return sum(prod(shape) for shape in self.shapes.values())

    @cached_property
    def tied(self) -> bool:
        """Is the head the embeddings' own matrix in the loaded model?

        The config asks for it, but a file that holds two different matrices is believed instead.
        """
        if not self.settings.tie_word_embeddings:
            return False
        family = self.family if self.model_type in FAMILIES else None
        paths = (family.head, family.embeddings) if family else ()
        names = [family.named(f"{path}.weight", self.shapes) for path in paths if family]
        if not names or any(name not in self.shapes for name in names):
            return True
        if self.shapes[names[0]] != self.shapes[names[1]]:
            return False
        return torch.equal(*(self.tensor(name) for name in names))

    @cached_property
    def family(self) -> Family:
        """Its architecture's row, without the sites that its config leaves out; PairError else."""
        family = family_of(self.model_type, self.settings)
        if not self.wrapped:
            return family
        steps = [(p.strip("^").replace("\\", ""), ours) for p, ours in INSIDE.items()]
        return replace(family, also=(*family.also, *((ours, theirs) for theirs, ours in steps)))

    @property
    def inside(self) -> bool:
        """Is the model the text model inside a multimodal one?"""
        return self.config["model_type"] in WRAPPERS

    @cached_property
    def wrapped(self) -> bool:
        """Has it the names of a wrapper's file? So have text models that were saved out of one."""
        return self.inside or any(name != (inside_name(name) or name) for name in self.shapes)

    @cached_property
    def ours(self) -> dict[str, str]:
        """What the loaded model calls a tensor, where its file calls it otherwise."""
        if self.model_type not in FAMILIES:
            return {}
        family = self.family
        every = [
            family.stored(site, part).name
            for site in family.places(self.settings.num_hidden_layers)
            for part in family.parameters(site.module)
        ]
        named = {family.named(name, self.shapes): name for name in every}
        return {theirs: name for theirs, name in named.items() if theirs != name}

    def in_class(self, name: str) -> str:
        """What transformers' own class for these files calls a tensor, the wrapper's for a wrapper.

        So PEFT names it.
        """
        ours = self.ours.get(name, name)
        if not self.inside or not ours.startswith("model."):
            return ours
        part = "text_model" if self.config["model_type"] in ("idefics3", "smolvlm") else None
        return f"model.{part or 'language_model'}.{ours.removeprefix('model.')}"

    @property
    def model_type(self) -> str:
        """Of the model that is used: the text model's where another wraps it."""
        return str(self.settings.model_type if self.inside else self.config["model_type"])

    @property
    def asking(self) -> dict[str, Any]:
        """What `from_pretrained` has to be told of this folder."""
        asked: dict[str, Any] = {"config": self.settings} if self.inside else {}
        return asked | ({"key_mapping": dict(INSIDE)} if self.wrapped else {})

    def tensors_of(self, family: Family, site: Site) -> dict[str, Stored]:
        """Where a site's parameters are, by parameter; empty where the file lacks them."""
        if site.module == "head" and self.tied:
            site = Site(site.layer, "embeddings")
        parts = family.parameters(site.module)
        found = {part: family.found(site, part, self.shapes) for part in parts}
        if site.module == "embeddings" and found["weight"] is None and self.tied:
            head = Site(site.layer, "head")  # stored under the other of the two names
            found = {part: family.found(head, part, self.shapes) for part in parts}
        return {part: at for part, at in found.items() if at is not None}

    def part(self, stored: Stored) -> torch.Tensor:
        """Read one parameter of a site, nothing else."""
        if stored.stack:
            return torch.stack(list(self.pieces(stored)))
        return stored.take(self.tensor(stored.name))  # type: ignore[no-any-return]

    def pieces(self, stored: Stored) -> Iterator[torch.Tensor]:
        """The same piece by piece: of stacked experts one by one, of all else at once."""
        if stored.stack:
            for names in stored.stack:
                yield torch.cat([self.tensor(name) for name in names])
        elif len(self.shapes[stored.name]) > 2:
            with self.rows(stored.name) as whole:
                for expert in range(self.shapes[stored.name][0]):
                    yield whole[expert : expert + 1][0]
        else:
            yield self.part(stored)

    def shape(self, stored: Stored) -> tuple[int, ...]:
        """Its shape, from the header."""
        return stored.shape(*(self.shapes[name] for name in stored.names))

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor, nothing else."""
        with safe_open(self.folder / self.shards[name], "pt") as file:
            return file.get_tensor(name)  # type: ignore[no-any-return]

    @contextmanager
    def rows(self, name: str) -> Iterator[Any]:
        """One tensor to be read a few rows at a time, as in `rows[start:stop]`."""
        with safe_open(self.folder / self.shards[name], "pt") as file:
            yield file.get_slice(name)

    @property
    def files(self) -> list[Path]:
        """Every file that holds weights."""
        return [self.folder / name for name in self.weight_files]

    @property
    def weight_files(self) -> list[str]:
        """The names of the files in its folder that hold weights."""
        return sorted(set(self.shards.values()))

    @property
    def place(self) -> Path:
        """What no other checkpoint has: its folder."""
        return self.folder.resolve()

    @property
    def words(self) -> Path:
        """The folder of its tokenizer."""
        return self.folder

    @cached_property
    def settings(self) -> Any:
        """The config as transformers completes it; PairError for values it refuses."""
        try:
            whole = AutoConfig.from_pretrained(
                self.folder, trust_remote_code=False, local_files_only=True
            )
            return text_config(whole) if self.inside else whole
        except Exception as error:  # validation raises a kind of its own for each fault
            raise PairError(
                f"{self.name}: config.json is not usable ({gist(error)}); download it again"
            ) from error

    @cached_property
    def tokenizer(self) -> Any:
        """The checkpoint's tokenizer, read once."""
        return load_tokenizer(self)


def text_config(whole: Any) -> Any:
    """The config of the text model inside a multimodal one, as of a model by itself."""
    text = whole.get_text_config(decoder=True)
    family = AS.get(whole.model_type)
    if family is not None:
        told = {k: v for k, v in text.to_dict().items() if k != "model_type"}
        rope = told["rope_parameters"]
        told["rope_parameters"] = {k: v for k, v in rope.items() if not k.startswith("mrope")}
        text = AutoConfig.for_model(family, **told)
    # old files tell of the whole alone, and some of the text model alone
    text.tie_word_embeddings = bool(text.tie_word_embeddings or whole.tie_word_embeddings)
    return text


def open_whole(name: str, folder: Path) -> Checkpoint:
    """Read the config and headers of a whole model.

    Args:
        name: What to call it.
        folder: Where its files are, as `folder_of` finds it.

    Raises:
        PairError: Whatever keeps it from being read, with the next step.
    """
    config = read_config(name, folder)
    promised = files_of(name, folder)
    shards: dict[str, str] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    for file in promised:
        path = folder / file
        try:
            with safe_open(path, "pt") as opened:
                for key in opened.keys():  # noqa: SIM118 (not a dict)
                    part = opened.get_slice(key)
                    shards[key] = file
                    shapes[key] = tuple(part.get_shape())
                    dtypes[key] = str(part.get_dtype())
        except (SafetensorError, OSError, ValueError) as error:
            raise PairError(
                f"{name}: {file} ({path.stat().st_size} bytes) is not a whole safetensors file "
                f"({gist(error)}); download it again"
            ) from error
    for file, keys in promised.items():
        lost = sorted(keys - {key for key, where in shards.items() if where == file})
        if lost:
            raise PairError(
                f"{name}: the index promises {lost[0]} in {file}, where it is not; "
                "download the model again"
            )
    size = sum((folder / file).stat().st_size for file in promised)
    return Checkpoint(name, folder, config, shards, shapes, dtypes, size)


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """The checkpoint's tokenizer, set to pad on the left; PairError if there is none.

    Where tokenizer_config.json declares the generic class, tokenizer.json is all there is to know:
    transformers would put the architecture's own rules (Qwen2's, say) in its place.
    """
    kind: Any = AutoTokenizer
    declared = checkpoint.words / "tokenizer_config.json"
    try:
        if declared.is_file() and (checkpoint.words / "tokenizer.json").is_file():
            told = json.loads(declared.read_text(encoding="utf-8"))
            if told.get("tokenizer_class") in _GENERIC and "auto_map" not in told:
                kind = PreTrainedTokenizerFast
        tokenizer = kind.from_pretrained(
            checkpoint.words, trust_remote_code=False, local_files_only=True
        )
        if not len(tokenizer):
            raise ValueError("it has no tokens")
    except BaseException as error:  # every tokenizer backend raises its own kind, one a panic
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise PairError(
            f"{checkpoint.name}: its tokenizer cannot be read ({gist(error)}); "
            "give a folder with a whole tokenizer.json"
        ) from error
    return ready(tokenizer)


def ready(tokenizer: Any) -> Any:
    """A tokenizer that pads on the left, and that no call changes."""
    tokenizer.padding_side = "left"
    if tokenizer.is_fast:  # else the first call would change these, under other threads' feet
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    return tokenizer
