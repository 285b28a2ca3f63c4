"""The command line: a thin layer of options and sentences over `dapa.workbench`.

Heavy modules (torch, transformers) are imported inside the commands, so that `--help` is quick.
"""

from dapa.cli.app import main

__all__ = ["main"]
