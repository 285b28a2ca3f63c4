"""What a search of a pair is made of: units, prompts, screen, and what resuming must find again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache

import torch

from dapa.core.masks import HEADS
from dapa.core.records import Mask, Prompt, StoreError, Unit
from dapa.judges.base import judges
from dapa.model.blocks import at_rank, finest, with_heads
from dapa.model.decode.log_odds_reader import LogOddsReader
from dapa.model.decode.openers import NoOpeners, find_openers
from dapa.model.decode.serving import row_capacity
from dapa.model.families import kinds_of
from dapa.model.pair import Pair
from dapa.model.template import alike, digests_of, render, told_once
from dapa.prompts.format import PromptFormat, Turn
from dapa.prompts.sets import PromptSet
from dapa.prompts.settings import FormatSettings
from dapa.search.confidence.plan import CHOOSE, ClaimKind, PromptParts, divide
from dapa.search.confidence.record import ConfidencePlan
from dapa.search.engine.fast_screen import Floats, Odds
from dapa.search.engine.workers.crew import Crew
from dapa.search.engine.workers.shared import shared_odds
from dapa.search.priors import few, opening_ids
from dapa.search.settings import SearchSettings
from dapa.store.database import digest
from dapa.store.runs import Run, Store

RESERVED = 128
"""Prompts that removals are held to be firm on at most, besides those that searched."""


def searched_units(
    pair: Pair, kind: str, algorithm: str, blocks: int | None, rank: int | None = None
) -> tuple[Unit, ...]:
    """What a search may move: whole units of a kind, or their finest parts.

    The hierarchical search gets a group's matrices apart, those of the MLP in blocks of neurons, 8
    unless said otherwise, and attention as its heads; with a rank, the matrices at that rank.

    Raises:
        SettingError: Units that differ nowhere, or have no such rank.
    """
    whole, deep = pair.units(kind), algorithm == "hierarchical"
    if not deep and (blocks or 1) == 1:
        return whole if rank is None else at_rank(pair, whole, rank)
    kinds = [one for one in kinds_of(kind) if one in pair.differs]
    single = [one for k in kinds for one in ((k,) if k in HEADS else pair.family.parts(k))]
    parts = [part for part in single if pair.differs.get(part)]
    if rank is not None:
        return at_rank(pair, finest(pair, parts, 1), rank)
    return finest(pair, with_heads(pair, parts) if deep else parts, blocks or 8)


def odds_of(
    pair: Pair,
    prompts: Sequence[Prompt],
    how: PromptFormat,
    units: Sequence[Unit],
    crew: Crew | None = None,
) -> Odds | None:
    """What is read of a pair before verdicts; None where the vocabulary has no refusal opener.

    Args:
        pair: Whose student is read.
        prompts: By their places.
        how: Their format.
        units: What may be transplanted.
        crew: Workers that read in this process's place.
    """
    try:
        openers = find_openers(pair)
    except NoOpeners:
        return None
    texts = [prompt.text for prompt in prompts]
    ids = cache(lambda: opening_ids(pair, texts, how, units))
    reader = cache(lambda: LogOddsReader(pair, ids(), openers, narrow=True))

    def odds(masks: Sequence[Mask], places: Sequence[int]) -> Floats:
        return reader()(masks, places)

    return odds if crew is None else shared_odds(odds, ids, row_capacity(pair), crew)


@dataclass(frozen=True)
class Divided:
    """A set's prompts by what they are for."""

    search: tuple[Prompt, ...]
    """Choose."""
    held_out: tuple[Prompt, ...]
    """Only measure the result."""
    reserve: tuple[Prompt, ...]
    """Of the search split, what a limit left out: they show which removals are firm."""
    note: str
    """What to know of the split."""
    locked: tuple[Prompt, ...] = ()
    """Measured once, at the end, and never shown one by one."""

    @property
    def every(self) -> tuple[Prompt, ...]:
        """All that a run asks or keeps, in the order that its digest knows."""
        return (*self.search, *self.held_out, *self.reserve, *self.locked)


def divided(
    harmful: PromptSet,
    seed: int,
    limit: int | None,
    lock: bool = False,
    most: int | None = None,
) -> Divided:
    """Search prompts, at most `limit` by category; `most` held-out ones; the search split's rest.

    With `lock` a fifth is locked away first, where the set is large enough.
    """
    split = harmful.split(seed, lock=lock)
    search, rest = tuple(split.search), list[Prompt]()
    if limit is not None:
        search = PromptSet(harmful.name, harmful.role, search).sample(limit, seed).prompts
        taken = set(search)
        rest = [prompt for prompt in split.search if prompt not in taken]
    left = tuple(few(rest, RESERVED))
    held = tuple(split.held_out)
    if most is not None and most < len(held):
        held = tuple(few(held, most))
    return Divided(search, held, left, split.note, tuple(split.locked))


def dealt(
    harmful: PromptSet,
    rendered: Callable[[Sequence[Prompt]], Sequence[str]],
    units: int,
    settings: SearchSettings,
) -> PromptParts:
    """A confidence search's prompts by what they do; prompts that render alike are one prompt.

    Args:
        harmful: The set.
        rendered: Writes prompts as the models read them.
        units: How many units are searched.
        settings: Claim, seed, and how many choose at most.
    """
    every = harmful.prompts
    once = alike(rendered(every))
    claim: ClaimKind = "quick" if settings.claim == "quick" else "confidence"
    choose = min(CHOOSE, settings.prompt_limit or CHOOSE)
    prompts = [every[i] for i in once]
    parts = divide(prompts, units, claim, settings.seed, choose, settings.certify)
    if len(once) == len(every):
        return parts
    note = f"{parts.plan.note}; {told_once(len(every) - len(once), len(every))}"
    return replace(parts, plan=replace(parts.plan, note=note))


