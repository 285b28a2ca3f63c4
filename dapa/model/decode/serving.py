"""Keep a batch full: rows come from a queue, end, are judged by the caller, and are replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dapa.model.decode.generation import Batch, Row
from dapa.model.machine import rows_in_flight
from dapa.model.pair import Pair


def row_capacity(pair: Pair, rows: int | None = None) -> int:
    """Rows in flight at most: as asked, else what suits the device."""
    return rows or rows_in_flight(pair.device.type)


def serve(
    batch: Batch,
    capacity: int,
    take: Callable[[int], Sequence[Row]],
    finish: Callable[[Row], None],
    wanted: Callable[[Row], bool] = lambda row: True,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Decode until `take` gives nothing and no row is in flight.

    Args:
        batch: An empty batch.
        capacity: Rows in flight at most.
        take: Asked for at most so many new rows; empty when there is none now.
        finish: Told of every row that ended by itself.
        wanted: A row for which this turns false is dropped after the step.
        after: Called after every step.
    """
    refill = batch.optimizations.refill and batch.optimizations.leave
    while True:
        room = capacity - len(batch.rows)
        # a prefill has a fixed cost, so places are refilled by the quarter
        new = take(room) if not batch.rows or (refill and 4 * room >= capacity) else ()
        for row in batch.admit(new):
            finish(row)
        if not batch.rows and not new:
            return
        for row in batch.step():
            finish(row)
        idle = [row for row in batch.rows if not wanted(row)]
        if idle:
            batch.drop(idle)
        after()
