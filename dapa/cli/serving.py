"""`app`: the dashboard in the browser, whose options are its own."""

from __future__ import annotations

import typer


def app(context: typer.Context) -> None:
    """Open the dashboard in the browser (`app --help`)."""
    from dapa.ui.front import main

    main(context.args, "dapa app")
