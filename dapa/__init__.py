"""DAPA Dashboard: where a language model's refusals live, and how to move them.

    from dapa import Mask, Unit, Workbench

The wings are floors; imports go down (see tests/test_floors.py). Start at `dapa.workbench`, the
door for screen, command line and Python alike.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dapa.core.version import VERSION

if TYPE_CHECKING:
    from dapa.core.masks import Mask, Unit
    from dapa.workbench import Workbench

# Threads of GNU OpenMP burn a core for milliseconds while they wait for one that a busy machine has
# put aside. It is read once, when torch is first imported; what the user has set stands.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__version__ = VERSION
__all__ = ["Mask", "Unit", "Workbench"]
_HOMES = {"Mask": "dapa.core.masks", "Unit": "dapa.core.masks", "Workbench": "dapa.workbench"}


def __getattr__(name: str) -> Any:
    """Load a name when it is first asked for: the workbench brings torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dapa' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
