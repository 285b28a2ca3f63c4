"""A job's hold on its pair, and how an error lets go of it."""

from __future__ import annotations

import weakref

from dapa.core.records import PairError
from dapa.model.pair import Pair


class Held:
    """A search's hold on its pair: firm until `let_go`, a mere pointer from then on.

    Whoever loaded a pair owns it. A search that has ended must not keep two models in memory after
    another pair took their place.
    """

    def __init__(self, pair: Pair) -> None:
        """Hold it."""
        self._firm: Pair | None = pair
        self._loose = weakref.ref(pair)
        self._title = pair.spec.name or pair.spec.title

    def let_go(self) -> None:
        """From now on the pair lives as long as others hold it."""
        self._firm = None

    def holds(self, pair: Pair) -> bool:
        """Is it this very pair?"""
        return self._loose() is pair

    def get(self, remedy: str = "load it again") -> Pair:
        """The pair; PairError with what to do where it is gone."""
        pair = self._loose()
        if pair is None:
            raise PairError(f"the pair {self._title} is no longer loaded; {remedy}")
        return pair


def forget_way(error: BaseException) -> None:
    """Keep an error's words and drop where it came from: the frames it passed hold the pair."""
    at: BaseException | None = error
    while at is not None:
        at.__traceback__ = None
        at = at.__cause__ or at.__context__
