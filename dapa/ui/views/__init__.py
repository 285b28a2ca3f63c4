"""The views of a pair beside its map, one file a family; importing this fills the table."""

# ruff: noqa: I001  (the order of the buttons)
from dapa.ui.views import where
from dapa.ui.views import single
from dapa.ui.views import causes
from dapa.ui.views import standing
from dapa.ui.views import together
from dapa.ui.views.base import Ask, View, views

__all__ = ["Ask", "View", "causes", "single", "standing", "together", "views", "where"]
