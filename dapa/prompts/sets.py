"""Prompt sets: read from assets or a file, split without leaks, sampled, made safe for export.

Nothing here knows a model: a prompt is what a person asks, before any template.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

from dapa.core.assets import folder
from dapa.core.records import Prompt, PromptError
from dapa.prompts.datasets import dataset_file, names_dataset
from dapa.prompts.files import COLUMNS, Row, checked, read_rows

Role = Literal["harmful", "harmless", "borderline", "skill"]
"""What the set is for; a user's file is harmful or harmless as the user says."""
NEAR = 0.5
"""Prompts whose content words overlap this much (Jaccard) are near-duplicates."""
HELD_OUT_SHARE = 0.5

_CATEGORIES = ("category", "semanticcategory", "functionalcategory", "type")
_SPLITS = {
    **dict.fromkeys(("search", "train", "dev", "val", "validation"), "search"),
    **dict.fromkeys(("held_out", "held-out", "heldout", "test"), "held_out"),
}
_STOP_WORDS = """
a about after again all am an and any are as at be because been before being but by can could did do
does doing down each for from further get give had has have having he her here him his how i if in
into is it its just let make me more most my no not now of off on once only or other our out over
own please same she should so some such tell than thanks thank that the their them then there these
they this those to too under until up very was way we were what when where which while who whom why
will with would write you your
"""
_STOP = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True)
class Split:
    """A prompt set in two: what a search may look at, and what it may never."""

    search: tuple[Prompt, ...]
    held_out: tuple[Prompt, ...]
    overlap: int
    """Held-out prompts that have a near-duplicate in the search part."""
    note: str
    """How it was split, in a plain sentence."""


@dataclass(frozen=True)
class PromptSet:
    """Named prompts of one role."""

    name: str
    role: Role
    prompts: tuple[Prompt, ...]
    notes: tuple[str, ...] = ()
    """What reading left out, in plain phrases."""

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

    def split(self, seed: int = 0, share: float = HELD_OUT_SHARE) -> Split:
        """Search and held-out part; see DESIGN.md "Splits".

        The set's own split column serves if it fills both parts (prompts without a split join the
        search part). Else near-duplicates stay together, unless one cluster would hold over half.

        Args:
            seed: the order in which clusters are dealt out.
            share: the held-out share aimed at, between 0 and 1.
        """
        own = [p for p in self.prompts if p.split == "held_out"]
        if own and len(own) < len(self.prompts):
            rest = [p for p in self.prompts if p.split != "held_out"]
            return _split(rest, own, "by the set's own split column")
        clusters = near_duplicates(self.texts)
        largest = max(Counter(clusters).values(), default=0)
        together = largest * 2 <= len(self.prompts)
        groups: dict[int, list[int]] = defaultdict(list)
        for index, cluster in enumerate(clusters if together else range(len(clusters))):
            groups[cluster].append(index)
        dealt = list(groups.values())
        random.Random(seed).shuffle(dealt)
        wanted, chosen = round(share * len(self.prompts)), set[int]()
        for members in dealt:
            if len(chosen) + len(members) <= wanted:
                chosen.update(members)
        note = f"seed {seed}, near-duplicates kept together"
        if not together:
            note = (
                f"plain, seed {seed}: one cluster of near-duplicates holds {largest} of "
                f"{len(self.prompts)} prompts, so they could not be kept together"
            )
        return _split(
            [p for i, p in enumerate(self.prompts) if i not in chosen],
            [p for i, p in enumerate(self.prompts) if i in chosen],
            note,
        )

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


def _split(search: Sequence[Prompt], held_out: Sequence[Prompt], note: str) -> Split:
    """Put the parts together with their overlap."""
    shared = overlap([p.text for p in held_out], [p.text for p in search])
    return Split(tuple(search), tuple(held_out), shared, note)


def content_words(text: str) -> frozenset[str]:
    """The words of a prompt that are no stop words; the whole text where there are none."""
    found = frozenset(re.findall(r"\w+(?:'\w+)*", text.lower())) - _STOP
    return found or frozenset([text.lower()])


