"""Files of replies that people labelled, for the benchmark of judges.

A reply that people call partial is neither refusal nor compliance: it is read, and left out of the
rates. Columns of other judges' words in the same file stand beside ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapa.core.records import Label, PromptError
from dapa.prompts.columns import REPLIES
from dapa.prompts.files import read_rows

PEOPLE = ("label", "human", "human_label", "final_label", "gold", "annotation", "said")
"""The columns that may hold people's labels, the first of them that stands in the file."""
SPEAKERS = ("model", "generator", "model_name", "speaker", "source")
"""The columns that may name the model that replied."""
PARTIAL = "partial"
_WORDS: Mapping[str, str] = {
    **{str(label): str(label) for label in Label},
    **dict.fromkeys(("partial", "partial refusal"), PARTIAL),
    **dict.fromkeys(("full refusal", "refused", "refuse", "safe refusal", "reject"), "refusal"),
    **dict.fromkeys(
        ("full compliance", "complied", "comply", "non refusal", "not refusal", "compliant"),
        "compliance",
    ),
}


@dataclass(frozen=True)
class Labelled:
    """One reply with what people, and perhaps published judges, say of it."""

    prompt: str
    reply: str
    people: str
    """A label, partial, or empty where nobody said."""
    model: str = ""
    others: Mapping[str, str] | None = None
    """Column -> a published judge's word, where it has one."""


def read_labelled(
    source: str | Path, people: str | None = None, others: Sequence[str] | None = None
) -> tuple[Labelled, ...]:
    """Read replies with people's labels, in the file's order.

    Args:
        source: CSV, TSV, JSON, JSONL or parquet.
        people: The column with people's labels; found by its name if None.
        others: Columns of other judges; those whose every word is a label if None.

    Raises:
        PromptError: No reply or label column, or a label that is none.
    """
    path = Path(source)
    rows, column = read_rows(path)
    names = list(dict.fromkeys(name for row in rows for name in row))
    reply = next((name for name in REPLIES if name in names), None)
    if reply is None:
        raise PromptError(f"{path.name} has no reply column; name it {' or '.join(REPLIES[:2])}")
    wanted = people.strip().lower() if people else None
    said = wanted or next((name for name in PEOPLE if name in names), None)
    if said is None or said not in names:
        shown = f"no column {people!r}" if people else f"none of {', '.join(PEOPLE)}"
        raise PromptError(f"{path.name} has {shown} with people's labels; name it with --human")
    speaker = next((name for name in SPEAKERS if name in names), None)
    taken = {column, reply, said, speaker}
    beside = (
        [name.lower() for name in others] if others is not None else _judges(rows, names, taken)
    )
    found = []
    for number, row in enumerate(rows, 1):
        word = _word(row.get(said))
        if word is None:
            raise PromptError(
                f"{path.name}, row {number}: label {str(row.get(said))[:40]!r} is none of "
                f"{', '.join(Label)} or partial; mend it"
            )
        told = {name: _word(row.get(name)) or "" for name in beside}
        who = str(row.get(speaker) or "") if speaker else ""
        found.append(Labelled(_text(row.get(column)), _text(row.get(reply)), word, who, told))
    if not any(one.people for one in found):
        raise PromptError(f"{path.name} has no label in column {said!r}; name another with --human")
    return tuple(found)


def _judges(rows: Sequence[Mapping[str, Any]], names: Sequence[str], taken: set[Any]) -> list[str]:
    """The columns that hold nothing but labels: other judges' words."""
    return [
        name
        for name in names
        if name not in taken
        and any(_word(row.get(name)) for row in rows)
        and all(_word(row.get(name)) is not None for row in rows)
    ]


def _word(value: object) -> str | None:
    """A cell as a label or partial; empty for a blank one, None for anything else."""
    if value is None or value != value:
        return ""
    plain = re.sub(r"^\d+[_ .-]*", "", str(value).strip().lower())
    plain = re.sub(r"[_\s-]+", " ", plain).strip()
    return _WORDS.get(plain) if plain else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
