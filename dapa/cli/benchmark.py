"""`bench`: the benchmark, whose options and output are its own."""

from __future__ import annotations

import typer


def bench(context: typer.Context) -> int:
    """Measure every goal of the house in one run, as a table and as JSON (`bench --help`)."""
    from dapa.bench.command import main

    return main(context.args)
