"""What a prompt file holds: its format by header, its columns, categories, duplicates and overlaps.

Formats are recognised by their columns, never by a file's name (`columns`); the role is the
user's to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dapa.prompts.files import read_rows
from dapa.prompts.sets import PromptSet, local_file, prompts_of
from dapa.prompts.splits import near_duplicates, overlap, split

FORMATS: Mapping[str, frozenset[str]] = {
    "JailbreakBench": frozenset(("goal", "target", "behavior", "category", "source")),
    "HarmBench": frozenset(("behavior", "functionalcategory", "semanticcategory", "behaviorid")),
    "StrongREJECT": frozenset(("category", "source", "forbidden_prompt")),
    "WildGuardMix": frozenset(("prompt", "prompt_harm_label", "subcategory")),
    "AILuminate": frozenset(("prompt_text", "hazard")),
    "SORRY-Bench": frozenset(("turns", "category", "question_id")),
    "Do-Not-Answer": frozenset(("question", "risk_area", "types_of_harm")),
    "SALAD-Bench": frozenset(("question", "1-category")),
    "ToxicChat": frozenset(("user_input", "toxicity")),
    "BeaverTails": frozenset(("prompt", "response", "is_safe")),
    "Alpaca": frozenset(("instruction", "input", "output")),
    "ALERT": frozenset(("id", "prompt", "category")),
    "XSTest": frozenset(("id", "type", "prompt")),
    "AdvBench": frozenset(("goal", "target")),
    "own set with twins": frozenset(("prompt", "category", "twin")),
    "skill items": frozenset(("prompt", "answer")),
    "OR-Bench": frozenset(("prompt", "category")),
    "chats": frozenset(("messages",)),
}
"""Format -> the columns that tell it, most telling first."""
_SHOWN = 10


@dataclass(frozen=True)
class Against:
    """How far a set stands in another."""

    name: str
    n: int
    same: int
    """Prompts that stand there word for word."""
    near: int
    """Prompts with a near-duplicate there, those included."""


@dataclass(frozen=True)
class PromptReport:
    """What was read."""

    source: str
    format: str
    columns: tuple[str, ...]
    prompt_column: str
    role: str
    rows: int
    """Below the header."""
    n: int
    """Prompts kept: not blank, not repeated, of the role asked for."""
    apart: int
    """Rows that refusals say nothing of, as HarmBench's copyright ones."""
    categories: Mapping[str, int]
    near_duplicates: int
    """Prompts that share a cluster with an earlier one."""
    largest_cluster: int
    search: int
    held_out: int
    split: str
    """How the set is split, in a plain sentence."""
    split_overlap: int
    """Held-out prompts with a near-duplicate in the search part."""
    answers: int
    """Prompts with an exact answer."""
    twins: int
    shortest: int
    longest: int
    """Characters."""
    notes: tuple[str, ...]
    against: tuple[Against, ...]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "columns": list(self.columns), "notes": list(self.notes),
                "against": [asdict(other) for other in self.against]}  # fmt: skip


def recognised(columns: Sequence[str], suffix: str = "") -> str:
    """The format that these lower-case columns tell, or `table`; one prompt a line is `plain list`.

    A lone column of prompts is a `list under a header`, as the released prompts are.
    """
    if suffix == ".txt":
        return "plain list"
    named = {name for name in columns if name}
    for name, telling in FORMATS.items():
        if telling <= named:
            return name
    return "list under a header" if len(named) == 1 else "table"


def inspect(
    source: str | Path,
    role: str = "harmful",
    against: Sequence[PromptSet] = (),
    seed: int = 0,
    column: str | None = None,
) -> PromptReport:
    """Read a file or a hub dataset and tell what it holds.

    Args:
        source: As in `read_prompts`.
        role: As in `read_prompts`.
        against: Sets to look for its prompts in.
        seed: Of the split, where the set brings none.
        column: As in `read_prompts`.

    Raises:
        PromptError: As `read_prompts` does.
    """
    path = local_file(source, column)
    rows, column = read_rows(path, column)
    found = prompts_of(rows, column, path, role)
    columns = tuple(dict.fromkeys(name for row in rows[:1000] for name in row))
    near = near_duplicates(found.texts)
    clusters = Counter(near)
    parts = split(found.prompts, seed, clusters=near)
    sizes = [len(text) for text in found.texts]
    return PromptReport(
        source=str(source),
        format=recognised(columns, path.suffix.lower()),
        columns=columns,
        prompt_column=column,
        role=found.role,
        rows=len(rows),
        n=len(found),
        apart=len(found.apart),
        categories=dict(Counter(p.category for p in found.prompts if p.category)),
        near_duplicates=len(found) - len(clusters),
        largest_cluster=max(clusters.values()),
        search=len(parts.search),
        held_out=len(parts.held_out),
        split=parts.note,
        split_overlap=parts.overlap,
        answers=sum(bool(p.answer) for p in found.prompts),
        twins=sum(bool(p.twin) for p in found.prompts),
        shortest=min(sizes),
        longest=max(sizes),
        notes=found.notes,
        against=tuple(_against(found, other) for other in against),
    )


def _against(found: PromptSet, other: PromptSet) -> Against:
    there = set(other.texts)
    same = sum(text in there for text in found.texts)
    return Against(other.name, len(other), same, overlap(found.texts, other.texts))


def sentences(report: PromptReport) -> list[str]:
    """The report in plain sentences."""
    told = [
        f"{report.source}: {report.format}, {report.rows:,} rows; {report.n:,} {report.role} "
        f"prompts in column {report.prompt_column!r} ({report.shortest} to {report.longest:,} "
        "characters)."
    ]
    if report.categories:
        most = sorted(report.categories.items(), key=lambda item: -item[1])
        more = f" and {len(most) - _SHOWN} more" if len(most) > _SHOWN else ""
        shown = ", ".join(f"{name} {count}" for name, count in most[:_SHOWN])
        told.append(f"{len(most)} categories: {shown}{more}.")
    told.append(
        f"{report.near_duplicates} near-duplicates of an earlier prompt; the largest cluster holds "
        f"{report.largest_cluster}."
    )
    told.append(
        f"Split {report.split}: {report.search} search, {report.held_out} held out, of which "
        f"{report.split_overlap} have a near-duplicate in the search part."
    )
    if report.answers:
        told.append(f"{report.answers} with an exact answer.")
    told += [f"{note[:1].upper()}{note[1:]}." for note in report.notes]
    told += [
        f"Against {other.name} ({other.n} prompts): {other.same} stand there word for word, "
        f"{other.near} have a near-duplicate there."
        for other in report.against
    ]
    return told
