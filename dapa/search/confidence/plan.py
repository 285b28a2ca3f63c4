"""Before a confidence search: which prompts do what, and what can be shown with so many.

Near-duplicates stay together. The locked part and the choosing are dealt by kind of harm; a fifth
of the kinds never chooses, so that the certificate tells of unseen kinds too.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import stats

from dapa.core.records import Prompt
from dapa.core.statistics import p_inferior, p_noninferior
from dapa.prompts.splits import near_duplicates
from dapa.search.confidence.certify import ALL, ALPHA, LOSES
from dapa.search.confidence.record import ConfidencePlan

ClaimKind = Literal["confidence", "quick"]
CHOOSE, MORE = 60, 90
"""Prompts that choose, and those that join them where log-odds fail."""
AIM = 250
"""Prompts that certify, unless said otherwise; so many before any are locked away."""
LOCKED, LOCKED_MOST = 0.2, 100
"""Share of the prompts that is locked away, and how many at most."""
MARGINS = ((200, 0.05), (100, 0.10))
"""(certify prompts at least, margin), the first that fits; with fewer no claim is made."""
QUICK, QUICK_MARGIN = 100, 0.10
UNSEEN = 0.2
"""Share of the kinds that never choose, where there are five or more."""
TELL_HOLDS, TELL_FIRM = (0.0, 0.01, 0.02, 0.03), (0.05, 0.10, 0.15)
"""True losses, and losses beyond the margin, of which the plan tells the power."""
GAIN = 0.03
"""Prompts that change the other way, in the plan's power: as many as in the simulation."""


def margin_of(certify: int, claim: ClaimKind = "confidence") -> float | None:
    """The margin that so many certify prompts bear; None where they bear no claim."""
    found = next((margin for least, margin in MARGINS if certify >= least), None)
    return QUICK_MARGIN if found is not None and claim == "quick" else found


@dataclass(frozen=True)
class PromptParts:
    """Prompts by what they do; `choose`, `more` and `certify` are places in `asked`."""

    asked: tuple[Prompt, ...]
    choose: tuple[int, ...]
    more: tuple[int, ...]
    """Of `certify`: those that would join the choosing, of kinds that choose."""
    certify: tuple[int, ...]
    """In an order whose every beginning holds all kinds alike."""
    locked: tuple[Prompt, ...]
    plan: ConfidencePlan


def divide(
    prompts: Sequence[Prompt],
    units: int,
    claim: ClaimKind = "confidence",
    seed: int = 0,
    choose: int = CHOOSE,
    most: int | None = AIM,
) -> PromptParts:
    """Deal a set's prompts out.

    Args:
        prompts: Of one set, each once.
        units: How many units the search has; for the plan.
        claim: The quick form certifies on 100 and leaves the rest alone.
        seed: The order in which clusters of near-duplicates are dealt out.
        choose: Prompts that choose, at most.
        most: Prompts that certify, at most; None takes all the rest.
    """
    clusters = near_duplicates([p.text for p in prompts])
    largest = max(Counter(clusters).values(), default=0)
    together = largest * 2 <= len(prompts)
    members: dict[int, list[int]] = defaultdict(list)
    for place, cluster in enumerate(clusters if together else range(len(prompts))):
        members[cluster].append(place)
    rng = random.Random(f"confidence/{seed}")
    groups = list(members.values())
    rng.shuffle(groups)
    kind = [p.category for p in prompts]
    kinds = sorted(set(kind) - {""})
    share = _strata(kind)
    unseen = set(rng.sample(kinds, round(UNSEEN * len(kinds)))) if len(kinds) >= 5 else set[str]()
    inside = [g for g in groups if not any(kind[i] in unseen for i in g)]
    if sum(map(len, inside)) < 2 * choose:  # too few would be left to choose from
        unseen, inside = set(), groups
    own = [g for g in inside if all(prompts[i].split != "held_out" for i in g)]
    if sum(map(len, own)) >= choose:  # the set's own held-out part never chooses
        inside = own
    spare = max(0, len(prompts) - choose - AIM)
    locked = _dealt(groups, min(round(LOCKED * len(prompts)), spare, LOCKED_MOST), share)
    chosen = _dealt([g for g in inside if g[0] not in locked], choose, share)
    rest = [i for g in groups for i in g if i not in locked and i not in chosen]
    ordered = _fair(rest, share)
    left = len(ordered)
    ordered = ordered[: QUICK if claim == "quick" else most]
    left -= len(ordered)
    keep = next((least for least, _ in MARGINS if len(ordered) >= least), len(ordered))
    room = 0 if claim == "quick" else len(ordered) - keep
    able = {i for g in inside for i in g}
    more = [i for i in ordered if i in able][: min(MORE, room)]
    asked = [*_fair(sorted(chosen, key=lambda i: rng.random()), share), *ordered]
    at = {place: i for i, place in enumerate(asked)}
    note = f"seed {seed}, by kind of harm, near-duplicates kept together" if together else (
        f"seed {seed}, by kind of harm: one cluster of near-duplicates holds {largest} of "
        f"{len(prompts)} prompts, so they could not be kept together"
    )  # fmt: skip
    if unseen:
        note += f"; {len(unseen)} of {len(kinds)} kinds certify alone"
    if left:
        note += f"; {left} prompts are not needed"
    plan = plan_of(units, len(chosen), len(more), len(ordered), len(locked), claim)
    return PromptParts(
        tuple(prompts[i] for i in asked),
        tuple(range(len(chosen))),
        tuple(at[i] for i in more),
        tuple(at[i] for i in ordered),
        tuple(prompts[i] for i in sorted(locked)),
        ConfidencePlan(
            **{**vars(plan), "kinds": len(kinds), "unseen": tuple(sorted(unseen)), "note": note}
        ),
    )


