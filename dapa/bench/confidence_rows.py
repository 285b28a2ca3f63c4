"""`--confidence N`: does a confidence search hold what it claims? On tables of verdicts, no model.

Truths are drawn as in `search.confidence.truths`, whose refusal rates are known in closed form;
each is searched twice, with other prompts and another prior.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from dapa.core.records import Rate
from dapa.core.statistics import wilson
from dapa.search.confidence.plan import power_firm, power_holds
from dapa.search.confidence.truths import KINDS, Truth, TruthShape, searched

MARGIN = 0.05
HELD, LEAST = 0.95, 0.93
"""Share of searches whose claim holds, and the lower end of its interval."""
EXCESS = {"concentrated": 1.0, "redundant": 3.0, "mixed": 6.0, "spread": 5.0}
"""Units that the mean set may have beyond the best known one."""
FALSE, CORE = 0.05, 0.95
"""Searches with any unit falsely called firm; units of a concentrated core that are firm."""
CERTIFY = 250
LOSSES = (0.0, 0.01, 0.02, 0.03, 0.05, 0.08, 0.10, 0.15, 0.20)


@dataclass
class TruthScore:
    """The searches of one kind of truth."""

    kind: str
    held: list[bool] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    best: list[int] = field(default_factory=list)
    false: list[bool] = field(default_factory=list)
    """Is any firm unit's removal within the margin in truth?"""
    core: list[bool] = field(default_factory=list)
    """Is it firm? One entry a unit of a concentrated core."""
    false_form: list[bool] = field(default_factory=list)
    """`spread` is said, and a set tried of up to L units loses no more than the margin in truth."""
    forms: Counter[str] = field(default_factory=Counter)
    replies: list[int] = field(default_factory=list)
    readings: list[int] = field(default_factory=list)
    switched: int = 0
    """Searches that chose by verdicts, since log-odds did not follow them."""

    @property
    def kept(self) -> Rate:
        """Share of searches whose set keeps all units' DSR less the margin."""
        return wilson(sum(self.held), len(self.held))

    @property
    def excess(self) -> float:
        """Mean size beyond the best known set's."""
        return (sum(self.sizes) - sum(self.best)) / len(self.sizes)

    @property
    def lies(self) -> float:
        """Share of searches with a unit falsely called firm."""
        return sum(self.false) / len(self.false)

    @property
    def firm_core(self) -> float | None:
        """Share of core units that are firm; None where the truth has no core."""
        return sum(self.core) / len(self.core) if self.core else None

    @property
    def missed(self) -> list[str]:
        """The goals that are not reached."""
        core = self.firm_core
        goals = {
            f"held {self.kept.value:.3f} >= {HELD}": self.kept.value >= HELD,
            f"lower bound {self.kept.low:.3f} >= {LEAST}": self.kept.low >= LEAST,
            f"size +{self.excess:.1f} <= +{EXCESS[self.kind]:g}": self.excess <= EXCESS[self.kind],
            f"false firm {self.lies:.3f} <= {FALSE}": self.lies <= FALSE,
            f"core firm {core or 0:.3f} >= {CORE}": core is None or core >= CORE,
        }
        return [words for words, met in goals.items() if not met]


def score(
    kind: str,
    searches: int,
    seed: int = 7,
    certify: int = CERTIFY,
    tell: Callable[[int], None] = lambda done: None,
) -> TruthScore:
    """Search so many drawn pairs of one kind; two searches a pair."""
    found = TruthScore(kind)
    for number in range(searches):
        world, again = divmod(number, 2)
        if not again:
            truth = Truth(TruthShape(kind), (seed, world))
            best = truth.best(MARGIN)
        course, table = searched(truth, (seed, world, again, 1), certify)
        record, units = course.record(), course.best
        found.held.append(truth.loss(units) <= MARGIN)
        found.sizes.append(len(units))
        found.best.append(best)
        firm = set(record.firm)
        rest = ([other for other in units if other != unit] for unit in firm)
        found.false.append(any(truth.loss(some) <= MARGIN for some in rest))
        found.core += [truth.units[place] in firm for place in truth.core]
        tried = [
            link.units
            for order in record.floors
            for link in order.tried
            if link.size <= record.floor and record.form == "spread"
        ]
        found.false_form.append(any(truth.loss(some) <= MARGIN for some in tried))
        found.forms[record.form] += 1
        found.replies.append(table.replies)
        found.readings.append(table.readings)
        found.switched += record.step is not None and not record.step.trusted
        tell(number + 1)
    return found


def lines(scores: list[TruthScore]) -> list[str]:
    """The table, for people."""
    told = [
        "truth         held  [low, high]     size (best)   false firm  core firm  false spread  "
        "replies  readings  by verdicts  forms"
    ]
    for one in scores:
        n, core = len(one.held), one.firm_core
        forms = ", ".join(f"{name} {count}" for name, count in one.forms.most_common())
        told.append(
            f"{one.kind:13s} {one.kept.value:.3f} [{one.kept.low:.3f}, {one.kept.high:.3f}]  "
            f"{sum(one.sizes) / n:5.1f} ({sum(one.best) / n:4.1f})  {one.lies:10.3f}  "
            f"{'-' if core is None else f'{core:.3f}':>9s}  {sum(one.false_form) / n:12.3f}  "
            f"{sum(one.replies) / n:7.0f}  {sum(one.readings) / n:8.0f}  "
            f"{one.switched / n:11.3f}  {forms}"
        )
    return told


def power_lines() -> list[str]:
    """Power against the true loss, for the whole and the quick form; exact."""
    told = ["power at a true loss of     " + "".join(f"{100 * loss:6.0f}" for loss in LOSSES)]
    for n, margin in ((250, 0.05), (100, 0.10)):
        holds = "".join(f"{power_holds(loss, n, margin):6.2f}" for loss in LOSSES)
        firm = "".join(f"{power_firm(loss, n, margin):6.2f}" for loss in LOSSES)
        told.append(f"n {n}, margin {100 * margin:2.0f}: holds     {holds}")
        told.append(f"n {n}, margin {100 * margin:2.0f}: firm of 4 {firm}")
    return told


__all__ = ["KINDS", "TruthScore", "lines", "power_lines", "score"]
