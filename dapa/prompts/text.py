"""A text to read for perplexity: a plain file, or a table's `text` column, as WikiText's is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dapa.core.records import PromptError
from dapa.prompts.files import MAX_BYTES

TABLES = (".parquet", ".csv", ".tsv", ".jsonl", ".json")


def read_text(path: Path) -> str:
    """The whole text; the rows of a table are joined by a blank line, as the released code does.

    Raises:
        PromptError: It cannot be read, holds no text, or is too large.
    """
    if path.suffix.lower() in TABLES:
        return _joined(path)
    try:
        if not path.is_file():
            raise PromptError(f"no text file {str(path)[:200]!r}; check its name")
        if path.stat().st_size > MAX_BYTES:
            raise PromptError(f"{path.name} is over {MAX_BYTES / 1e6:.0f} MB; give a part of it")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptError(
            f"{path.name} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None
    except (OSError, ValueError) as error:
        raise PromptError(f"{str(path)[:80]!r} cannot be read ({error}); check it") from None
    if not text.strip():
        raise PromptError(f"{path.name} is empty; give a text to read")
    return text


def _joined(path: Path) -> str:
    import pandas as pd

    readers: dict[str, Callable[[Path], Any]] = {
        ".parquet": pd.read_parquet,
        ".csv": pd.read_csv,
        ".tsv": lambda p: pd.read_csv(p, sep="\t"),
        ".jsonl": lambda p: pd.read_json(p, lines=True),
        ".json": pd.read_json,
    }
    if not path.is_file():
        raise PromptError(f"no text file {str(path)[:200]!r}; check its name")
    try:
        frame = readers[path.suffix.lower()](path)
    except Exception as error:  # pandas and pyarrow raise many kinds of their own
        raise PromptError(
            f"{path.name} cannot be read ({type(error).__name__}); check it"
        ) from None
    columns = [column for column in frame.columns if str(column).strip().lower() == "text"]
    if not columns:
        seen = ", ".join(map(str, frame.columns[:8]))
        raise PromptError(f"{path.name} has no column text (seen: {seen[:200]}); name it so")
    text = "\n\n".join(str(cell) for cell in frame[columns[0]].dropna())
    if not text.strip():
        raise PromptError(f"{path.name} holds no text; give a text to read")
    return text
