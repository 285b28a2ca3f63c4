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
        harmful = [item for one in sets if one.role == "harmful" for item in one.prompts]
        plain = {item.text.strip() for one in sets if one.role != "harmful" for item in one.prompts}
        twins = {item.twin.strip() for item in harmful if item.twin}  # a harmless set's are harmful
        _SAFE[names] = frozenset(plain | twins) - {item.text.strip() for item in harmful}
    known = _SAFE[names]
    return lambda prompt: prompt.strip() in known


_SAFE: dict[tuple[str, ...], frozenset[str]] = {}
"""The texts that ask no harm, by the names of the bundled sets that hold them; read once."""