def _neighbours(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Every pair of near-duplicates, found through their rarest words.

    Two sets with Jaccard >= t share a word among the first |s| - ceil(t |s|) + 1 of each, in any
    one order (prefix filtering, Chaudhuri et al. 2006); rarest first keeps the lists short.
    """
    sets = [content_words(text) for text in texts]
    often = Counter(word for words in sets for word in words)
    index: dict[str, list[int]] = defaultdict(list)
    pairs = []
    most = max(20, 4_000_000 // max(len(sets), 1))  # keeps huge sets to seconds; exact below 2,000
    for here, words in enumerate(sets):
        ordered = sorted(words, key=lambda word: (often[word], word))
        near: set[int] = set()
        for word in ordered[: len(ordered) - -(-len(ordered) // 2) + 1]:
            near.update(index[word][-most:])
            index[word].append(here)
        for there in near:
            shared = len(words & sets[there])
            if shared >= NEAR * (len(words) + len(sets[there]) - shared):
                pairs.append((there, here))
    return pairs


def near_duplicates(texts: Sequence[str]) -> list[int]:
    """A cluster number for each text; near-duplicates, and theirs in turn, share one."""
    parent = list(range(len(texts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in _neighbours(texts):
        parent[root(b)] = root(a)
    return [root(i) for i in range(len(texts))]


def overlap(texts: Sequence[str], others: Sequence[str]) -> int:
    """How many of `texts` have a near-duplicate among `others`, which may be another file's."""
    edge = len(texts)
    crossing = [(a, b) for a, b in _neighbours([*texts, *others]) if a < edge <= b]
    return len({a for a, _ in crossing})


def read_prompts(source: str | Path, role: str = "harmful") -> PromptSet:
    """Read a prompt file; see PAPER.md's table and `promptfiles`.

    XSTest's file holds both roles: its `contrast_` types are the harmful ones, and only the rows of
    the role asked for are kept. Blank and repeated prompts are left out and counted in `notes`.

    Args:
        source: a CSV, TSV, JSON, JSONL, parquet or text file, or a hub dataset (`org/name`).
        role: harmful, harmless, borderline or skill.

    Raises:
        PromptError: naming the value seen and what to do next.
    """
    if role not in get_args(Role):
        raise PromptError(f"role {role!r} is none of {', '.join(get_args(Role))}; choose one")
    path = dataset_file(str(source)) if names_dataset(str(source)) else Path(source)
    rows, column = read_rows(path)
    kinds = [str(row.get("type") or "").startswith("contrast_") for row in rows]
    notes, kept, blank, again = [], dict[str, Prompt](), 0, 0
    both = any(kinds) and not all(kinds)
    if both:
        notes.append(f"{path.name} holds both roles; its {role} rows were taken")
    for number, (row, contrast) in enumerate(zip(rows, kinds, strict=True), 1):
        if both and contrast != (role == "harmful"):
            continue
        text = checked(row.get(column), f"{path.name}, row {number}")
        if not text:
            blank += 1
        elif text in kept:
            again += 1
        else:
            kept[text] = _prompt(text, row, column)
    if not kept:
        raise PromptError(f"{path.name}: every {column!r} cell is blank; add some prompts")
    for count, what in ((blank, "blank"), (again, "repeated")):
        if count:
            notes.append(f"{count} {what} prompt{'s' if count > 1 else ''} left out")
    return PromptSet(path.stem, cast(Role, role), tuple(kept.values()), tuple(notes))


def _prompt(text: str, row: Row, column: str) -> Prompt:
    """A prompt with what its row says of it."""

    def cell(name: str) -> str:
        value = row.get(name)
        return "" if value is None or value != value else str(value).strip()

    category = next((cell(name) for name in _CATEGORIES if cell(name)), "")
    used = {column, "category", "split", "twin", "answer"}
    extra = {name: value for name, value in row.items() if name not in used}
    return Prompt(
        text,
        category,
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
