"""Files of prompts and replies for the judges: the formats of prompt files, with a reply column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapa.core.records import Label, PromptError
from dapa.prompts.columns import REPLIES, asked
from dapa.prompts.files import read_rows


@dataclass(frozen=True)
class Written:
    """One row: a prompt, a reply, and a person's label if the file has one."""

    prompt: str
    reply: str
    human: Label | None = None


def read_replies(
    source: str | Path, human: str | None = None, column: str | None = None
) -> tuple[Written, ...]:
    """Read prompts and replies, in the file's order; an empty reply is a reply.

    Args:
        source: CSV, TSV, JSON, JSONL or parquet.
        human: The column with a person's labels, if any; blank cells have none.
        column: The prompts' column, where the usual names do not tell.

    Raises:
        PromptError: No prompt or reply column, a reply that is no text, or a label that is none.
    """
    path = Path(source)
    rows, column = read_rows(path, column)
    reply = next((name for name in REPLIES if any(name in row for row in rows)), None)
    if reply is None:
        raise PromptError(f"{path.name} has no reply column; name it {' or '.join(REPLIES[:2])}")
    wanted = human.strip().lower() if human else None
    if wanted and not any(wanted in row for row in rows):
        raise PromptError(f"{path.name} has no column {human!r} with a person's labels; check it")
    found = []
    for number, row in enumerate(rows, 1):
        cells = ((column, asked(row, column).text), (reply, row.get(reply)))
        texts = [_text(cell, path.name, number, name) for name, cell in cells]
        ruled = _label(row.get(wanted), path.name, number) if wanted else None
        found.append(Written(texts[0], texts[1], ruled))
    return tuple(found)


def ruled_replies(rulings: Mapping[str, Mapping[str, Any]]) -> tuple[Written, ...]:
    """The replies that people ruled on in the chat, as the store keeps them, with their word."""
    return tuple(
        Written(str(body["prompt"]), str(body["reply"]), Label(body["label"]))
        for body in rulings.values()
        if body.get("label") in list(Label)
    )


def _text(value: object, name: str, number: int, column: str) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise PromptError(
            f"{name}, row {number}: {column} is {repr(value)[:40]}, no text; give one string"
        )
    return str(value)


def _label(value: object, name: str, number: int) -> Label | None:
    said = "" if value is None or value != value else str(value).strip().lower()
    if not said:
        return None
    if said not in list(Label):
        raise PromptError(
            f"{name}, row {number}: label {said[:40]!r} is none of {', '.join(Label)}; mend it"
        )
    return Label(said)
