"""Where the bundled data lies: where DAPA_ASSETS says, beside the package, or inside it."""

from __future__ import annotations

import os
from pathlib import Path

from dapa.core.records import SettingError

_HERE = Path(__file__).resolve().parents[1]  # the package


def folder() -> Path:
    """The assets folder; SettingError if DAPA_ASSETS names none, or none was shipped."""
    named = os.environ.get("DAPA_ASSETS")
    if named:
        if Path(named).is_dir():
            return Path(named)
        raise SettingError(f"DAPA_ASSETS={named!r} is not a folder; unset it or name the assets")
    for place in (_HERE.parent / "assets", _HERE / "assets"):
        if place.is_dir():
            return place
    raise SettingError(f"no assets beside {_HERE}; set DAPA_ASSETS to the assets folder")


def asset(name: str) -> Path:
    """The path of one bundled file, such as `words.txt`; SettingError if it is missing."""
    path = folder() / name
    if not path.exists():
        raise SettingError(f"{path} is missing; restore it from the repository or set DAPA_ASSETS")
    return path
