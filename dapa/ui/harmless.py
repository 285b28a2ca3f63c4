"""Which requests are known to ask no harm: their answers wear no warning colour and no blur."""

from __future__ import annotations

from collections.abc import Callable

from dapa.ui.dashboard import Dashboard


def harmless(dashboard: Dashboard) -> Callable[[str], bool]:
    """Is a request known to be harmless: a bundled twin, borderline or skill prompt of this pair?

    What is not known may be harmful, and is shown so.
    """
    if not dashboard.workbench.loaded:
        return lambda prompt: False
    sets = dashboard.workbench.library()
    names = tuple(one.name for one in sets)
    if names not in _SAFE:
        plain = {item.text for one in sets if one.role != "harmful" for item in one.prompts}
        twins = {item.twin for one in sets for item in one.prompts if item.twin}
        _SAFE[names] = frozenset(text.strip() for text in plain | twins)
    known = _SAFE[names]
    return lambda prompt: prompt.strip() in known


_SAFE: dict[tuple[str, ...], frozenset[str]] = {}
"""The texts that ask no harm, by the names of the bundled sets that hold them; read once."""
