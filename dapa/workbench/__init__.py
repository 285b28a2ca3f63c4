"""The door of the house: what screen, command line and Python ask for stands here by name.

`Workbench` owns the pair, the store and the background jobs; settings, records and measurements
that go through its hands are named here too. Names load when they are first asked for, so a command
line that only tells its options waits for no model.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dapa.chat.settings import ChatSettings
    from dapa.measure.evaluation_settings import EvaluationSettings
    from dapa.model.spec import PairOptions, PairSpec
    from dapa.search.engine.control import Halted
    from dapa.search.job import SearchJob
    from dapa.search.settings import SearchSettings
    from dapa.workbench.base import RUN_DIR
    from dapa.workbench.bench import Workbench

_HOMES = {
    "RUN_DIR": "dapa.workbench.base",
    "Workbench": "dapa.workbench.bench",
    "ChatSettings": "dapa.chat.settings",
    "EvaluationSettings": "dapa.measure.evaluation_settings",
    "PairOptions": "dapa.model.spec",
    "PairSpec": "dapa.model.spec",
    "Halted": "dapa.search.engine.control",
    "SearchJob": "dapa.search.job",
    "SearchSettings": "dapa.search.settings",
}
__all__ = [
    "RUN_DIR",
    "ChatSettings",
    "EvaluationSettings",
    "Halted",
    "PairOptions",
    "PairSpec",
    "SearchJob",
    "SearchSettings",
    "Workbench",
]


def __getattr__(name: str) -> Any:
    """Load a name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dapa.workbench' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
