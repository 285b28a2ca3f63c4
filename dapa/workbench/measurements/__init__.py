"""The measurements, a file each; importing this fills the table in the order of the buttons.

A file here imports nothing heavy at its top, since every command's help is made from this table.
"""

# ruff: noqa: I001  (the order of the buttons)
from dapa.core.measurement import Call, Dots, Interval, Measured, Measurement, Shown, Table
from dapa.core.measurement import measurements
from dapa.workbench.measurements import gap
from dapa.workbench.measurements import weights

__all__ = [
    "Call",
    "Dots",
    "Interval",
    "Measured",
    "Measurement",
    "Shown",
    "Table",
    "gap",
    "measurements",
    "weights",
]
