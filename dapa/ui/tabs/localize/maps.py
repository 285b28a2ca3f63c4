"""The maps of where two models part that this server made, and the words above one."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any, NamedTuple

from dapa.core.html import html
from dapa.core.measurement import Measured
from dapa.core.settings import Settings
from dapa.ui.parts import title

READINGS = {
    "local": "the teacher’s module on the student’s own input (local reading)",
    "total": "each model on its own input (total reading)",
}
"""What a reading is, where its name stands first."""
HEAD = "Where the two models part, layer by layer"


class Key(NamedTuple):
    """A question about a loaded pair."""

    epoch: int
    settings: Settings
    stopped: bool = False
    """Is it a map of the prompts measured until it was stopped?"""


class Maps:
    """The last maps made, shared by all browsers: the same question is measured once."""

    def __init__(self, most: int = 16) -> None:
        """Keep `most` maps."""
        self._kept: OrderedDict[Key, Measured] = OrderedDict()
        self._most, self._lock = most, Lock()

    def get(self, key: Key) -> Measured | None:
        """The map of this question, if it was made."""
        with self._lock:
            return self._kept.get(key)

    def shown(self, key: Any) -> Measured | None:
        """The map behind the picture that a browser shows, if it is still kept."""
        return self.get(key) if isinstance(key, Key) else None

    def put(self, key: Key, made: Measured) -> None:
        """Keep a map; the oldest goes."""
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


def head_of(made: Measured) -> str:
    """The card's title, how to read it, and where the numbers come from."""
    found = made.record.found
    scale = ""
    if made.record.contrast:
        scale = (
            " Blue: the models part more on harmful requests, orange: more on harmless ones; a dot "
            "may be 0 by chance."
        )
    what = "harmful minus harmless" if made.record.contrast else f"mean {found.title.lower()}"
    return title(
        HEAD,
        html(
            "Over {} prompts, {}; {}.{} Click a cell to read the prompts behind it, once "
            "more to transplant its layer; shift-click takes a range. "
            '<span class="sr">{}</span>',
            found.n, what, READINGS[found.reading], scale, made.origin,
        ),
    )  # fmt: skip
