"""What decides a pair's replies, part by part, each as a short name that changes with it.

Stored verdicts hang on all parts together; resuming a run compares them one by one, so that what
changed is named. An adapter that is a model's own is part of its weights; one that only lies beside
whole weights is not applied, so it is no part.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from typing import Any

import tokenizers
import torch
import transformers

from dapa.core.errors import gist
from dapa.core.records import PairError
from dapa.model.adapted import Adapted
from dapa.model.checkpoint import Checkpoint
from dapa.model.ggufs import SUFFIX, small_parts
from dapa.model.probe import named_for, template_text

_TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model"),
)
_IDLE = {"transformers_version", "_name_or_path", "name_or_path", "dtype", "torch_dtype"}
"""Of a config, what decides no reply: who wrote it, and in which precision it was saved."""
_SAMPLE, _STRIDE, _WHOLE = 4096, 2**23, 2**28


def digest_of(checkpoint: Checkpoint) -> str:
    """A fingerprint of the weights: whole files up to 256 MiB, else 4 KiB out of every 8 MiB.

    The sample meets every tensor of 8 MiB or more; `small_digest` meets the others.
    """
    digest = _blake()
    if isinstance(checkpoint, Adapted):
        digest.update(f"{digest_of(checkpoint.base)}+{checkpoint.mark}".encode())
        return digest.hexdigest()
    for file in checkpoint.weight_files:
        path = checkpoint.folder / file
        size = path.stat().st_size
        digest.update(f"{file}:{size}:".encode())
        with path.open("rb") as opened:
            if size <= _WHOLE:
                digest.update(opened.read())
                continue
            for start in range(0, size, _STRIDE):
                opened.seek(start)
                digest.update(opened.read(_SAMPLE))
    return digest.hexdigest()


def small_digest(checkpoint: Checkpoint) -> str:
    """A fingerprint of what the sample of large files may miss: their headers and small tensors.

    A norm decides replies as any other tensor does, and a few KiB in a file of GiB escape a sample.
    """
    digest = _blake()
    for file in checkpoint.weight_files:
        path = checkpoint.folder / file
        if path.stat().st_size <= _WHOLE:
            continue  # it was read whole
        if path.suffix == SUFFIX:
            for part in small_parts(path):
                digest.update(part)
            continue
        with path.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = opened.read(length)
            digest.update(header)
            try:
                places = [v["data_offsets"] for k, v in json.loads(header).items() if k[:2] != "__"]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise PairError(
                    f"{checkpoint.name}: the header of {file} cannot be read ({gist(error)}); "
                    "download it again"
                ) from error
            for start, end in sorted(places):
                opened.seek(8 + length + start)
                digest.update(
                    opened.read(min(end - start, _SAMPLE if end - start > _STRIDE else _STRIDE))
                )
    return digest.hexdigest()


def parts_of(side: str, checkpoint: Checkpoint) -> dict[str, str]:
    """One model's parts: weights, config, generation config, tokenizer, template."""
    config = {k: v for k, v in checkpoint.settings.to_dict().items() if k not in _IDLE}
    if checkpoint.quantiser:
        config["quantization_config"] = dict(checkpoint.quantiser)
    tokenizer = _blake()
    for name in _TOKENIZER:
        path = checkpoint.words / name
        if not path.is_file():
            continue
        content = path.read_bytes()
        if name == "tokenizer_config.json":  # an old one holds the template, which is named apart
            told = _json(path)
            told.pop("chat_template", None)
            content = _plain(told).encode()
        tokenizer.update(f"{name}:{len(content)}:".encode() + content)
    generation = _json(checkpoint.folder / "generation_config.json")
    generation = {k: v for k, v in generation.items() if k not in _IDLE and k[:1] != "_"}
    template = (template_text(checkpoint.tokenizer), named_for(checkpoint.tokenizer))
    return {
        f"{side}'s small weights": small_digest(checkpoint),
        f"{side}'s config": _name(config),
        f"{side}'s generation config": _name(generation),
        f"{side}'s tokenizer": tokenizer.hexdigest(),
        f"{side}'s chat template": _name(template),
    }


def libraries() -> str:
    """The versions by which the same files give the same replies."""
    torch_version = torch.__version__.partition("+")[0]
    return (
        f"torch {torch_version}, transformers {transformers.__version__}, "
        f"tokenizers {tokenizers.__version__}, {platform.machine()}"
    )


def pair_parts(
    student: Checkpoint, teacher: Checkpoint, dtype: torch.dtype, factored: bool = False
) -> dict[str, str]:
    """All parts of a pair. `weights` is what version 0.1 knew: both models' weights, precision.

    `factored`: an adapter that runs beside its base, which rounds otherwise, is a part of its own.
    """
    precision = str(dtype).removeprefix("torch.")
    return {
        "weights": f"{digest_of(student)}:{digest_of(teacher)}:{precision}",
        **parts_of("student", student),
        **parts_of("teacher", teacher),
        "libraries": libraries(),
        **({"adapter": "beside its base"} if factored else {}),
    }


def joined(parts: Mapping[str, str]) -> str:
    """One name for all parts: that of the weights and the rest's, the precision last."""
    *weights, precision = parts["weights"].split(":")
    rest = _name({name: part for name, part in parts.items() if name != "weights"})
    return ":".join([*weights, rest, precision])


def _blake() -> Any:
    return hashlib.blake2b(digest_size=16)


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _name(value: Any) -> str:
    return hashlib.blake2b(
        _plain(value).encode("utf-8", "surrogatepass"), digest_size=16
    ).hexdigest()


def _json(path: Any) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, OSError, RecursionError):  # whoever loads it says so
        return {"unreadable": True}
    return content if isinstance(content, dict) else {"content": content}
