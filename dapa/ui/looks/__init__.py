"""The closer looks at a found set, one file a family; importing this fills the table."""

# The order of these is the order of the buttons.
# isort: off
from dapa.ui.looks.base import Look, looks
from dapa.ui.looks import rivals
from dapa.ui.looks import skill
from dapa.ui.looks import steady
from dapa.ui.looks import dosing
from dapa.ui.looks import inner
# isort: on

__all__ = ["Look", "dosing", "inner", "looks", "rivals", "skill", "steady"]
