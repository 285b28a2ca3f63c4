"""Find the smallest set of units that carries refusal.

Algorithms are pure coroutines over masks, one a file; `driver` answers their questions.
"""

from dapa.search import bisect, ddmin, greedy, hierarchical, probdd, weighted, windows
from dapa.search.questions import algorithms

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
