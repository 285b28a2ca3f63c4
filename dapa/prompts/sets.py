"""Prompt sets: read from assets or a file, split without leaks, sampled, made safe for export.

Nothing here knows a model: a prompt is what a person asks, before any template.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

from dapa.core.assets import folder
from dapa.core.records import Prompt, PromptError
from dapa.prompts.columns import (
    COLUMNS,
    Row,
    asked,
    category,
    copied,
    harmful,
    label_column,
    named,
    said,
)
from dapa.prompts.datasets import dataset_file, names_dataset
from dapa.prompts.files import checked, read_rows
from dapa.prompts.splits import (
    HELD_OUT_SHARE,
    LOCKED_SHARE,
    Split,
    content_words,
    near_duplicates,
    overlap,
    split,
)

Role = Literal["harmful", "harmless", "borderline", "skill"]
"""What the set is for; a user's file is harmful or harmless as the user says."""
_SPLITS = {
    **dict.fromkeys(("search", "train", "dev", "val", "validation"), "search"),
    **dict.fromkeys(("held_out", "held-out", "heldout", "test"), "held_out"),
}


@dataclass(frozen=True)
class PromptSet:
    """Named prompts of one role."""

    name: str
    role: Role
    prompts: tuple[Prompt, ...]
    notes: tuple[str, ...] = ()
    """What reading left out, in plain phrases."""
    apart: tuple[Prompt, ...] = ()
    """Rows that refusals say nothing of, as HarmBench's copyright ones; never asked."""

    def __len__(self) -> int:
        """How many prompts."""
        return len(self.prompts)

    @property
    def texts(self) -> tuple[str, ...]:
        """The prompts' texts, in order."""
        return tuple(prompt.text for prompt in self.prompts)

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories named, in the order of their first prompt."""
        return tuple(dict.fromkeys(p.category for p in self.prompts if p.category))

    def split(
        self,
        seed: int = 0,
        share: float = HELD_OUT_SHARE,
        lock: bool = False,
        locked_share: float = LOCKED_SHARE,
    ) -> Split:
        """Search, held-out and, where asked for, locked part; as `splits.split`."""
        return split(self.prompts, seed, share, lock, locked_share)

    def sample(self, n: int, seed: int = 0) -> PromptSet:
        """At most `n` prompts, each category in proportion, in the order of the set.

        Raises:
            PromptError: if n is below 1.
        """
        if n < 1:
            raise PromptError(f"a sample of {n} prompts is none; ask for 1 or more")
        if n >= len(self.prompts):
            return self
        chance = random.Random(seed)
        groups: dict[str, list[int]] = defaultdict(list)
        for index, prompt in enumerate(self.prompts):
            groups[prompt.category].append(index)
        due = {name: n * len(group) / len(self.prompts) for name, group in groups.items()}
        take = {name: int(exact) for name, exact in due.items()}
        by_rest = sorted(groups, key=lambda name: (take[name] - due[name], chance.random()))
        for name in by_rest[: n - sum(take.values())]:
            take[name] += 1
        kept = sorted(i for name, group in groups.items() for i in chance.sample(group, take[name]))
        return replace(self, prompts=tuple(self.prompts[i] for i in kept))


def read_prompts(
    source: str | Path,
    role: str = "harmful",
    column: str | None = None,
    else_usual: bool = False,
) -> PromptSet:
    """Read a prompt file; see `columns` for those that are known.

    A file that labels its prompts, as XSTest and WildGuardMix do, holds both roles: only the rows
    of the role asked for are kept. HarmBench's copyright rows stand apart. What is left out is
    counted in `notes`.

    Args:
        source: a CSV, TSV, JSON, JSONL, parquet or text file, or a hub dataset (`org/name`).
        role: harmful, harmless, borderline or skill.
        column: The column that holds the prompts, where the usual names do not tell.
        else_usual: A file without that column is read by the usual names, which is noted.

    Raises:
        PromptError: naming the value seen and what to do next.
    """
    _check_role(role)
    try:
        path = local_file(source, column)
        rows, found = read_rows(path, column)
    except PromptError:
        if not (else_usual and column):
            raise
        path = local_file(source)
        rows, found = read_rows(path)
    read = prompts_of(rows, found, path, role)
    if column and column.strip() and named(column) != found:
        told = f"the file has no column {column.strip()[:60]!r}; {found!r} was read"
        read = replace(read, notes=(*read.notes, told))
    return read


def local_file(source: str | Path, column: str | None = None) -> Path:
    """The file itself, or the hub dataset's one that holds prompts, fetched."""
    if names_dataset(str(source)):
        return dataset_file(str(source), column)
    return Path(source)


def _check_role(role: str) -> None:
    if role not in get_args(Role):
        raise PromptError(f"role {role!r} is none of {', '.join(get_args(Role))}; choose one")


