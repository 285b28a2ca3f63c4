"""Rows out of any prompt file: CSV, TSV, JSON, JSONL, parquet, or plain text with one a line.

This module knows bytes, encodings and tables; what a prompt is, `prompts` knows. Everything that a
file may have wrong is a PromptError that names the value seen and what to do next.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dapa.core.records import PromptError

MAX_BYTES = 50_000_000
MAX_ROWS = 100_000
MAX_LENGTH = 100_000
"""Characters of one prompt."""
COLUMNS = ("prompt", "text", "goal", "behavior", "forbidden_prompt", "question")
"""The columns that may hold the prompt, the first of them that stands in the header."""

Row = dict[str, Any]


def read_rows(path: Path) -> tuple[list[Row], str]:
    """Every row of a file, with lower-case column names, and the name of its prompt column.

    Raises:
        PromptError: The file is missing, too large, unreadable, or holds no prompts.
    """
    reader = _READERS.get(path.suffix.lower())
    _check_file(path, reader is not None)
    assert reader is not None, "an unknown extension was refused above"
    try:
        rows = []
        for row in reader(path):
            rows.append(row)
            if len(rows) > MAX_ROWS:
                raise PromptError(_too_many(path, "more"))
    except (OSError, RecursionError) as error:
        raise PromptError(f"{path.name} cannot be read ({error}); check the file") from None
    if not rows:
        raise PromptError(f"{path.name} holds no prompts below its header; add some rows")
    seen = list(dict.fromkeys(name for row in rows[:1000] for name in row))
    column = next((name for name in COLUMNS if name in seen), None)
    if column is None:
        shown = ", ".join(name or "(unnamed)" for name in seen[:8]) or "none"
        raise PromptError(
            f"{path.name} has no prompt column (seen: {shown[:200]}); name one of them "
            f"{', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}"
        )
    return rows, column


def checked(value: object, where: str) -> str:
    """A prompt's text, stripped; empty for a blank one.

    Raises:
        PromptError: It is no text, too long, or holds what no tokenizer can take.
    """
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise PromptError(
            f"{where}: {repr(value)[:60]} is not text; give one string for each prompt"
        )
    text = str(value).strip()
    if "\0" in text:
        raise PromptError(f"{where}: a NUL character in {text[:40]!r}; remove it")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = f"U+{ord(text[error.start]):04X}"
        raise PromptError(f"{where}: a lone surrogate {code}; save the text as UTF-8") from None
    if len(text) > MAX_LENGTH:
        raise PromptError(
            f"{where}: {len(text):,} characters, over {MAX_LENGTH:,}; shorten the prompt"
        )
    return text


def _check_file(path: Path, known: bool) -> None:
    """Refuse what need not be opened to be refused."""
    try:
        if path.is_dir():
            raise PromptError(f"{path} is a folder; name a file in it")
        if not path.is_file():
            raise PromptError(f"no prompt file {str(path)[:200]!r}; check its name")
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        reason = str(error)[:120]
        raise PromptError(f"{str(path)[:80]!r} is no file name ({reason}); check it") from None
    if not known:
        hint = "save the sheet as CSV" if path.suffix.lower() in (".xlsx", ".xls") else "convert it"
        raise PromptError(
            f"{path.name}: extension {path.suffix or '(none)'!r} is none of "
            f"{', '.join(_READERS)}; {hint}"
        )
    if size == 0:
        raise PromptError(f"{path.name} is empty; add a header and rows, or one prompt a line")
    if size > MAX_BYTES:
        raise PromptError(
            f"{path.name} has {size / 1e6:.0f} MB, over {MAX_BYTES / 1e6:.0f}; give a sample of it"
        )


def _too_many(path: Path, how_many: str) -> str:
    return f"{path.name} has over {MAX_ROWS:,} rows ({how_many}); give a sample of 1,000 or so"


def _decoded(path: Path) -> str:
    """The file's text, whatever its byte order mark."""
    raw = path.read_bytes()
    if raw.count(b"\n") > 5 * MAX_ROWS:  # told at once, before the rows are parsed
        raise PromptError(_too_many(path, f"{raw.count(bytes([10])):,} lines"))
    encoding = "utf-8-sig"
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif len(raw) >= 4 and b"\0" in raw[:4]:
        even, odd = raw[0:400:2].count(0), raw[1:400:2].count(0)
        if max(even, odd) > 4 * min(even, odd):
            encoding = "utf-16-be" if even > odd else "utf-16-le"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        byte = raw[error.start : error.start + 1].hex()
        raise PromptError(
            f"{path.name} is not {encoding.removesuffix('-sig').upper()} text (byte 0x{byte} at "
            f"{error.start}); save it as UTF-8, or it is no text file"
        ) from None
    strange = sum(1 for c in text[:4000] if c < " " and c not in "\t\n\r\f")
    if strange > max(2, len(text[:4000]) // 50):
        raise PromptError(f"{path.name} looks binary; give a text file with prompts")
    return text


def _named(name: object) -> str:
    """A column's name as we compare it."""
    return str(name or "").strip().lower()


def _table(path: Path) -> Iterator[Row]:
    """Rows of a CSV or TSV file, cells with embedded newlines kept whole."""
    text = _decoded(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        raise PromptError(f"{path.name} holds only blank lines; add a header and rows")
    marks = "\t,;" if path.suffix.lower() == ".tsv" else ",;\t"
    mark = next((m for m in marks if _has_column(first, m)), marks[0])
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
    header: list[str] | None = None
    try:
        for cells in rows:
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [_named(cell) for cell in cells]
                continue
            if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
                if len(header) > 1:
                    raise PromptError(
                        f"{path.name}, line {rows.line_num}: {len(cells)} cells under a header of "
                        f"{len(header)}; put cells that hold {mark!r} in double quotes"
                    )
                cells = [mark.join(cells)]
            yield {name: cell for name, cell in zip(header, cells, strict=False) if name}
    except csv.Error as error:
        raise PromptError(
            f"{path.name}, line {rows.line_num}: {error}; check its quotes and its length"
        ) from None


def _has_column(line: str, mark: str) -> bool:
    """Does this header, cut at `mark`, name a prompt column?"""
    return any(_named(cell.strip().strip('"')) in COLUMNS for cell in line.split(mark))


def _lines(path: Path) -> Iterator[Row]:
    """One prompt a line."""
    for line in _decoded(path).split("\n"):
        if line.strip():
            yield {"prompt": line}


def _json_lines(path: Path) -> Iterator[Row]:
    """One JSON object, or one string, a line."""
    for number, line in enumerate(_decoded(path).split("\n"), 1):
        if line.strip():
            yield _json_row(_loads(line, path.name, number), path.name, number)


def _json(path: Path) -> Iterator[Row]:
    """A JSON list of objects or strings."""
    listed = _loads(_decoded(path), path.name, 1)
    if not isinstance(listed, list):
        raise PromptError(f"{path.name} holds no JSON list; give a list of objects or strings")
    for number, value in enumerate(listed, 1):
        yield _json_row(value, path.name, number)


def _loads(text: str, name: str, number: int) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise PromptError(
            f"{name}, line {number}: {text[:40]!r} is not JSON ({error}); mend the line"
        ) from None


def _json_row(value: object, name: str, number: int) -> Row:
    if isinstance(value, str):
        return {"prompt": value}
    if isinstance(value, dict):
        return {_named(key): cell for key, cell in value.items() if _named(key)}
    raise PromptError(
        f"{name}, row {number}: {repr(value)[:40]} is neither an object nor a string; mend it"
    )


def _parquet(path: Path) -> Iterator[Row]:
    """Rows of a parquet file; its length is read before its data."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        if file.metadata.num_rows > MAX_ROWS:
            raise PromptError(_too_many(path, f"{file.metadata.num_rows:,}"))
        rows = file.read().to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise PromptError(f"{path.name} is no parquet file ({reason}); write it again") from None
    for row in rows:
        yield {_named(name): cell for name, cell in row.items() if _named(name)}


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": _table,
    ".tsv": _table,
    ".jsonl": _json_lines,
    ".json": _json,
    ".parquet": _parquet,
    ".txt": _lines,
}
