"""One model from a folder or the hub: files, config, tokenizer, weights, in that order.

Safetensors only, no remote code. Whatever transformers or the hub raise becomes a PairError in
plain words with the value seen and the next step.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.errors as hub_errors
import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from dapa.records import PairError

Progress = Callable[[str, float], None]
"""(what is being done, share done in [0, 1]); may raise LoadCancelled."""

_HOOK_LOCK = threading.Lock()  # transformers' progress hook is global to the process
_WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]


class LoadCancelled(Exception):
    """The user cancelled a load; the pair that was there stays."""


@dataclass(frozen=True)
class Checkpoint:
    """A model's files on this disk, with their headers read but no weights."""

    name: str
    """The hub id or folder, as the user gave it."""
    folder: Path
    config: dict[str, Any]
    shards: dict[str, str]
    """Tensor name -> file name."""
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    bytes: int

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor, nothing else."""
        with safe_open(self.folder / self.shards[name], "pt") as file:
            return file.get_tensor(name)  # type: ignore[no-any-return]


def open_checkpoint(name: str, progress: Progress | None = None) -> Checkpoint:
    """Find a model's files and read its config and headers.

    Args:
        name: A local folder, or `org/name` or `org/name@revision` on the hub.
        progress: Told while the hub's files are being fetched.

    Raises:
        PairError: Whatever keeps it from being read, with the next step.
    """
    folder = _folder_of(name, progress)
    config = _read_config(name, folder)
    shards = _shards_of(name, folder)
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    for file in sorted(set(shards.values())):
        path = folder / file
        if not path.is_file():
            raise PairError(
                f"{name}: the index names {file}, but it is not in {folder}; download it again"
            )
        try:
            with safe_open(path, "pt") as opened:
                for key in opened.keys():  # noqa: SIM118 (not a dict)
                    part = opened.get_slice(key)
                    shapes[key] = tuple(part.get_shape())
                    dtypes[key] = str(part.get_dtype())
        except (SafetensorError, OSError, ValueError) as error:
            size = path.stat().st_size
            raise PairError(
                f"{name}: {file} ({size} bytes) is not a whole safetensors file ({error}); "
                "download it again"
            ) from error
    size = sum((folder / file).stat().st_size for file in set(shards.values()))
    return Checkpoint(name, folder, config, shards, shapes, dtypes, size)


def _folder_of(name: str, progress: Progress | None) -> Path:
    if not name.strip():
        raise PairError("no model given; name a folder or a hub id such as org/name")
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise PairError(f"{name} is a file; give the folder that holds config.json")
    looks_local = name.startswith((".", "/", "~")) or name.count("/") != 1 or "\\" in name
    if looks_local:
        raise PairError(f"{name} does not exist; give a model folder or a hub id such as org/name")
    repo, _, revision = name.partition("@")
    if progress:
        progress(f"fetching {repo}", 0.0)
    try:
        return Path(
            huggingface_hub.snapshot_download(
                repo, revision=revision or None, allow_patterns=_WANTED
            )
        )
    except hub_errors.GatedRepoError as error:
        raise PairError(
            f"{repo} is gated; accept its licence on the hub and log in with `hf auth login`"
        ) from error
    except hub_errors.RevisionNotFoundError as error:
        raise PairError(f"{repo} has no revision {revision!r}; check its branches") from error
    except hub_errors.RepositoryNotFoundError as error:
        raise PairError(
            f"{repo} is not on the hub, or is private; check the name or log in with "
            "`hf auth login`"
        ) from error
    except hub_errors.HFValidationError as error:
        raise PairError(f"{name!r} is neither a folder nor a hub id such as org/name") from error
    except (hub_errors.LocalEntryNotFoundError, OSError) as error:
        raise PairError(
            f"{repo} is not in the local cache and the hub cannot be reached; "
            "connect, or give a local folder"
        ) from error


def _read_config(name: str, folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise PairError(f"{folder} has no config.json; give the folder of a transformers model")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise PairError(f"{name}: config.json cannot be read as JSON ({error})") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise PairError(f"{name}: config.json names no model_type; it is not a transformers model")
    if "auto_map" in config:
        raise PairError(
            f"{name} needs code of its own (auto_map in config.json); remote code is never run, "
            "so choose a model that transformers supports by itself"
        )
    return config


def _shards_of(name: str, folder: Path) -> dict[str, str]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            return {str(key): os.path.basename(str(file)) for key, file in weight_map.items()}
        except (ValueError, KeyError, AttributeError) as error:
            raise PairError(f"{name}: {index.name} cannot be read ({error})") from error
    single = folder / "model.safetensors"
    if single.is_file():
        try:
            with safe_open(single, "pt") as opened:
                return {key: single.name for key in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise PairError(
                f"{name}: model.safetensors ({single.stat().st_size} bytes) is not a whole "
                f"safetensors file ({error}); download it again"
            ) from error
    pickles = sorted(p.name for p in [*folder.glob("*.bin"), *folder.glob("*.pt")])
    if pickles:
        raise PairError(
            f"{name} has only pickled weights ({pickles[0]}), which can run code when opened; "
            "convert them to safetensors first"
        )
    raise PairError(f"{folder} has no model.safetensors; give the folder of a whole model")


@contextmanager
def _reporting(progress: Progress | None, what: str) -> Iterator[None]:
    """Turn transformers' own progress bar into calls of `progress`."""
    if progress is None:
        yield
        return

    class Bar:
        """Just enough of tqdm to count."""

        def __init__(self, iterable: Any = None, total: int | None = None, **_: Any) -> None:
            self.items = iterable
            self.total = total or (len(iterable) if hasattr(iterable, "__len__") else 0)
            self.count = 0

        def __iter__(self) -> Iterator[Any]:
            for item in self.items:
                self.update()
                yield item

        def update(self, by: int = 1) -> None:
            self.count += by
            progress(what, min(1.0, self.count / self.total) if self.total else 0.0)

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: Any) -> None:
            return None

        def close(self) -> None:
            return None

        def __getattr__(self, _: str) -> Callable[..., None]:
            return lambda *a, **k: None

    with _HOOK_LOCK:
        previous = transformers_logging.set_tqdm_hook(
            lambda factory, args, kwargs: Bar(*args, **kwargs)
        )
        try:
            yield
        finally:
            transformers_logging.set_tqdm_hook(previous)


