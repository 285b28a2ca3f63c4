"""The maps of where two models part that this server made, and the words above one."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any

from dapa.localize.divergence.divergence import DivergenceMap
from dapa.ui.parts import esc, title

HEAD = "Where the two models part, layer by layer"


class Maps:
    """The last maps made, shared by all browsers: the same question is measured once."""

    def __init__(self, most: int = 16) -> None:
        """Keep `most` maps."""
        self._kept: OrderedDict[tuple[Any, ...], DivergenceMap] = OrderedDict()
        self._most, self._lock = most, Lock()

    def get(self, key: tuple[Any, ...]) -> DivergenceMap | None:
        """The map of this question, if it was made."""
        with self._lock:
            return self._kept.get(key)

    def shown(self, key: Any) -> DivergenceMap | None:
        """The map behind the picture that a browser shows, if it is still kept."""
        return self.get(key) if isinstance(key, tuple) else None

    def put(self, key: tuple[Any, ...], found: DivergenceMap) -> None:
        """Keep a map; the oldest goes."""
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


def head_of(found: DivergenceMap, contrast: bool) -> str:
    """The card's title, how to read it, and where the numbers come from."""
    what = "harmful minus harmless" if contrast else f"mean {found.title.lower()}"
    return title(
        HEAD,
        f"Over {found.n} prompts, {what}; {esc(found.reading)} reading. Click a column to "
        "transplant its layer and read the prompts behind the cell; shift-click takes a range, "
        "alt-click only reads. "
        f'<span class="sr">{esc(found.provenance)}</span>',
    )