def planned(pair: Pair, harmful: PromptSet, settings: SearchSettings) -> ConfidencePlan:
    """What a confidence search can show with a set's prompts, before it starts."""
    how = settings.format()
    claim = settings.resolved(bool(pair.spec.planted))
    units = searched_units(pair, *settings.cut)

    def rendered(prompts: Sequence[Prompt]) -> list[str]:
        return [render(pair, [Turn("user", prompt.text)], how) for prompt in prompts]

    return dealt(harmful, rendered, len(units), replace(settings, claim=claim)).plan


def each_once(
    asked: Divided, rendered: Callable[[Sequence[Prompt]], Sequence[str]]
) -> tuple[Divided, tuple[str, ...]]:
    """Prompts that render alike are one prompt: the search's, else the held-out one, else the last.

    Args:
        asked: What is to be asked.
        rendered: Writes prompts as the models read them.

    Returns:
        What is asked once each, with a note of what was left out, and the texts in that order.
    """
    every = asked.every
    texts = rendered(every)
    places = alike(texts)
    if len(places) == len(every):
        return asked, tuple(texts)
    kept, end, parts = set(places), 0, list[tuple[Prompt, ...]]()
    for part in (asked.search, asked.held_out, asked.reserve, asked.locked):
        parts.append(tuple(p for i, p in enumerate(part, end) if i in kept))
        end += len(part)
    note = told_once(len(every) - len(places), len(every))
    note = f"{asked.note}; {note}" if asked.note else note
    search, held_out, reserve, locked = parts
    once = replace(
        asked, search=search, held_out=held_out, reserve=reserve, note=note, locked=locked
    )
    return once, tuple(texts[i] for i in places)


def divided_as(
    harmful: PromptSet,
    settings: SearchSettings,
    rendered: Callable[[Sequence[Prompt]], Sequence[str]],
    kept: str | None = None,
) -> tuple[Divided, tuple[str, ...]]:
    """An exact search's prompts, each once, and the same as the models read them.

    Args:
        harmful: The set.
        settings: Seed, limits, lock.
        rendered: Writes prompts as the models read them.
        kept: The digest of a stored run's prompts, which held out all that were left where it is
            from before they were capped; such a run goes on with them.
    """

    def at_most(most: int | None) -> tuple[Divided, tuple[str, ...]]:
        asked = divided(harmful, settings.seed, settings.prompt_limit, settings.lock, most)
        return each_once(asked, rendered)

    capped = at_most(settings.certify)
    if kept in (None, _digest(capped[0])):
        return capped
    whole = at_most(None)
    return whole if _digest(whole[0]) == kept else capped


def _digest(asked: Divided) -> str:
    return digest([prompt.text for prompt in asked.every])


def gpus(pair: Pair) -> int:
    """How many devices that are no CPU hold the student."""
    return len({p.device for p in pair.student.parameters() if p.device.type != "cpu"})


def batched(pair: Pair) -> bool:
    """Can a reply depend on the batch that it was decoded in? In float32 none was seen to."""
    return any(p.dtype != torch.float32 for p in pair.student.parameters())


def made_of(pair: Pair, prompts: Sequence[Prompt], texts: Sequence[str]) -> dict[str, str]:
    """What a run's verdicts hang on, each as a short name that changes with it.

    Args:
        pair: Who answers.
        prompts: What is asked.
        texts: The same as the models read it.
    """
    return {
        **pair.parts,
        "prompts": digest([prompt.text for prompt in prompts]),
        "judge": ", ".join(judges[name]().name for name in ("opening", "rules")),
        "rendered prompts": digest(digests_of(texts)),
    }


def digest_then(pair: Pair, made: Mapping[str, str]) -> str:
    """Under which name of the pair a run stored its verdicts.

    Version 0.1 named weights alone. Its runs go on with what they stored; whether a config or a
    template changed since then, nobody can tell, so no new run looks there.
    """
    whole = all(part in made for part in pair.parts)
    return pair.digest if whole else pair.parts["weights"]


def refuse_changes(run: Run, made: Mapping[str, str]) -> None:
    """StoreError where resuming would replace a run's trials by those of something else."""
    for what, before in run.settings.get("made", {}).items():
        if made.get(what, before) != before:
            raise StoreError(
                f"run {run.id} cannot be resumed: its {what} changed since ({before[:80]} then, "
                f"{made[what][:80]} now); start a new search, the old run stays as it is"
            )


def found_elsewhere(
    store: Store, settings: SearchSettings, made: Mapping[str, str], run_id: str | None = None
) -> tuple[tuple[str, Mask], ...]:
    """Sets that finished searches of the same pair, prompts, judge and kind of site found.

    Args:
        store: Where they are kept.
        settings: This search's: another algorithm, goal or budget makes no difference.
        made: What this search's verdicts hang on.
        run_id: This search's own run, which is no other one.
    """
    told = []
    for run in store.runs():
        if run.kind != "search" or run.state != "done" or run.id == run_id:
            continue
        other, found = run.settings, run.result or {}
        alike = all(other.get(name) == getattr(settings, name) for name in _ALIKE)
        if alike and other.get("made") == made and found.get("units"):
            units = [Unit.parse(name) for name in found["units"]]
            told.append((f"{other.get('algorithm', 'a search')}, run {run.id}", Mask.of(units)))
    return tuple(told)


_ALIKE = (
    "kind",
    "blocks",
    "rank",
    "max_new_tokens",
    "seed",
    *(one.name for one in fields(FormatSettings) if one.name != "date"),
)
