"""A patch: the changed tensors alone, with what they fit; and its application to a student.

A patch is one safetensors file. Its header names the student by digest and every tensor that it
replaces by the digest of its bytes, so that it goes onto no other model. Applied, it gives the very
folder that `export --as model` writes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from dapa.core.records import SettingError
from dapa.model.adapted import open_checkpoint
from dapa.model.checkpoint import Checkpoint
from dapa.model.digests import digest_of
from dapa.model.pair import Pair
from dapa.share.card import card, told_of
from dapa.share.changed import adapted_parts, changed_by
from dapa.share.evidence import Evidence
from dapa.share.folder import new_folder, put, refuse_existing
from dapa.share.model import Made, made_at, model_texts, notes_on, write_model
from dapa.share.tensorfiles import Part, header_of, made, payload, write_file

FORMAT = "dapa-patch/1"
FILE = "patch.safetensors"


def export_patch(pair: Pair, evidence: Evidence, to: Path | str) -> Made:
    """Write the changed tensors, with what they fit.

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
    student, new = changed.student, changed.parts
    metadata = {
        "format": FORMAT,
        "units": evidence.mask.key,
        "student": told.student,
        "student_weights": changed.digests[0],
        "teacher": told.teacher,
        "teacher_weights": changed.digests[1],
        "untied": json.dumps(changed.untied),
        "replaces": _plain({n: _name(student.tensor(n)) for n in new if n in student.shapes}),
        "tensors": _plain({n: _name(make()) for n, make in changed.tensors.items()}),
        "texts": _plain(model_texts(told)),
    }
    with new_folder(to, sum(part.size for part in new.values())) as folder:
        write_file(folder / FILE, new.values(), metadata)
        put(folder / "README.md", _readme(card(told), told.student))
    return made_at("patch", Path(to), len(new), notes_on(student, new))


def _readme(text: str, student: str) -> str:
    """The model's card under a word on what this folder is."""
    _, _, body = text.removeprefix("---\n").partition("\n---\n")
    lines = body.strip().split("\n\n")
    named = student if "/" in student else "STUDENT"  # a folder's last part finds nothing
    where = "" if named == student else " STUDENT is its folder, or the name that loads it."
    word = (
        f"This is a patch: the changed tensors alone. With `{student}` at hand,\n\n```\n"
        f"python -m dapa apply THIS_FOLDER --student {named} --to DIR\n```\n\n"
        "checks that it is the model that the patch was made for and writes the patched model, of "
        f"which the rest of this page tells.{where}"
    )
    return "\n\n".join([lines[0], word, *lines[1:]]) + "\n"


def _plain(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _name(tensor: Tensor) -> str:
    """A tensor's bytes by name, with precision and shape."""
    content = hashlib.blake2b(payload(tensor), digest_size=16).hexdigest()
    return f"{str(tensor.dtype).removeprefix('torch.')}:{list(tensor.shape)}:{content}"


@dataclass(frozen=True)
class Patch:
    """A patch's file, opened."""

    path: Path
    metadata: Mapping[str, str]

    def list(self, name: str) -> dict[str, str]:
        """One of the lists in its header."""
        return dict(json.loads(self.metadata[name]))

    def tensor(self, name: str) -> Tensor:
        """One tensor."""
        with safe_open(self.path, "pt") as file:
            found: Tensor = file.get_tensor(name)
        return found


def open_patch(path: Path | str) -> Patch:
    """Read a patch's header; SettingError for what is none.

    Args:
        path: The file, or the folder that it lies in.
    """
    place = Path(path).expanduser()
    place = place / FILE if place.is_dir() else place
    if not place.is_file():
        raise SettingError(f"{path} is no patch; give the folder that `export --as patch` wrote")
    header = header_of(place)
    if header.metadata.get("format") != FORMAT:
        seen = header.metadata.get("format", "no format")
        raise SettingError(
            f"{path} says {seen[:40]!r} and a patch of this version says {FORMAT}; give the folder "
            "that `export --as patch` wrote"
        )
    patch = Patch(place, header.metadata)
    try:
        whole = patch.list("tensors").keys() == {one.name for one in header.entries}
        texts = patch.list("texts")
        missing = [key for key in ("student", "student_weights", "untied", "replaces") if
                   key not in header.metadata]  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError):
        whole, missing, texts = False, [], {}
    if not whole or missing or not all(_inside(name) for name in texts):
        raise SettingError(f"{path} is not whole; export the patch again")
    return patch


def _inside(name: str) -> bool:
    """May a patch write this file? One beside the weights, or in `.eval_results`."""
    parts = Path(name).parts
    return parts in (("README.md",), ("dapa.json",), (".eval_results", "dapa.yaml"))


def apply_patch(patch: Path | str, student: str, to: Path | str) -> Made:
    """Write a student's folder with a patch's tensors in their places.

    Args:
        patch: A patch's folder or file.
        student: The student, as everywhere: a folder, a hub id, or BASE+ADAPTER.
        to: A folder that does not exist yet.

    Raises:
        SettingError: No patch, one that was changed, or one for another student.
        DapaError: A student that cannot be read.
    """
    refuse_existing(Path(to).expanduser())
    opened = open_patch(patch)
    checkpoint = open_checkpoint(student)
    _refuse_other(opened, checkpoint, student)
    wanted = opened.list("tensors")
    new: dict[str, Part] = {}
    for name, told in wanted.items():
        value = opened.tensor(name)
        if _name(value) != told:
            raise SettingError(
                f"{patch}: {name} is not what the patch's header says; get the patch again"
            )
        new[name] = made(name, value.dtype, value.shape, _reader(opened, name))
    whole = {**new, **adapted_parts(checkpoint, new.keys())}
    untied = bool(json.loads(opened.metadata["untied"]))
    write_model(checkpoint, whole, opened.list("texts"), to, untied)
    return made_at("model", Path(to), len(new), notes_on(checkpoint, new))


def _reader(patch: Patch, name: str) -> Any:
    return lambda: patch.tensor(name)


def _refuse_other(patch: Patch, student: Checkpoint, name: str) -> None:
    """SettingError where a student is not the one that a patch was made for."""
    found, wanted = digest_of(student), patch.metadata["student_weights"]
    if found != wanted:
        raise SettingError(
            f"the patch was made for {patch.metadata['student']} (weights {wanted[:12]}), and the "
            f"weights of {name} are {found[:12]}; give the student that it was made for"
        )
    for tensor, told in patch.list("replaces").items():
        if tensor not in student.shapes or _name(student.tensor(tensor)) != told:
            raise SettingError(
                f"{tensor} of {name} is not what the patch was made for; give that very student"
            )
