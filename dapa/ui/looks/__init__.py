"""The closer looks at a found set, one file a family; importing this fills the table."""

# isort: off  (the order of the buttons)
from dapa.ui.looks import inner, rivals, skill, steady
from dapa.ui.looks.base import Look, looks

# isort: on

__all__ = ["Look", "inner", "looks", "rivals", "skill", "steady"]
