"""Rows out of any prompt file: CSV, TSV, JSON, JSONL, parquet, or plain text with one a line.

This module knows bytes, encodings and tables; what a prompt is, `prompts` knows. Everything that a
file may have wrong is a PromptError that names the value seen and what to do next.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dapa.core.records import PromptError
from dapa.prompts.columns import COLUMNS, Row, named, prompt_column, unlike
from dapa.prompts.tabular import MAX_COLUMNS, MAX_ROWS, parquet, separated, too_many

MAX_BYTES = 50_000_000
MAX_LENGTH = 100_000
"""Characters of one prompt."""


def read_rows(path: Path, wanted: str | None = None) -> tuple[list[Row], str]:
    """Every row of a file, with lower-case column names, and the name of its prompt column.

    Args:
        path: The file.
        wanted: The prompt column, where it is none of `COLUMNS` or not the first of them.

    Raises:
        PromptError: The file is missing, too large, unreadable, or holds no prompts.
    """
    ending = path.suffix.lower()
    _check_file(path, ending in _ENDINGS)
    try:
        rows = []
        for row in _reader(path, ending, wanted):
            rows.append(row)
            if len(rows) > MAX_ROWS:
                raise PromptError(too_many(path.name, "more"))
    except (OSError, RecursionError) as error:
        raise PromptError(f"{path.name} cannot be read ({error}); check the file") from None
    if not rows:
        raise PromptError(f"{path.name} holds no prompts below its header; add some rows")
    seen = list(dict.fromkeys(name for row in rows[:1000] for name in row))
    return rows, prompt_column(seen, path.name, wanted)


def _reader(path: Path, ending: str, wanted: str | None) -> Iterator[Row]:
    if ending == ".parquet":
        return parquet(path)
    text = _decoded(path)
    if ending in (".csv", ".tsv"):
        return separated(text, path.name, ending == ".tsv", wanted)
    return _lines(text) if ending == ".txt" else _json(text, path.name)


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
            f"{', '.join(_ENDINGS)}; {hint}"
        )
    if size == 0:
        raise PromptError(f"{path.name} is empty; add a header and rows, or one prompt a line")
    if size > MAX_BYTES:
        raise PromptError(
            f"{path.name} has {size / 1e6:.0f} MB, over {MAX_BYTES / 1e6:.0f}; give a sample of it"
        )


def _decoded(path: Path) -> str:
    """The file's text, whatever its byte order mark."""
    raw = path.read_bytes()
    if raw.count(b"\n") > 5 * MAX_ROWS:  # told at once, before the rows are parsed
        raise PromptError(too_many(path.name, f"{raw.count(bytes([10])):,} lines"))
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


def _lines(text: str) -> Iterator[Row]:
    """One prompt a line."""
    for line in io.StringIO(text, newline=None):
        if line.strip():
            yield {"prompt": line}


def _json(text: str, name: str) -> Iterator[Row]:
    """A JSON list of objects or strings, or one of them a line, whatever the file's ending."""
    at = _gap(text, 0)
    if text.startswith("[", at):
        return _json_list(text, name, at + 1)
    head = text[at:].partition("\n")[0] if at < len(text) else ""
    if name.lower().endswith(".json") and not (
        _whole(head) and _gap(text, at + len(head)) < len(text)
    ):
        raise PromptError(f"{name} holds no JSON list; give a list of objects or strings")
    return _json_lines(text, name)


def _whole(line: str) -> bool:
    """Is this line JSON by itself?"""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _json_lines(text: str, name: str) -> Iterator[Row]:
    for number, line in enumerate(io.StringIO(text, newline="\n"), 1):
        if line.strip():
            where = f"{name}, line {number}"
            try:
                value = _DECODER.decode(line.strip())
            except _Unsound as error:
                raise PromptError(f"{where}: {error}") from None
            except ValueError as error:
                raise PromptError(_no_json(where, line, error)) from None
            yield _json_row(value, where)


def _json_list(text: str, name: str, at: int) -> Iterator[Row]:
    """The list's values one by one, so that a long one is never held whole."""
    line, before = 1, 0
    at = _gap(text, at)
    while not text.startswith("]", at):
        line, before = line + text.count("\n", before, at), at
        where = f"{name}, line {line}"
        try:
            value, at = _DECODER.raw_decode(text, at)
            at = _gap(text, at)
            if text[at : at + 1] not in (",", "]"):
                raise json.JSONDecodeError("expected a comma or the list's end", text, at)
        except _Unsound as error:
            raise PromptError(f"{where}: {error}") from None
        except json.JSONDecodeError as error:
            told = text[text.rfind("\n", 0, error.pos) + 1 :][:80]
            raise PromptError(_no_json(f"{name}, line {error.lineno}", told, error)) from None
        yield _json_row(value, where)
        if text[at] == ",":
            at = _gap(text, at + 1)
    if _gap(text, at + 1) < len(text):
        raise PromptError(f"{name}: text stands behind the end of its JSON list; remove it")


class _Unsound(Exception):
    """An object that names one key twice, or far too many."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_COLUMNS:
        raise _Unsound(f"an object of {len(pairs):,} keys, over {MAX_COLUMNS:,}; keep a few")
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise _Unsound(f"key {twice[:60]!r} stands there twice; rename or remove one of them")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
_SPACE = re.compile(r"\s*")


def _gap(text: str, at: int) -> int:
    """Where the next text stands."""
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _no_json(where: str, line: str, error: ValueError) -> str:
    told = (
        f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
    )
    return f"{where}: {line.strip()[:40]!r} is not JSON ({told}); mend the line"


def _json_row(value: object, where: str) -> Row:
    if isinstance(value, str):
        return {"prompt": value}
    if isinstance(value, dict):
        unlike(value, where)
        return {named(key): cell for key, cell in value.items() if named(key)}
    raise PromptError(f"{where}: {repr(value)[:40]} is neither an object nor a string; mend it")


_ENDINGS = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt")

__all__ = ["COLUMNS", "MAX_BYTES", "MAX_LENGTH", "MAX_ROWS", "Row", "checked", "read_rows"]
