"""The panes of a talk in a terminal, beside each other while they grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.live import Live
from rich.panel import Panel as Box
from rich.table import Table
from rich.text import Text

from dapa.cli.output import console, one_line, plain

if TYPE_CHECKING:
    from dapa.workbench import Exchange, Pane


@contextmanager
def picture(live: bool) -> Iterator[Callable[[Exchange], None]]:
    """What to call with every exchange; draws where `live`, and the last picture stays."""
    if not live:
        yield lambda exchange: None
        return
    with Live(console=console(), refresh_per_second=12) as drawn:
        yield lambda exchange: drawn.update(_columns(exchange))


def _columns(exchange: Exchange) -> Table:
    grid = Table.grid(expand=True)
    for _ in exchange.panes:
        grid.add_column(ratio=1)
    grid.add_row(
        *(
            Box(Text(plain(pane.text)), title=Text(pane.name), subtitle=Text(badge(pane)))
            for pane in exchange.panes
        )
    )
    return grid


def badge(pane: Pane) -> str:
    """A pane's verdict with its evidence, in one line."""
    if pane.verdict is None:
        return "..." if pane.ending is None else "stopped"
    evidence = one_line(pane.verdict.evidence(pane.text))[:60]
    cut = f", cut by {pane.cut}" if pane.cut else ""
    word = ", ".join(filter(None, (pane.verdict.label, pane.verdict.how)))
    return f"{word} ({evidence}), {pane.tokens} tokens{cut}"
