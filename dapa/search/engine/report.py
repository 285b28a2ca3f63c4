"""What a search shows while it runs and hands over at its end: frozen records, JSON-able."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dapa.core.records import Mask, Outcome, Rate, Removal, Trial, Unit

State = Literal["ready", "running", "paused", "done", "failed"]


@dataclass(frozen=True)
class Costs:
    """What was spent and what was saved."""

    tests: int = 0
    """Distinct masks that the algorithm asked about, up to the committed ones; opening and closing
    checks apart. The same whatever ran ahead, was resumed or was curtailed."""
    memo_hits: int = 0
    """Times it asked about a mask that was known by then."""
    speculative: int = 0
    """Masks judged ahead of their question whose question never came."""
    prompts_judged: int = 0
    """Replies judged in this run, every phase."""
    prompts_spared: int = 0
    """Prompts of tested masks that nobody had to judge."""
    recalled: int = 0
    """Verdicts that memory had: of an earlier run, or of openings that ran to their end."""
    tokens: int = 0
    """Tokens decoded for the judged replies of this run."""
    recalled_tokens: int = 0
    """The same for the recalled verdicts, in the run that memory has them from."""
    seconds: float = 0.0
    """Of this run, pauses not counted."""
    gpu_seconds: float = 0.0
    """The same times the GPUs at work; 0 on a CPU."""
    eta_error: float | None = None
    """After the end: how far the guesses of the whole duration were off, as a share of it; their
    median. None where none was made."""
    phases: Mapping[str, float] = field(default_factory=dict)
    """Seconds by phase."""
    work: Mapping[str, float] = field(default_factory=dict)
    """What the model computed and what it was spared, in this run: see `optimizations.Work`."""


@dataclass(frozen=True)
class SearchProgress:
    """A snapshot of a running search, safe to keep and to show from any thread."""

    state: State
    phase: str
    trials: tuple[Trial, ...]
    """The log so far, one row a committed question."""
    asking: tuple[Outcome, ...]
    """The masks being judged now, most wanted first."""
    best: tuple[Unit, ...]
    """The smallest set that satisfied so far; all units at first."""
    best_seen: Outcome | None
    """The highest DSR among the masks that were asked in full."""
    target: float | None
    """The DSR that satisfies; None until the opening checks are in."""
    student: Outcome | None
    full: Outcome | None
    costs: Costs
    left: tuple[int, int] | None
    """Bounds on the tests to come."""
    eta: float | None
    """Seconds to come, closing checks included; a guess."""
    error: str = ""
    """Why it failed, if it did."""


@dataclass(frozen=True)
class Violation:
    """A superset of the found set that does not satisfy: refusal is not monotone here."""

    added: tuple[Unit, ...]
    """What was transplanted beside the found set."""
    outcome: Outcome
    p_value: float
    """Exact paired McNemar against the found set, Holm-adjusted over the violations."""
    firm: bool


@dataclass(frozen=True)
class Recheck:
    """One mask judged again at full length, without early exit."""

    role: str
    """best, student, full or removal."""
    mask: Mask
    rate: Rate
    lost: int
    """Prompts whose opening refused and whose full reply does not."""
    gained: int
    """The reverse."""
    satisfied: bool
    """Is the target (set by openings) reached at full length?"""


@dataclass(frozen=True)
class SearchReport:
    """The end of a search."""

    algorithm: str
    units: tuple[Unit, ...]
    one_minimal: bool
    stop_reason: str
    """done, stopped, budget: ... ; behind a done search it may tell which closing check is
    missing."""
    target: float
    """The DSR that satisfies."""
    need: int
    """The same as a count of prompts."""
    rates: Mapping[str, Rate | None]
    """student, full, best (search split), held_out, full_held_out, student_held_out; each judged
    in full, None where it was not. At full length where `rechecks` has them."""
    best_bounds: tuple[float, float]
    """The DSR of the found set by its openings: a point unless curtailed."""
    removals: tuple[Removal, ...]
    rechecks: tuple[Recheck, ...]
    violations: tuple[Violation, ...]
    supersets: int
    """How many supersets were tried."""
    best_seen: Outcome | None
    """The highest DSR among the masks asked in full: it need not be the full mask's."""
    costs: Costs
    settings: Mapping[str, Any]
    canonical: tuple[Recheck, ...] = ()
    """The same once more in a batch of one shape, against `rechecks`; empty where decoding does
    not depend on the batch (float32), or it was not asked for."""
    kl: Mapping[str, float] | None = None
    """KL of the found set (`best`) and of all units (`full`) beside the `limit`, where one was set:
    bits per token on harmless prompts."""
    screen: Mapping[str, Any] | None = None
    """How well refusal log-odds foretold the verdicts; None where no screen was used."""
    prior: Mapping[str, Any] | None = None
    """The ranking that the algorithm followed: name, values by unit, seconds."""
    trials: tuple[Trial, ...] = field(repr=False, default=())

    @property
    def mask(self) -> Mask:
        """The found mask."""
        return Mask.of(self.units)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers of the found set, ascending."""
        return self.mask.layers

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, as `dapa search --json` prints it."""
        return {
            "algorithm": self.algorithm,
            "layers": list(self.layers),
            "units": [str(unit) for unit in self.units],
            "one_minimal": self.one_minimal,
            "stop_reason": self.stop_reason,
            "target": self.target,
            "need": self.need,
            "dsr": {name: rate and rate.as_dict() for name, rate in self.rates.items()},
            "best_bounds": list(self.best_bounds),
            "removals": [_removal(removal) for removal in self.removals],
            "full_length": [_recheck(recheck) for recheck in self.rechecks],
            "canonical": [_recheck(recheck) for recheck in self.canonical],
            "violations": [_violation(violation) for violation in self.violations],
            "supersets": self.supersets,
            "best_seen": self.best_seen and counts(self.best_seen),
            **self._costs(),
            "settings": dict(self.settings),
            "kl": self.kl and dict(self.kl),
            "screen": self.screen and dict(self.screen),
            "prior": self.prior,
        }

    def _costs(self) -> dict[str, Any]:
        spent = {name: getattr(self.costs, name) for name in Costs.__dataclass_fields__}
        return {**spent, "phases": dict(self.costs.phases), "work": dict(self.costs.work)}


