"""What the columns of published prompt sets are called, and what their cells say.

Known by name alone, whatever a file is called: a new set is a name in one of these tables. They
were read in the sets' own pages.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dapa.core.records import PromptError

Row = dict[str, Any]

CHATS = ("turns", "messages", "conversations", "conversation")
"""Columns that hold a list of turns rather than one text (SORRY-Bench, chat data, ShareGPT)."""
COLUMNS = (
    *("prompt", "prompt_text", "instruction", "user_input", "text", "goal", "behavior"),
    *("forbidden_prompt", "question", *CHATS),
)
"""The columns that may hold the prompt, the first of them that stands in the header.

`instruction` before `text`: Alpaca's `text` holds the answer too.
"""
CATEGORIES = (
    *("category", "semanticcategory", "functionalcategory", "subcategory", "hazard"),
    *("types_of_harm", "risk_area", "harm_category", "harm_area", "1-category"),
    *("content_policy_name", "violated_categories", "type"),
)
REPLIES = ("reply", "response", "completion", "output", "answer", "generation")
"""The columns that may hold a reply, the first of them that stands in a row."""

_LABELS = ("prompt_harm_label", "prompt_label", "is_harmful", "data_type", "toxicity", "label")
"""Columns that may say of each prompt whether it is harmful (WildGuardMix, Aegis, WildJailbreak,
ToxicChat, XSTest). `is_safe` is not among them: BeaverTails says it of the reply."""
_NUMBERED = ("prompt_harm_label", "is_harmful", "toxicity")
"""Of those, where 1 or true means harmful."""
_HARMFUL = {
    *("harmful", "unsafe", "malicious", "toxic"),
    *("vanilla_harmful", "adversarial_harmful"),
}
_HARMLESS = {
    *("harmless", "unharmful", "safe", "benign", "non-toxic"),
    *("vanilla_benign", "adversarial_benign"),
}
_YES, _NO = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no"}
_USERS = ("user", "human", "prompter")
_SYSTEMS = ("system", "developer")
_LONGEST = 100_000
"""Letters of a cell that is parsed as a list, at most."""


def named(name: object) -> str:
    """A column's name as we compare it."""
    return str(name or "").strip().lower()


def unlike(names: Iterable[object], where: str) -> list[str]:
    """Names as we compare them, checked to be different; unnamed columns may repeat.

    Raises:
        PromptError: Two columns of one name, of which only one could be kept.
    """
    found = [named(name) for name in names]
    seen: set[str] = set()
    for name in found:
        if name and name in seen:
            raise PromptError(
                f"{where}: column {name[:60]!r} stands there twice; rename or remove one of them"
            )
        seen.add(name)
    return found


def prompt_column(seen: Sequence[str], file: str, wanted: str | None = None) -> str:
    """The column that holds the prompts: the one wanted, else the first that is known.

    Raises:
        PromptError: There is none.
    """
    shown = (", ".join(name or "(unnamed)" for name in seen[:8]) or "none")[:200]
    if wanted is not None and wanted.strip():
        if named(wanted) in seen:
            return named(wanted)
        raise PromptError(
            f"{file} has no column {wanted.strip()[:60]!r} (seen: {shown}); name one of them"
        )
    found = next((name for name in COLUMNS if name in seen), None)
    if found is None:
        raise PromptError(
            f"{file} has no prompt column (seen: {shown}); name it {', '.join(COLUMNS[:2])} or "
            f"{COLUMNS[2]}, or say which it is (--prompt-column)"
        )
    return found


def said(cell: object) -> str:
    """A cell of a kind as text: true keys of a struct, parts of a list, else the value itself.

    A table written by pandas holds a struct as its Python text; that is read as well.
    """
    if isinstance(cell, str):
        text = cell.strip()
        known = _parsed(text) if text[:1] in ("{", "[") else None
        return text if known is None else said(known)
    if isinstance(cell, Mapping):
        flags = [v for v in cell.values() if v is not None]
        if all(isinstance(v, bool) for v in flags):
            return ", ".join(str(name) for name, value in cell.items() if value)
        return _listed(flags)
    if isinstance(cell, list | tuple):
        return _listed(cell)
    return "" if cell is None or cell != cell else str(cell).strip()


def _listed(parts: Iterable[object]) -> str:
    """The plain parts of a list; what nests deeper is no name of a kind."""
    plain = (part for part in parts if not isinstance(part, Mapping | list | tuple))
    return ", ".join(filter(None, (said(part) for part in plain)))