def prompts_of(rows: Sequence[Row], column: str, path: Path, role: str = "harmful") -> PromptSet:
    """The prompts of a file's rows; as `read_prompts`.

    Args:
        rows: As `read_rows` gives them.
        column: The prompt column.
        path: For the set's name and messages.
        role: harmful, harmless, borderline or skill.
    """
    _check_role(role)
    sides, told = _sides(rows, path.name, role)
    kept, apart = dict[str, Prompt](), dict[str, Prompt]()
    left = Counter[str]()
    own = all(copied(row) for row in rows)
    for number, (row, side) in enumerate(zip(rows, sides, strict=True), 1):
        if not side:
            continue
        found = asked(row, column)
        text = checked(found.text, f"{path.name}, row {number}")
        if not text:
            left["blank"] += 1
            continue
        if text in kept or text in apart:
            left["repeated"] += 1
            continue
        into = apart if copied(row) and not own else kept
        into[text] = _prompt(text, row, column, found.system)
        left["further"] += found.left > 0
        left["system"] += bool(found.system)
    if not kept:
        raise PromptError(f"{path.name}: every {column!r} cell is blank; add some prompts")
    notes = (*told, *_told(left, len(apart), own))
    return PromptSet(
        path.stem, cast(Role, role), tuple(kept.values()), notes, tuple(apart.values())
    )


def _sides(rows: Sequence[Row], name: str, role: str) -> tuple[list[bool], list[str]]:
    """Which rows are of a role, where the file says so, and what to tell of it.

    Raises:
        PromptError: The file labels every prompt as of the other role.
    """
    wanted, both = role == "harmful", "the file holds both roles; its "
    label = label_column(rows) if role != "skill" else None
    if label is None:  # an older XSTest tells it by its types alone
        kinds = [said(row.get("type")).startswith("contrast_") for row in rows]
        if all(kinds) or not any(kinds):
            return [True] * len(rows), []
        return [kind == wanted for kind in kinds], [f"{both}{role} rows were taken"]
    found = [harmful(row, label) for row in rows]
    count = found.count(wanted)
    if not count:
        other, place = ("unharmful", "harmless") if wanted else ("harmful", "harmful")
        raise PromptError(
            f"{name}: column {label!r} calls every prompt {other}, so none is {role}; give the "
            f"file as the {place} set, or remove the column"
        )
    told = []
    if found.count(not wanted):
        told.append(
            f"{both}{role} rows were taken ({count:,} of {len(rows):,}, by column {label!r})"
        )
    if found.count(None):
        blank = found.count(None)
        told.append(f"{_counted(blank, 'row')} without a word in {label!r} left out")
    return [side is wanted for side in found], told


def _told(left: Mapping[str, int], apart: int, own: bool) -> Iterator[str]:
    """What reading left out, in plain phrases."""
    for what in ("blank", "repeated"):
        if count := left[what]:
            yield f"{_counted(count, f'{what} prompt')} left out"
    if apart or own:
        rows = "every row is a copyright one"
        rows = rows if own else f"{_counted(apart, 'copyright row')} kept apart"
        yield f"{rows}: HarmBench scores these by a hash of the copied text, not by refusal"
    if count := left["further"]:
        yield (
            f"{_counted(count, 'chat')} with several turns of the user: one request of each is "
            "asked alone (the last where it still waits for its answer, else the first)"
        )
    if count := left["system"]:
        yield f"{_counted(count, 'system message')} kept beside the prompt and not asked"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count > 1)}"


def _prompt(text: str, row: Row, column: str, system: str) -> Prompt:
    """A prompt with what its row says of it."""

    def cell(name: str) -> str:
        value = row.get(name)
        return "" if value is None or value != value else str(value).strip()

    used = {column, "category", "split", "twin", "answer"}
    extra = {name: value for name, value in row.items() if name not in used}
    if system:
        extra["system"] = system
    return Prompt(
        text,
        category(row),
        _SPLITS.get(cell("split").lower(), ""),
        cell("twin"),
        cell("answer"),
        extra,
    )


def bundled() -> Mapping[str, PromptSet]:
    """The sets in assets/prompts by name; the end of a name tells the role."""
    roles = {"harmful": "harmful", "skill": "skill", "borderline": "borderline"}
    sets = {}
    for path in sorted((folder() / "prompts").glob("*.csv")):
        sets[path.stem] = read_prompts(path, roles.get(path.stem.rpartition("_")[2], "harmless"))
    return sets


def one_prompt(text: object) -> str:
    """A prompt typed by a person, stripped; PromptError where it is empty or no text."""
    clean = checked(text, "the prompt")
    if not clean:
        raise PromptError("the prompt is empty; type a request")
    return clean


def neutralise(cell: object) -> str:
    """A cell for CSV export that no spreadsheet runs as a formula."""
    text = str(cell)
    starts = text.lstrip()[:1] in ("=", "+", "-", "@", "＝", "＋", "－", "＠")
    return "'" + text if (starts and text.lstrip()) or text[:1] in ("\t", "\r", "\n") else text


__all__ = [
    "COLUMNS",
    "PromptSet",
    "Role",
    "Split",
    "bundled",
    "content_words",
    "near_duplicates",
    "neutralise",
    "one_prompt",
    "overlap",
    "read_prompts",
]