def counts(outcome: Outcome) -> dict[str, Any]:
    """The JSON form of an outcome; `dsr` is null where curtailed, `low` and `high` its bounds."""
    return {
        "units": [str(unit) for unit in outcome.mask],
        "asked": outcome.asked,
        "judged": outcome.judged,
        "defended": outcome.defended,
        "incoherent": outcome.incoherent,
        "unclear": outcome.unclear,
        "satisfied": outcome.satisfied,
        "dsr": outcome.dsr,
        "low": outcome.bounds[0],
        "high": outcome.bounds[1],
    }


def _removal(removal: Removal) -> dict[str, Any]:
    return {
        "unit": str(removal.unit),
        "layer": removal.unit.place,
        **counts(removal.outcome),
        "p_value": removal.p_value,
        "flips": removal.flips,
        "firm": removal.firm,
        "more": removal.more,
    }


def _violation(violation: Violation) -> dict[str, Any]:
    return {
        "added": [str(unit) for unit in violation.added],
        **counts(violation.outcome),
        "p_value": violation.p_value,
        "firm": violation.firm,
    }


def _recheck(recheck: Recheck) -> dict[str, Any]:
    return {
        "role": recheck.role,
        "units": [str(unit) for unit in recheck.mask],
        "dsr": recheck.rate.as_dict(),
        "lost": recheck.lost,
        "gained": recheck.gained,
        "satisfied": recheck.satisfied,
    }
