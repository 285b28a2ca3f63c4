"""Searches as pure coroutines over masks, one a file; importing this fills their table."""

from dapa.search.algorithms import (
    bisect,
    ddmin,
    greedy,
    hierarchical,
    probdd,
    weighted,
    windows,
)
from dapa.search.algorithms.questions import algorithms

__all__ = [
    "algorithms",
    "bisect",
    "ddmin",
    "greedy",
    "hierarchical",
    "probdd",
    "weighted",
    "windows",
]
