"""The patched student as a plain Hugging Face folder: the student's files, some tensors replaced.

Nothing but the changed tensors, the card and `dapa.json` is new: every other byte is the student's,
shard by shard. The same mask makes the same bytes again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapa.core.records import Mask
from dapa.core.version import VERSION
from dapa.model.checkpoint import Checkpoint
from dapa.model.pair import Pair
from dapa.model.spec import FACTS
from dapa.share.card import Told, card, eval_entries, told_of
from dapa.share.changed import changed_by, folder_of_weights, shard_of, whole_changes
from dapa.share.evidence import Evidence
from dapa.share.folder import new_folder, put, refuse_existing
from dapa.share.tensorfiles import Part, header_of, rewrite

ORIGIN = "dapa.json"
"""Beside the weights: what they were made from, for programs."""
_COPIED = ("*.json", "*.jinja", "*.model", "*.txt", "LICENSE*", "NOTICE*", "USE_POLICY*")
_INDEX = "model.safetensors.index.json"
_LEFT = (ORIGIN, FACTS, _INDEX, "adapter_config.json")


@dataclass(frozen=True)
class Made:
    """What was written, and where."""

    kind: str
    folder: Path
    files: tuple[str, ...]
    bytes: int
    tensors: int = 0
    """How many tensors differ from the student's."""
    notes: tuple[str, ...] = ()
    """What to know of it, in plain sentences."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "as": self.kind,
            "to": str(self.folder),
            "files": list(self.files),
            "bytes": self.bytes,
            "tensors": self.tensors,
            "notes": list(self.notes),
        }


def made_at(kind: str, folder: Path, tensors: int = 0, notes: tuple[str, ...] = ()) -> Made:
    """The record of a folder that was just written."""
    folder = folder.expanduser()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = tuple(str(path.relative_to(folder)) for path in files)
    return Made(kind, folder, names, sum(p.stat().st_size for p in files), tensors, notes)


def export_model(pair: Pair, evidence: Evidence, to: Path | str) -> Made:
    """Write the patched student as a folder that transformers loads by itself.

    Args:
        pair: As it is loaded.
        evidence: The mask and what is known of it.
        to: A folder that does not exist yet.

    Raises:
        DapaError: What cannot be written, and why.
    """
    refuse_existing(Path(to).expanduser())
    changed = changed_by(pair, evidence.mask)
    told = told_of(pair, changed.digests, evidence)
    new = whole_changes(changed)
    texts = model_texts(told)
    write_model(changed.student, new, texts, to, changed.untied)
    return made_at("model", Path(to), len(changed.tensors), notes_on(changed.student, new))


def model_texts(told: Told) -> dict[str, str]:
    """The files that are not the student's: path -> text."""
    texts = {"README.md": card(told), ORIGIN: origin(told)}
    if entries := eval_entries(told):
        texts[".eval_results/dapa.yaml"] = entries
    return texts


def origin(told: Told) -> str:
    """What the weights were made from, as JSON."""
    body = {
        "format": "dapa-model/1",
        "dapa": VERSION,
        "units": told.mask.key,
        "student": {"name": told.student, "weights": told.digests[0]},
        "teacher": {"name": told.teacher, "weights": told.digests[1]},
    }
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def origin_beside(folder: Path) -> Mask | None:
    """The mask that a folder was made with; None for any other model."""
    try:
        told = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        return Mask.parse(told["units"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def notes_on(student: Checkpoint, new: Mapping[str, Part]) -> tuple[str, ...]:
    """What to know of the written files."""
    wider = [n for n, part in new.items() if part.dtype != student.dtypes.get(n, part.dtype)]
    if not wider:
        return ()
    return (
        f"{len(wider)} tensors are kept as {new[wider[0]].dtype}, since the student's "
        f"{student.dtypes[wider[0]]} would round them ({wider[0]} first).",
    )


def write_model(
    student: Checkpoint,
    new: Mapping[str, Part],
    texts: Mapping[str, str],
    to: Path | str,
    untied: bool = False,
) -> None:
    """Write a student's folder with some tensors replaced; whole, or not at all.

    Args:
        student: Whose files are copied.
        new: Tensor -> what stands in its place.
        texts: Further files.
        to: A folder that does not exist yet.
        untied: Are embeddings and head two matrices from now on?
    """
    source = folder_of_weights(student)
    room = sum((source / shard).stat().st_size for shard in set(student.shards.values()))
    with new_folder(to, room + sum(part.size for part in new.values())) as folder:
        for path in _beside(student, source):
            shutil.copyfile(path, folder / path.name)
        if untied:
            _untie(folder / "config.json")
        homes = {name: shard_of(student, name) for name in new}
        for shard in sorted(set(student.shards.values())):
            here = {name: part for name, part in new.items() if homes[name] == shard}
            rewrite(source / shard, folder / shard, here)
        _index(source, folder, homes)
        for name, text in texts.items():
            put(folder / name, text)


def _beside(student: Checkpoint, source: Path) -> list[Path]:
    """Config, tokenizer and licence; the tokenizer of an adapter goes before its base's."""
    found: dict[str, Path] = {}
    for folder in dict.fromkeys((source, student.words)):
        for pattern in _COPIED:
            for path in sorted(folder.glob(pattern)):
                if path.is_file() and path.name not in _LEFT:
                    found[path.name] = path
    return list(found.values())


def _index(source: Path, folder: Path, homes: Mapping[str, str]) -> None:
    """The index of a model in several files, with the tensors that were added and the new sizes."""
    path = source / _INDEX
    if not path.is_file() or (source / "model.safetensors").is_file():
        return
    told = json.loads(path.read_text(encoding="utf-8"))
    told["weight_map"].update(homes)
    heads = [header_of(folder / shard) for shard in sorted(set(told["weight_map"].values()))]
    size = sum(one.end - one.start for head in heads for one in head.entries)
    if isinstance(told.get("metadata"), dict) and "total_size" in told["metadata"]:
        told["metadata"]["total_size"] = size
    put(folder / _INDEX, json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def _untie(path: Path) -> None:
    told = json.loads(path.read_text(encoding="utf-8"))
    told["tie_word_embeddings"] = False
    put(path, json.dumps(told, indent=2, ensure_ascii=False) + "\n")
