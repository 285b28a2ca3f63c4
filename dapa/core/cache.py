"""Where what was fetched lies on this machine: DAPA_CACHE, or the platform's folder for caches.

A thing is there or it is not: whoever fetches makes it aside and renames it once it is whole.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache() -> Path:
    """The folder for what was fetched; it need not exist."""
    named = os.environ.get("DAPA_CACHE")
    if named:
        return Path(named).expanduser()
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "dapa"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "dapa"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "dapa"


def fetched(name: str) -> Path | None:
    """The folder of what was fetched under this plain name; None where it is not there."""
    if not name or not name.replace("-", "").replace(".", "").replace("_", "").isalnum():
        return None  # a path or a hub id
    place = cache() / name
    return place if name[0].isalnum() and place.is_dir() else None
