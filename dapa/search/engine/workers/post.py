"""One worker as whoever asks sees it: the one seam between processes here and a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dapa.search.engine.workers.messages import Answer, Hire, Message


class Lost(Exception):
    """A worker is gone, or useless; the message says why."""


class Post(Protocol):
    """A place at which one worker works."""

    def begin(self) -> Answer:
        """Start it and let it load the pair; blocks until it has. Lost where it cannot."""

    def ask(self, message: Message) -> Answer:
        """Ask and wait for the answer; Lost where none can come any more."""

    def end(self) -> None:
        """End it at once, from any thread, whatever it is doing; may be called again."""


MakePost = Callable[[int, Hire], Post]
"""(number, what to load) -> a post at which nobody works yet."""
