"""The measurements, a file each; importing this fills the table in the order of the buttons.

A file here imports nothing heavy at its top, since every command's help is made from this table.
"""

# ruff: noqa: I001  (the order of the buttons)
from dapa.core.measurement import Call, Dots, Interval, Measured, Measurement, Shown, Table
from dapa.core.measurement import measurements
from dapa.workbench.measurements import gap
from dapa.workbench.measurements import concentration
from dapa.workbench.measurements import weights
from dapa.workbench.measurements import flips
from dapa.workbench.measurements import gradients
from dapa.workbench.measurements import interaction
from dapa.workbench.measurements import divergence
from dapa.workbench.measurements import trace
from dapa.workbench.measurements import patching
from dapa.workbench.measurements import directions
from dapa.workbench.measurements import projection
from dapa.workbench.measurements import summary
from dapa.workbench.measurements import length
from dapa.workbench.measurements import whatif
from dapa.workbench.measurements import baselines
from dapa.workbench.measurements import placebos
from dapa.workbench.measurements import skill
from dapa.workbench.measurements import stability
from dapa.workbench.measurements import chance
from dapa.workbench.measurements import necessity
from dapa.workbench.measurements import dose
from dapa.workbench.measurements import categories
from dapa.workbench.measurements import found_pairs
from dapa.workbench.measurements import pareto

__all__ = [
    "Call",
    "Dots",
    "Interval",
    "Measured",
    "Measurement",
    "Shown",
    "Table",
    "baselines",
    "categories",
    "chance",
    "concentration",
    "directions",
    "divergence",
    "dose",
    "flips",
    "gap",
    "gradients",
    "interaction",
    "length",
    "measurements",
    "necessity",
    "found_pairs",
    "pareto",
    "patching",
    "placebos",
    "projection",
    "skill",
    "stability",
    "summary",
    "trace",
    "weights",
    "whatif",
]
