"""What measurements of a pair share: which prompts and mask they ask, how an effect is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dapa.core.masks import Mask
from dapa.core.measurement import Call, Interval, Shown
from dapa.core.records import Prompt
from dapa.prompts.settings import BothSettings, ContrastSettings, HarmfulSettings

if TYPE_CHECKING:
    from dapa.localize.projection import Projection

STARS = "*: told from zero, at 5 % false discoveries over all cells."
"""Benjamini and Hochberg."""


_OPENERS = 20
"""Openers that a note names at most; the JSON form has all."""
NOTHING = Shown("Nothing was measured before it was stopped.")


def harmful(call: Call) -> list[Prompt]:
    """The harmful prompts that the settings name, without those held out."""
    asked: HarmfulSettings = call.settings
    found = call.bench.search_set(asked)
    return list(found.prompts)


def texts(call: Call) -> list[str]:
    """The texts of `harmful`."""
    return [prompt.text for prompt in harmful(call)]


def both(call: Call) -> tuple[list[str], list[str]]:
    """Harmful prompts and harmless ones, twin by twin where the harmful ones name their twins."""
    asked: BothSettings = call.settings
    bad = harmful(call)
    if asked.harmless is None and all(prompt.twin for prompt in bad):
        return [p.text for p in bad], [p.twin for p in bad]
    good = call.bench.search_set(asked, "harmless")
    return [p.text for p in bad], list(good.texts)


def against(call: Call) -> tuple[list[str], list[str], bool]:
    """Harmful prompts, the harmless ones to subtract (none where not asked for), and: twins?"""
    asked: ContrastSettings = call.settings
    if not asked.contrast:
        return texts(call), [], False
    bad, good = both(call)
    return bad, good, asked.harmless is None and all(prompt.twin for prompt in harmful(call))


def openers_note(openers: Sequence[str]) -> str:
    """Which beginnings counted as refusal, for people."""
    shown = ", ".join(f"“{text}”" for text in openers[:_OPENERS])
    more = f" and {len(openers) - _OPENERS} more" if len(openers) > _OPENERS else ""
    return f"Counted as the opening of a refusal: {shown}{more}."


def likely_mask(bench: Any, kind: str) -> Mask:
    """What the newest stored search of this pair found, else all that differ."""
    mask: Mask = bench.likely_mask(kind)
    return mask


def project(call: Call, bad: Sequence[str], good: Sequence[str]) -> Projection:
    """The prompts placed, under the call's mask."""
    found: Projection = call.bench.projection(
        bad,
        good,
        how=call.settings.format(),
        mask=call.mask,
        progress=call.counted("prompts in two dimensions"),
        stop=call.stop,
    )
    return found


def origin(call: Call, record: Any) -> str:
    """A record's provenance with the prompt set and the seed that drew from it."""
    asked: HarmfulSettings = call.settings
    name = call.bench.named_set(asked).name
    return f"{record.provenance} · from {name} · seed {asked.seed}"


def effect(found: Any) -> Interval | None:
    """An effect in refusal log-odds as a cell; None where it is not defined."""
    if found is None or found.value != found.value:
        return None
    if found.low != found.low:
        return Interval(found.value)
    return Interval(found.value, found.low, found.high)


def effect_text(found: Any) -> str:
    """An effect in a sentence, as in `+1.20 [+0.80, +1.60]`."""
    ends = "" if found.low != found.low else f" [{found.low:+.2f}, {found.high:+.2f}]"
    return f"{found.value:+.2f}{ends}"


def signed(value: float, sure: bool = False) -> str | None:
    """A value of a grid, with a star where it is told from zero; None where not defined."""
    return None if value != value else f"{value:+.2f}{'*' if sure else ''}"
