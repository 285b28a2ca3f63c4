"""Rows out of CSV, TSV and parquet, strictly: what would be lost is an error with its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dapa.core.records import PromptError
from dapa.prompts.columns import COLUMNS, Row, named, unlike

MAX_ROWS = 100_000
MAX_COLUMNS = 2_000
MAX_UNPACKED = 200_000_000
"""Bytes of a parquet file's cells once unpacked: a small file may hold one text many times."""
_BATCH = 1_000


def too_many(name: str, how_many: str) -> str:
    """The message for a file with too many rows."""
    return f"{name} has over {MAX_ROWS:,} rows ({how_many}); give a sample of 1,000 or so"


def separated(text: str, name: str, tabs: bool, wanted: str | None = None) -> Iterator[Row]:
    """Rows of a CSV or TSV text, cells with embedded newlines kept whole.

    A TSV file whose quotes do not pair, and whose every line has the header's cells without them,
    is one that is written without quoting.

    Args:
        text: The file's text.
        name: Of the file, for messages.
        tabs: Is it TSV?
        wanted: The prompt column that the user names, to tell what parts the cells.

    Raises:
        PromptError: Broken quotes, repeated columns, rows longer than the header: by line.
    """
    first = next((line for line in io.StringIO(text, newline=None) if line.strip()), "").strip("\n")
    if not first:
        raise PromptError(f"{name} holds only blank lines; add a header and rows")
    marks = "\t,;" if tabs else ",;\t"
    known = {*COLUMNS, named(wanted)} - {""}
    mark = next((m for m in marks if _names(first, m) & known), marks[0])
    if first.count(mark) >= MAX_COLUMNS:
        raise PromptError(
            f"{name} has {first.count(mark) + 1:,} columns, over {MAX_COLUMNS:,}; keep a few"
        )
    if tabs and mark == "\t":
        try:
            yield from list(_rows(text, name, mark))
            return
        except _BrokenQuotes:
            lines = [line for line in io.StringIO(text, newline=None) if line.strip()]
            if any(line.count(mark) != first.count(mark) for line in lines):
                raise
        yield from _rows(text, name, mark, csv.QUOTE_NONE)
        return
    yield from _rows(text, name, mark)


class _BrokenQuotes(PromptError):
    """Quotes that open, close or double where they should not."""


def _names(line: str, mark: str) -> set[str]:
    """The columns of a header cut at `mark`."""
    return {named(cell.strip().strip('"')) for cell in line.split(mark)}


def _rows(text: str, name: str, mark: str, quoting: Any = csv.QUOTE_MINIMAL) -> Iterator[Row]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True, quoting=quoting)
    header: list[str] | None = None
    start = 1  # the line on which this row begins
    try:
        for cells in rows:
            here, start = start, rows.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = unlike(cells, f"{name}, line {here}")
                continue
            lines = _lines(here, rows.line_num)
            if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
                if len(header) > 1:
                    raise PromptError(
                        f"{name}, {lines}: {len(cells)} cells under a header of {len(header)}; "
                        f"put cells that hold {mark!r} in double quotes"
                    )
                cells = [mark.join(cells)]
            if len(cells) < len(header) and _swallows(cells, len(header), mark):
                raise _BrokenQuotes(
                    f"{name}, {lines}: a quote opens and swallows the rows below, so that only "
                    f"{len(cells)} of {len(header)} cells are left; close it or double it"
                )
            yield {name: cell for name, cell in zip(header, cells, strict=False) if name}
    except csv.Error as error:
        raise _broken(error, name, _lines(start, max(rows.line_num, start))) from None


def _swallows(cells: list[str], columns: int, mark: str) -> bool:
    """Does a cell's first line hold the rest of its row, and then more lines?"""
    return any(
        "\n" in cell and cell.partition("\n")[0].count(mark) == columns - 1 - index
        for index, cell in enumerate(cells)
    )


def _lines(first: int, last: int) -> str:
    return f"line {first}" if first == last else f"lines {first} to {last}"


def _broken(error: csv.Error, name: str, lines: str) -> PromptError:
    """What the reader met, in words."""
    told = str(error)
    if "expected after" in told:
        return _BrokenQuotes(
            f"{name}, {lines}: a quote closes before its cell ends; double the quotes inside a "
            'cell and put the whole cell in quotes, as in """Borrow"" a car"'
        )
    if "end of data" in told:
        return _BrokenQuotes(
            f"{name}, {lines}: a quote opens and is never closed; close it, or double it"
        )
    return PromptError(f"{name}, {lines}: {told}; check its quotes and its length")


def parquet(path: Path) -> Iterator[Row]:
    """Rows of a parquet file; its length is read before its data, its cells batch by batch.

    Raises:
        PromptError: It is none, or is too large once unpacked.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        texts = [
            field.name
            for field in file.schema_arrow
            if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        ]
        # a text that stands in every row is kept once until its size is known
        file = pq.ParquetFile(path, read_dictionary=texts)
        about = file.metadata
        columns = file.schema_arrow.names
        names = dict(zip(columns, unlike(columns, path.name), strict=True))
        if about.num_rows > MAX_ROWS:
            raise PromptError(too_many(path.name, f"{about.num_rows:,}"))
        held = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        _check_unpacked(held, path.name)
        held = 0
        for batch in file.iter_batches(_BATCH):
            held += sum(_size(column) for column in batch.columns)
            _check_unpacked(held, path.name)
            for row in batch.to_pylist():
                yield {names[name]: cell for name, cell in row.items() if names[name]}
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise PromptError(f"{path.name} is no parquet file ({reason}); write it again") from None


def _size(column: Any) -> int:
    """Bytes of a column's cells, one by one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not isinstance(column, pa.DictionaryArray):
        return int(column.nbytes)
    sizes = pc.take(pc.binary_length(column.dictionary), column.indices)
    return int(pc.sum(sizes).as_py() or 0)


def _check_unpacked(size: int, name: str) -> None:
    if size > MAX_UNPACKED:
        raise PromptError(
            f"{name} unpacks to over {MAX_UNPACKED / 1e6:.0f} MB; give a sample of 1,000 rows or so"
        )
