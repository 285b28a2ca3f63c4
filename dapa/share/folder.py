"""A folder that is there whole or not at all: written beside its place, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from dapa.core.records import SettingError

SPARE = 64 * 2**20
"""Bytes that a disk should have left."""


@contextmanager
def new_folder(target: Path | str, room: int = 0) -> Iterator[Path]:
    """A folder to write into; it gets its name when everything in it is written.

    A kill leaves only `.NAME.part-...` beside it, which may be deleted.

    Args:
        target: Must not exist.
        room: Bytes that will be written.

    Raises:
        SettingError: It exists, cannot be made, or the disk is full.
    """
    place = Path(target).expanduser()
    refuse_existing(place)
    place = place.absolute()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(place.parent).free
    except OSError as error:
        raise SettingError(
            f"cannot write {target}: {error.strerror}; name another folder with --to"
        ) from error
    if room and free < room + SPARE:
        raise SettingError(
            f"{target} would take {room / 2**20:,.0f} MiB and {free / 2**20:,.0f} MiB are free; "
            "free disk space, or name a folder on another disk with --to"
        )
    part = place.parent / f".{place.name}.part-{token_hex(4)}"
    try:
        part.mkdir()
        yield part
        refuse_existing(place)  # somebody may have made it meanwhile
        os.rename(part, place)
    except OSError as error:
        raise SettingError(
            f"cannot write {target}: {error.strerror or error}; name another folder with --to"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def refuse_existing(place: Path) -> None:
    """SettingError where something stands in a new folder's place."""
    try:
        there = place.exists() or place.is_symlink()
    except (OSError, ValueError) as error:
        raise SettingError(f"{str(place)[:100]!r} cannot be a folder; give --to another") from error
    if there:
        raise SettingError(f"{place} exists and is not overwritten; give --to a new folder's name")


def put(path: Path, text: str) -> None:
    """Write a text the same on every system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))