def plan_of(
    units: int, choose: int, more: int, certify: int, locked: int, claim: ClaimKind = "confidence"
) -> ConfidencePlan:
    """What so many prompts can show."""
    margin = margin_of(certify, claim)
    holds = firm = tuple[tuple[float, float], ...]()
    if margin is not None:
        holds = tuple((loss, power_holds(loss, certify, margin)) for loss in TELL_HOLDS)
        firm = tuple(
            (margin + loss, power_firm(margin + loss, certify, margin)) for loss in TELL_FIRM
        )
    return ConfidencePlan(claim, units, choose, more, certify, locked, margin, holds, firm)


@lru_cache(512)
def power_holds(loss: float, n: int, margin: float, alpha: float = ALL * ALPHA) -> float:
    """Chance to show that a set with this true loss loses less than the margin, at the end."""
    return _power(loss, n, lambda gained, lost: p_noninferior(gained, lost, n, margin) <= alpha)


@lru_cache(512)
def power_firm(loss: float, n: int, margin: float, alpha: float = LOSES[-1] * ALPHA / 8) -> float:
    """Chance to show that a removal with this true loss loses over the margin, of four."""
    return _power(loss, n, lambda gained, lost: p_inferior(gained, lost, n, margin) <= alpha)


def _power(loss: float, n: int, shown: Callable[[int, int], bool]) -> float:
    """Exact, over gains and losses of n prompts that are drawn with `GAIN` and `GAIN` + loss."""
    gain, lose = GAIN, GAIN + loss
    total = 0.0
    changes = np.arange(n + 1)
    weight = stats.binom.pmf(changes, n, gain + lose)
    for m in changes[weight > 1e-7]:
        lost = np.arange(m + 1)
        share = stats.binom.pmf(lost, m, lose / (gain + lose))
        hit = sum(
            p for k, p in zip(lost, share, strict=True) if p > 1e-7 and shown(int(m - k), int(k))
        )
        total += float(weight[m]) * float(hit)
    return min(total, 1.0)


def _strata(kind: Sequence[str]) -> list[str]:
    """What prompts are dealt by: their kind, or one name for all kinds too small to be dealt apart.

    Kinds of a prompt or two tie in every deal, which their names would decide, not chance.
    """
    count = Counter(kind)
    return [one if count[one] * CHOOSE >= len(kind) else "" for one in kind]


def _dealt(groups: Sequence[Sequence[int]], wanted: int, kind: Sequence[str]) -> set[int]:
    """Whole groups, each kind by its share, until so many are dealt."""
    by: dict[str, list[Sequence[int]]] = defaultdict(list)
    for group in groups:
        by[kind[group[0]]].append(group)
    total = sum(map(len, groups))
    chosen = set[int]()
    if not total:
        return chosen
    queue: list[tuple[float, Sequence[int]]] = []
    for name in sorted(by):
        size, before = sum(map(len, by[name])), 0
        for group in by[name]:
            queue.append(((before + len(group) / 2) / size, group))
            before += len(group)
    for _, group in sorted(queue, key=lambda one: one[0]):
        if len(chosen) + len(group) <= wanted:
            chosen.update(group)
    return chosen


def _fair(places: Sequence[int], kind: Sequence[str]) -> list[int]:
    """The same places so that every beginning holds the kinds by their shares."""
    by: dict[str, list[int]] = defaultdict(list)
    for place in places:
        by[kind[place]].append(place)
    rank = {
        place: ((i + 0.5) / len(row), name)
        for name, row in by.items()
        for i, place in enumerate(row)
    }
    return sorted(places, key=lambda place: rank[place])
