"""A hub dataset as a prompt file: fetch its tables, choose the one that holds prompts."""

from __future__ import annotations

from pathlib import Path

from dapa.core.records import PromptError
from dapa.prompts.files import read_rows
from dapa.prompts.hub import fetch, is_hub_id

TABLES = ("*.csv", "*.tsv", "*.jsonl", "*.parquet")


def names_dataset(source: str) -> bool:
    """Is this a hub dataset id, `org/name`, `org/name@revision` or `org/name:file`?

    What exists on this disk, or ends like a prompt file, is a file.
    """
    name = source.partition(":")[0]
    known = {pattern.removeprefix("*") for pattern in TABLES} | {".txt", ".json"}
    if not is_hub_id(name) or Path(name).suffix.lower() in known:
        return False
    return not Path(source).exists()


def dataset_file(source: str, column: str | None = None) -> Path:
    """The dataset's file that holds prompts, fetched.

    Args:
        source: `org/name`, `org/name@revision`, or `org/name:path/in/it.csv`.
        column: The prompt column, where the usual names do not tell.

    Raises:
        PromptError: It cannot be fetched, has no table with a prompt column, or has several; then
            their names are given, to choose one.
    """
    name, _, chosen = source.partition(":")
    patterns = (*TABLES, "*.json")
    folder = fetch(name, patterns, PromptError, "dataset")
    found = sorted(path for pattern in patterns for path in folder.rglob(pattern))
    named = [str(path.relative_to(folder)) for path in found]
    if chosen:
        if chosen not in named:
            raise PromptError(f"{name} has no file {chosen!r}; it has {_listing(named)}")
        return folder / chosen
    fit = []
    for path, short in zip(found, named, strict=True):
        try:
            read_rows(path, column)
        except PromptError:
            continue  # another of its tables may hold the prompts
        fit.append(short)
    tables = [short for short in fit if not short.endswith(".json")]
    fit = tables or fit  # JSON often describes the tables beside it
    if not fit:
        raise PromptError(f"{name} has no table with a prompt column; it has {_listing(named)}")
    if len(fit) > 1:
        raise PromptError(
            f"{name} has several tables with prompts ({_listing(fit)}); choose one, as in "
            f"{name}:{fit[0]}"
        )
    return folder / fit[0]


def _listing(names: list[str]) -> str:
    shown = ", ".join(names[:6]) or "no tables"
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown
