"""Keep a batch full: rows come from a queue, end, are judged by the caller, and are replaced.

When memory runs out, the rows in flight are read again from their prompts, half as many at once:
decoding is greedy or seeded by row, so that nothing of a reply changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dapa.core.records import ran_out
from dapa.model.decode.generation import Batch, Row
from dapa.model.machine import rows_in_flight
from dapa.model.pair import Pair
from dapa.model.room import release, too_little


def row_capacity(pair: Pair, rows: int | None = None) -> int:
    """Rows in flight at most: as asked, else what suits the device. `serve` may take fewer."""
    return rows or rows_in_flight(pair.device.type)


def serve(
    batch: Batch,
    capacity: int,
    take: Callable[[int], Sequence[Row]],
    finish: Callable[[Row], None],
    wanted: Callable[[Row], bool] = lambda row: True,
    after: Callable[[], None] = lambda: None,
    fixed: bool = False,
) -> None:
    """Decode until `take` gives nothing and no row is in flight.

    Args:
        batch: An empty batch.
        capacity: Rows in flight at most; fewer where memory does not suffice.
        take: Asked for at most so many new rows; empty when there is none now.
        finish: Told of every row that ended by itself.
        wanted: A row for which this turns false is dropped after the step.
        after: Called after every step.
        fixed: The number of rows is part of what was promised: memory that runs out is an error.

    Raises:
        OutOfMemory: Not even one row fits, or not as many as are `fixed`.
    """
    refill = batch.optimizations.refill and batch.optimizations.leave
    room = batch.pair.room
    capacity = capacity if fixed else room.most("replies", capacity)
    flying: dict[Row, None] = {}
    again: list[Row] = []  # those that memory ran out on
    looked = 0  # tokens of a row for which the free memory was looked at

    def end(rows: Sequence[Row]) -> None:
        for row in rows:
            del flying[row]
            finish(row)

    def tried(work: Callable[[], list[Row]]) -> bool:
        """Do it and end what ended; False if memory ran out, and everyone is to be read again."""
        nonlocal capacity
        try:
            ended = work()
        except Exception as error:
            if not ran_out(error):
                raise
        else:  # judged outside: what runs out there is none of ours
            end(ended)
            return True
        rows = list(flying)
        flying.clear()
        batch.clear(rows)
        if fixed or len(rows) == 1:
            raise too_little(max(len(row.ids) for row in rows))
        capacity = room.halve("replies", min(capacity, len(rows)))
        again.extend(rows)
        release(batch.pair.device)
        return False

    while True:
        new: Sequence[Row] = ()
        free = capacity - len(batch.rows)
        # a prefill has a fixed cost, so places are refilled by the quarter
        if not batch.rows or (refill and 4 * free >= capacity):
            new = again[:free] or take(free)
            del again[:free]
            tokens = max(map(batch.most_tokens, new), default=0)
            if tokens > looked and not fixed:
                looked = tokens
                capacity = room.fitting(batch.pair, capacity, tokens)
                if (most := max(1, capacity - len(batch.rows))) < len(new):
                    again[:0], new = new[most:], new[:most]
        if not batch.rows and not new:
            return
        flying.update(dict.fromkeys(new))
        if not (tried(lambda new=new: batch.admit(new)) and tried(batch.step)):
            continue
        idle = [row for row in batch.rows if not wanted(row)]
        if idle:
            batch.drop(idle)
            for row in idle:
                del flying[row]
        after()
