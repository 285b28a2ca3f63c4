"""The workbench: owns the pair, the store and the background jobs."""

from __future__ import annotations

from dapa.workbench.ask import Asking
from dapa.workbench.localize import Seeing
from dapa.workbench.search import Searching


class Workbench(Seeing, Asking, Searching):
    """One pair, one store, any number of jobs and conversations at once."""