def category(row: Row) -> str:
    """The kind of harm that a row names; empty where it names none."""
    return next((text for name in CATEGORIES if (text := said(row.get(name)))), "")


def label_column(rows: Sequence[Row]) -> str | None:
    """The column that says of each prompt whether it is harmful; None where none does.

    A column serves only if every filled cell says so in a word that we know. Plain `label` and
    `toxicity` may be a reply's: they serve where no reply, or ToxicChat's own input, stands beside.
    """
    names = {name for row in rows[:1000] for name in row}
    for name in _LABELS:
        if name not in names or (name == "label" and names & set(REPLIES)):
            continue
        if name == "toxicity" and "user_input" not in names:
            continue
        cells = {said(row.get(name)).lower() for row in rows} - {""}
        if cells and all(_side(name, cell) is not None for cell in cells):
            return name
    return None


def harmful(row: Row, column: str) -> bool | None:
    """What a label column says of a row; None for nothing."""
    return _side(column, said(row.get(column)).lower())


def _side(column: str, word: str) -> bool | None:
    if word in _HARMFUL or (column in _NUMBERED and word in _YES):
        return True
    if word in _HARMLESS or (column in _NUMBERED and word in _NO):
        return False
    return None


def copied(row: Row) -> bool:
    """Is this one of HarmBench's copyright rows? They are judged by a hash of the copied text."""
    kind = said(row.get("functionalcategory")).lower()
    return kind == "copyright" or "hash_check" in said(row.get("tags")).lower()


@dataclass(frozen=True)
class Asked:
    """What a row asks."""

    text: Any
    """One text where the row is sound; anything where it is not, for `files.checked` to refuse."""
    system: str = ""
    """A chat's system message."""
    left: int = 0
    """Further turns of the user that are not asked."""


def asked(row: Row, column: str) -> Asked:
    """What a row asks, whole: a chat's request, or a text with the context that belongs to it.

    HarmBench's context comes before the behaviour, as its own direct request writes it; Alpaca's
    input comes after the instruction.
    """
    cell = row.get(column)
    if isinstance(cell, str) and column in CHATS and cell.lstrip()[:1] == "[":
        cell = _parsed(cell.strip()) or cell
    if isinstance(cell, list) and cell and (column in CHATS or _is_chat(cell)):
        return _chat(cell)
    if not isinstance(cell, str) or not cell.strip():
        return Asked(cell)
    before = row.get("contextstring") if column == "behavior" else None
    if column == "prompt" and {name for name in row if name} == {"prompt", "context", "category"}:
        before = row["context"]  # HarmBench's contextual rows as the hub has them
    if isinstance(before, str) and before.strip():
        return Asked(f"{before.strip()}\n\n---\n\n{cell.strip()}")
    after = row.get("input") if column == "instruction" else None
    if isinstance(after, str) and after.strip():
        return Asked(f"{cell.strip()}\n\n{after.strip()}")
    return Asked(cell)


def _is_chat(cell: list[Any]) -> bool:
    return all(isinstance(turn, Mapping) and _role(turn) for turn in cell)


def _role(turn: Mapping[str, Any]) -> str:
    return said(turn.get("role") or turn.get("from")).lower()


def _chat(cell: list[Any]) -> Asked:
    """Of a chat that ends with the user its last request, of any other its first.

    A chat that ends by asking waits for that answer; one that ends with a reply is a log, and only
    its first request stands without what came before.
    """
    if all(isinstance(turn, str) for turn in cell):
        texts = [turn for turn in cell if turn.strip()]  # the user's turns alone
        return Asked(texts[0] if texts else "", left=max(len(texts) - 1, 0))
    if not _is_chat(cell):
        return Asked(cell)
    users = [_content(turn) for turn in cell if _role(turn) in _USERS]
    system = "\n\n".join(_content(turn) for turn in cell if _role(turn) in _SYSTEMS).strip()
    if not users:
        return Asked("", system)
    last = _role(cell[-1]) in _USERS
    return Asked(users[-1 if last else 0], system, len(users) - 1)


def _content(turn: Mapping[str, Any]) -> str:
    """A message's text, given as text or as parts."""
    held = next((turn[name] for name in ("content", "value", "text") if name in turn), None)
    if isinstance(held, list):
        held = "\n".join(
            said(part.get("text")) if isinstance(part, Mapping) else said(part) for part in held
        )
    return held if isinstance(held, str) else said(held)


def _parsed(text: str) -> Any:
    """A list or a struct written as JSON or as Python does; None for any other text."""
    if len(text) > _LONGEST or not re.search(r"[]}]$", text):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list | dict) else None
    return None
