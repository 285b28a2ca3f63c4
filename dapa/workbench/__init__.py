"""The facade: owns the pair, the store and the background jobs.

Screen, command line and Python all ask here, so whatever one can do the others can too. What it can
do stands by wing: `localize`, `ask`, `search`, over what `base` holds.
"""

from __future__ import annotations

from dapa.workbench.ask import Asking
from dapa.workbench.base import RUN_DIR
from dapa.workbench.localize import Seeing
from dapa.workbench.search import Searching


class Workbench(Seeing, Asking, Searching):
    """One pair, one store, any number of jobs and conversations at once."""


__all__ = ["RUN_DIR", "Workbench"]
