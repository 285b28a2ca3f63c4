"""A folder that is there whole or not at all: written beside its place, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from secrets import token_hex

from dapa.core.records import SettingError

try:
    import fcntl
except ImportError:  # Windows: what a kill left is deleted by hand there
    fcntl = None  # type: ignore[assignment]

SPARE = 64 * 2**20
"""Bytes that a disk should have left."""


@contextmanager
def new_folder(target: Path | str, room: int = 0) -> Iterator[Path]:
    """A folder to write into; it gets its name when everything in it is written.

    A kill leaves only `.NAME.part-...` beside it, which the next export of that name deletes.

    Args:
        target: Must not exist.
        room: Bytes that will be written.

    Raises:
        SettingError: It exists, cannot be made, or the disk is full.
    """
    place = Path(target).expanduser()
    refuse_existing(place)
    place = place.absolute()
    _refuse_models(place, target)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _sweep(place)
        free = shutil.disk_usage(place.parent).free
    except OSError as error:
        raise SettingError(
            f"cannot write {target}: {error.strerror}; name another folder with --to"
        ) from error
    if room and free < room + SPARE:
        raise SettingError(
            f"{target} would take {room / 2**20:,.1f} MiB, {SPARE / 2**20:.0f} MiB are to be left, "
            f"and {free / 2**20:,.1f} MiB are free; "
            "free disk space, or name a folder on another disk with --to"
        )
    part, held = None, None
    try:
        part, held = _begun(place)
        yield part
        refuse_existing(place)  # somebody may have made it meanwhile
        os.rename(part, place)
    except OSError as error:
        raise SettingError(
            f"cannot write {target}: {error.strerror or error}; name another folder with --to"
        ) from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
        if held is not None:
            os.close(held)


def _refuse_models(place: Path, target: Path | str) -> None:
    """SettingError inside a model's own folder: whoever loads or uploads it would take ours too."""
    for folder in place.parents:
        with suppress(OSError):  # one that cannot be looked into holds no model for us
            weights = any(next(folder.glob(f"*.{end}"), None) for end in ("safetensors", "bin"))
            if weights and (folder / "config.json").is_file():
                raise SettingError(
                    f"{target} lies in the model's folder {folder}; give --to a place outside it"
                )


def _begun(place: Path) -> tuple[Path, int | None]:
    """A folder to write into, and what says that somebody does: a lock, which ends with us."""
    while True:
        part = place.parent / f".{place.name}.part-{token_hex(4)}"
        part.mkdir()
        if fcntl is None:
            return part, None
        held = os.open(part, os.O_RDONLY)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_EX)
        if part.is_dir():  # else another export swept it away before it was locked
            return part, held
        os.close(held)


def _sweep(place: Path) -> None:
    """Delete what killed exports of this name left: what nobody holds the lock of."""
    for old in place.parent.glob(f".{escape(place.name)}.part-*") if fcntl is not None else ():
        with suppress(OSError):
            held = os.open(old, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(old, ignore_errors=True)
            finally:
                os.close(held)


def refuse_existing(place: Path) -> None:
    """SettingError where something stands in a new folder's place."""
    try:
        os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):  # the latter is told when it is made
        return
    except (OSError, ValueError) as error:  # too long, or no name for a file at all
        shown = f"{str(place)[:100]!r}"
        raise SettingError(f"{shown} cannot be a folder; give --to another") from error
    raise SettingError(f"{place} exists and is not overwritten; give --to a new folder's name")


def put(path: Path, text: str) -> None:
    """Write a text the same on every system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))