def load_weights(
    checkpoint: Checkpoint, dtype: torch.dtype, device: str, progress: Progress | None = None
) -> Any:
    """Build the causal language model of a checkpoint, in evaluation mode, without gradients.

    Raises:
        PairError: Weights that are missing, broken, not finite or too large for the memory.
    """
    where = {} if device == "cpu" else {"device_map": {"": device} if device != "auto" else "auto"}
    try:
        AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=False)
        with _reporting(progress, f"reading {checkpoint.name}"):
            model = AutoModelForCausalLM.from_pretrained(
                checkpoint.folder,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                **where,
            )
    except LoadCancelled:
        raise
    except torch.cuda.OutOfMemoryError as error:
        raise PairError(
            f"{checkpoint.name} ({checkpoint.bytes / 2**30:.1f} GiB on disk) does not fit on "
            f"{device}; free memory, use a smaller dtype or another device"
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PairError(f"{checkpoint.name} cannot be loaded: {first}") from error
    model.eval().requires_grad_(False)
    for name, tensor in model.named_parameters():
        if not bool(torch.isfinite(tensor).all()):
            raise PairError(
                f"{checkpoint.name}: {name} holds NaN or infinite values; the checkpoint is "
                f"broken, or its range does not fit {str(dtype).removeprefix('torch.')}"
            )
    return model


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """The checkpoint's tokenizer, set to pad on the left; PairError if there is none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            checkpoint.folder, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # every tokenizer backend raises its own kind
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PairError(f"{checkpoint.name}: its tokenizer cannot be read: {first}") from error
    tokenizer.padding_side = "left"
    return tokenizer
