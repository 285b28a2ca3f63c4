"""Where a model's files lie, on this disk or on the hub, and which of them are to be read.

Safetensors only, no remote code: what transformers would have to run, or unpickle, is refused here,
before anything of it is opened. No header and no tensor is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dapa.core.cache import OFFERED, fetched, how_to_get
from dapa.core.errors import PairError, gist
from dapa.model.architectures import FAMILIES
from dapa.prompts.hub import fetch

Progress = Callable[[str, float], None]
"""(what is being done, share done in [0, 1]); may raise LoadCancelled."""

_WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
_UNWANTED = ["*/*", "consolidated*"]  # second copies of the weights, in other layouts
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def folder_of(name: str, progress: Progress | None = None) -> Path:
    """The folder of a model or an adapter, or a GGUF file.

    Args:
        name: A local folder, `org/name` or `org/name@revision` on the hub, or the name of what
            `python -m dapa get` has fetched.
        progress: Told while the hub's files are being fetched.

    Raises:
        PairError: There is none, with the next step.
    """
    if not name.strip():
        raise PairError("no model given; give a folder or a hub id such as org/name")
    if name in OFFERED:  # before a folder of that name, which can be written ./name
        ours = fetched(name)
        if ours is None:
            raise PairError(how_to_get(name))
        return ours
    try:
        path = Path(name).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # too long, or ~ of nobody
        shown = name if len(name) <= 100 else f"{name[:100]}..."
        raise PairError(f"{shown!r} cannot be a folder ({gist(error)}); check the name") from error
    if is_folder:
        return path
    if is_file and path.suffix == ".gguf":
        return path
    if is_file:
        raise PairError(f"{name} is a file; give the folder that holds config.json")
    looks_local = name.startswith((".", "/", "~")) or name.count("/") != 1 or "\\" in name
    if looks_local:
        raise PairError(f"{name} does not exist; give a model folder or a hub id such as org/name")
    if progress:
        progress(f"fetching {name.partition('@')[0]}", 0.0)
    return fetch(name, _WANTED, PairError, without=_UNWANTED)


def read_config(name: str, folder: Path) -> dict[str, Any]:
    """A model's config.json as it stands; PairError for one that names no model of ours."""
    path = folder / "config.json"
    if not path.is_file():
        raise PairError(f"{folder} has no config.json; give the folder of a transformers model")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise PairError(
            f"{name}: config.json cannot be read as JSON ({gist(error)}); download it again"
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise PairError(
            f"{name}: config.json names no model_type; give the folder of a transformers model"
        )
    family = FAMILIES.get(config["model_type"])
    if "auto_map" in config and not (family is not None and family.own_code):
        raise PairError(
            f"{name} needs code of its own (auto_map in config.json); remote code is never run, "
            "so choose a model that transformers supports by itself"
        )
    return config


def files_of(name: str, folder: Path) -> dict[str, set[str]]:
    """File name -> tensors that the index promises there; the files that transformers reads."""
    single = folder / "model.safetensors"
    if single.is_file():
        return {single.name: set()}
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return _indexed(name, folder, index)
    for pattern in _PICKLED:
        for pickled in sorted(folder.glob(pattern)):
            raise PairError(
                f"{name} has only pickled weights ({pickled.name}), which can run code when "
                "opened; convert them to safetensors first"
            )
    raise PairError(f"{folder} has no model.safetensors; give the folder of a whole model")


def _indexed(name: str, folder: Path, index: Path) -> dict[str, set[str]]:
    promised: dict[str, set[str]] = {}
    try:
        for key, file in json.loads(index.read_text(encoding="utf-8"))["weight_map"].items():
            promised.setdefault(str(file), set()).add(str(key))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise PairError(
            f"{name}: {index.name} has no readable weight_map ({gist(error)}); download it again"
        ) from error
    if not promised:
        raise PairError(f"{name}: {index.name} names no tensor; download it again")
    for file in promised:
        if Path(file).name != file:
            raise PairError(
                f"{name}: the index names {file!r}, outside of its folder; choose another model"
            )
        if not (folder / file).is_file():
            raise PairError(
                f"{name}: the index names {file}, but it is not in {folder}; download it again"
            )
    return dict(sorted(promised.items()))
