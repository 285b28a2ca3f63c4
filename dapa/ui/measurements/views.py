"""The views of a pair beside its map, one file a family; importing this fills the table."""

# ruff: noqa: I001  (the order of the buttons)
from dapa.ui.measurements import single
from dapa.ui.measurements import causes
from dapa.ui.measurements import standing
from dapa.ui.measurements import together
from dapa.ui.measurements.view import Ask, View, views

__all__ = ["Ask", "View", "causes", "single", "standing", "together", "views"]
