"""After a search: how sure is it? Firm or fragile removals, supersets, the same at full length."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from dapa.core.records import Mask, Removal, Unit
from dapa.core.statistics import holm, mcnemar_exact, wilson
from dapa.search.algorithms.questions import without
from dapa.search.engine.ledger import Ledger
from dapa.search.engine.report import Recheck, Violation

ALPHA = 0.05
"""Holm-adjusted p below which a removal is firm and a violation sure."""

MOST_SINGLE = 40
"""Supersets by one unit that are tried at most."""


def removal_masks(found: Sequence[Unit]) -> tuple[Mask, ...]:
    """The found set without each of its units in turn."""
    return tuple(Mask.of(without(found, (unit,))) for unit in found)


def removals(ledger: Ledger, found: Sequence[Unit], extra: Ledger | None = None) -> list[Removal]:
    """One line of the certificate a unit, firm where the loss is beyond chance.

    Args:
        ledger: Holds the found set and its removals, judged in full.
        found: The found set.
        extra: The same masks on further prompts, where some removal was fragile; a mask that it
            lacks keeps the first prompts' word alone. These prompts move p, never the outcome.
    """
    need = ledger.need
    assert need is not None, "a certificate without a target"
    masks, whole = removal_masks(found), Mask.of(found)
    p_values, further = [], []
    for mask in masks:
        lost, gained = ledger.discordant(whole, mask)
        further.append(0)
        if extra is not None:
            more = extra.discordant(whole, mask)
            lost, gained = lost + more[0], gained + more[1]
            further[-1] = len(extra[mask].labels) if mask in extra else 0
        p_values.append(mcnemar_exact(lost, gained))
    return [
        Removal(
            unit=unit,
            outcome=ledger.outcome(mask),
            p_value=p,
            flips=max(0, need - ledger[mask].defended),
            firm=p <= ALPHA,
            more=more,
        )
        for unit, mask, p, more in zip(found, masks, holm(p_values), further, strict=True)
    ]


def supersets(
    found: Sequence[Unit], units: Sequence[Unit], count: int, seed: int
) -> tuple[Mask, ...]:
    """Found + each single other unit (40 of them at most), then `count` random ones of other sizes.

    The full mask is not among them: the opening has judged it.
    """
    others, random = without(units, found), Random(seed)
    single = others
    if len(others) > MOST_SINGLE:  # blocks of neurons are many, and each costs every prompt
        drawn = set(random.sample(others, MOST_SINGLE))
        single = tuple(unit for unit in others if unit in drawn)
    masks = [Mask.of((*found, unit)) for unit in single]
    known = {*masks, Mask.of(units)}
    for _ in range(count if len(others) > 2 else 0):
        size = random.randint(2, len(others) - 1)
        mask = Mask.of((*found, *random.sample(others, size)))
        if mask not in known:
            known.add(mask)
            masks.append(mask)
    return tuple(masks)


def violations(
    ledger: Ledger, found: Sequence[Unit], failed: Sequence[Mask]
) -> tuple[Violation, ...]:
    """Supersets that fail, judged in full, each against the found set."""
    whole = Mask.of(found)
    p_values = holm([mcnemar_exact(*ledger.discordant(whole, mask)) for mask in failed])
    return tuple(
        Violation(without(mask.units, found), ledger.outcome(mask), p, p <= ALPHA)
        for mask, p in zip(failed, p_values, strict=True)
    )


def rechecks(
    roles: Sequence[tuple[str, Mask]], opening: Ledger, full: Ledger, need: int | None
) -> tuple[Recheck, ...]:
    """The same masks judged twice, such as by openings and at full length.

    Args:
        roles: What each mask is to the result, and the mask.
        opening: The earlier verdicts.
        full: The later ones; refuse-then-comply shows as `lost`.
        need: Defended prompts that satisfy.
    """
    assert need is not None, "a recheck without a target"
    lines = []
    for role, mask in roles:
        early, late = opening[mask].labels, full[mask].labels
        both = [p for p in late if p in early]
        lines.append(
            Recheck(
                role=role,
                mask=mask,
                rate=wilson(full[mask].defended, full.asked),
                lost=sum(early[p] == "refusal" and late[p] != "refusal" for p in both),
                gained=sum(early[p] != "refusal" and late[p] == "refusal" for p in both),
                satisfied=full[mask].defended >= need,
            )
        )
    return tuple(lines)
