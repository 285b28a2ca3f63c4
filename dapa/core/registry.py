"""A table that fills a dropdown and a command-line choice at once.

`metrics = Registry("metric")`, then `@metrics.add("cosine", "cosine distance")` above a function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from dapa.core.records import SettingError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to things, in the order in which they were added, each with a title for people."""

    def __init__(self, what: str) -> None:
        """`what` names the table in error messages, as in `metric`."""
        self.what = what
        self._things: dict[str, T] = {}
        self.titles: dict[str, str] = {}

    def add(self, name: str, title: str = "") -> Callable[[T], T]:
        """Register the decorated thing under `name`."""

        def keep(thing: T) -> T:
            assert name not in self._things, f"{self.what} {name!r} is registered twice"
            self._things[name] = thing
            self.titles[name] = title or name
            return thing

        return keep

    def __getitem__(self, name: str) -> T:
        """The thing called `name`; SettingError lists the names there are."""
        try:
            return self._things[name]
        except (KeyError, TypeError):
            raise SettingError(
                f"{name!r} is not a {self.what}; choose one of {', '.join(self._things)}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        """The names, in order."""
        return iter(self._things)

    def __contains__(self, name: object) -> bool:
        """Is there a thing of this name?"""
        return name in self._things
