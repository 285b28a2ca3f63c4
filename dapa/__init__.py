"""DAPA Dashboard: where a language model's refusals live, and how to move them.

The wings are floors; imports go down (see tests/test_floors.py). Start at `dapa.workbench`,
the facade behind the screen, the command line and Python.
"""

__version__ = "0.1.0"
