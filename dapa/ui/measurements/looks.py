"""The closer looks at a found set, one file a family; importing this fills the table."""

# The order of these is the order of the buttons.
# isort: off
from dapa.ui.measurements.look import Look, looks
from dapa.ui.measurements import comparisons as rivals
from dapa.ui.measurements import skill
from dapa.ui.measurements import steady
from dapa.ui.measurements import dose as dosing
from dapa.ui.measurements import inner
# isort: on

__all__ = ["Look", "dosing", "inner", "looks", "rivals", "skill", "steady"]
