"""The dose curve: strength of the transplant against DSR, the found set beside a sham.

If refusal comes with the transplanted difference, DSR rises with its strength; if it came with any
disturbance of that size, a sham would raise it too. The sham is the same difference with its
entries permuted within each site, weakened alike (`placebos`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dapa.core.records import EMPTY, Label, Mask, Prompt, PromptError, Rate, SettingError
from dapa.core.statistics import discordant, mcnemar_exact
from dapa.measure.matching import PROMPTS
from dapa.measure.placebos import sham_view
from dapa.model.pair import Pair
from dapa.model.template import encode, render
from dapa.prompts.format import PromptFormat, Turn
from dapa.search.engine.control import Halted
from dapa.search.engine.inquiry import Inquiry
from dapa.search.engine.oracle import oracle
from dapa.store.runs import Store

STRENGTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
Curve = Literal["found", "sham"]


@dataclass(frozen=True)
class Dosed:
    """One point of a curve."""

    curve: Curve
    strength: float
    dsr: Rate
    incoherent: Rate
    p_value: float
    """Exact paired McNemar against the student."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "curve": self.curve,
            "strength": self.strength,
            "dsr": self.dsr.as_dict(),
            "incoherent": self.incoherent.as_dict(),
            "p_value": self.p_value,
        }


@dataclass(frozen=True)
class Dose:
    """Both curves over the same prompts."""

    mask: Mask
    points: tuple[Dosed, ...]
    """Found set first, then the sham, by strength."""
    complete: bool
    """False where it was stopped before the end."""

    def curve(self, name: Curve) -> tuple[Dosed, ...]:
        """One curve, by strength."""
        return tuple(point for point in self.points if point.curve == name)

    @property
    def half(self) -> float | None:
        """The least strength measured at which the found set reaches half of its highest DSR."""
        found = self.curve("found")
        most = max((point.dsr.value for point in found), default=0.0)
        reached = [p.strength for p in found if most > 0 and p.dsr.value >= most / 2]
        return min(reached, default=None)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "mask": self.mask.key,
            "layers": list(self.mask.layers),
            "points": [point.as_dict() for point in self.points],
            "half": self.half,
            "complete": self.complete,
        }


@dataclass(frozen=True, kw_only=True)
class Dosing:
    """Which strengths are measured, and beside what."""

    strengths: Sequence[float] = STRENGTHS
    """From 0 to 1."""
    sham: str = "permuted"
    """Which sham stands beside it."""
    seed: int = 0
    """Of the sham's draw."""
    progress: Callable[[str, float], None] | None = None
    """Told (what, share done)."""
    stop: threading.Event | None = None
    """Set it, and the points measured so far are returned."""


def dose(
    pair: Pair,
    prompts: Sequence[Prompt],
    mask: Mask,
    store: Store,
    how: PromptFormat | None = None,
    max_new_tokens: int = 48,
    **options: Any,
) -> Dose:
    """Judge whole replies at every strength; what the store knows costs nothing.

    Args:
        pair: Whose student.
        prompts: Harmful prompts, best ones that chose nothing.
        mask: The found set; its own strengths are multiplied.
        store: Where verdicts are kept.
        how: The prompts' format.
        max_new_tokens: The token limit of every reply.
        options: Of `Dosing`.

    Raises:
        SettingError: An empty mask, or a strength outside of 0 to 1.
        PromptError: No prompt.
    """
    asked = Dosing(**options)
    strengths, sham, seed = asked.strengths, asked.sham, asked.seed
    progress, stop = asked.progress, asked.stop
    if not mask.entries:
        raise SettingError("an empty mask has no dose; choose at least one unit")
    if not prompts:
        raise PromptError("a dose curve needs harmful prompts; give some")
    wanted = sorted(set(strengths))
    for strength in wanted:
        if not 0.0 <= strength <= 1.0:
            raise SettingError(f"strength {strength} is outside 0 to 1")
    pair.validate(mask)
    for strength in wanted:
        pair.validate(scaled(mask, strength))
    how = how or PromptFormat()
    steps: list[tuple[Curve, float]] = [("found", s) for s in wanted]
    steps += [("sham", s) for s in wanted]
    plain = Inquiry(oracle(pair, prompts, how, max_new_tokens, store), "full", stop=stop)
    points: list[Dosed] = []
    texts = [render(pair, [Turn("user", prompt.text)], how) for prompt in prompts[:PROMPTS]]
    ids = [tuple(encode(pair, text, how)) for text in texts]
    try:
        plain.judge([EMPTY])
        student = plain.refused(EMPTY)
        for done, (curve, strength) in enumerate(steps):
            if progress:
                progress(f"{curve} set at strength {strength:g}", done / len(steps))
            here, asked = scaled(mask, strength), plain
            if curve == "sham" and strength > 0.0:
                view = sham_view(pair, here, sham, seed, ids)
                split = oracle(pair, prompts, how, max_new_tokens, store, view)
                asked = Inquiry(split, "full", stop=stop)
            asked.judge([here])
            lost, gained = discordant(student, asked.refused(here))
            p_value = mcnemar_exact(lost, gained)
            babble = asked.rate(here, Label.INCOHERENT)
            points.append(Dosed(curve, strength, asked.rate(here), babble, p_value))
    except Halted:
        return Dose(mask, tuple(points), False)
    return Dose(mask, tuple(points), True)


def scaled(mask: Mask, strength: float) -> Mask:
    """The mask with every strength multiplied; at 0 it is the student."""
    return Mask(tuple((unit, s * strength) for unit, s in mask.entries))
