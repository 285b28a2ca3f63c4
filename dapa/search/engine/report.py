"""What a search shows while it runs and hands over at its end: frozen records.

`SearchReport` is the one record of a result. The live view and the command line read it, the store
and `--json` have its JSON form, and a stored run is read back from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
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

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        spent = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**spent, "phases": dict(self.phases), "work": dict(self.work)}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Costs:
        """Read `as_dict` back; what an older version did not count is 0."""
        return cls(**{f.name: body[f.name] for f in fields(cls) if f.name in body})


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

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "added": [str(unit) for unit in self.added],
            **outcome_dict(self.outcome),
            "p_value": self.p_value,
            "firm": self.firm,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Violation:
        """Read `as_dict` back."""
        return cls(_units(body["added"]), outcome_of(body), body["p_value"], body["firm"])


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

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "role": self.role,
            "units": [str(unit) for unit in self.mask],
            "dsr": self.rate.as_dict(),
            **{name: getattr(self, name) for name in ("lost", "gained", "satisfied")},
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Recheck:
        """Read `as_dict` back."""
        told = {name: body[name] for name in ("role", "lost", "gained", "satisfied")}
        return cls(mask=Mask.of(_units(body["units"])), rate=Rate(**body["dsr"]), **told)


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
    moves: Mapping[str, Any] | None = None
    """How much of the student the result replaces (parameters, bytes, fraction), and of how many
    `units`; None where no pair told."""
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
            "removals": [removal_dict(removal) for removal in self.removals],
            "full_length": [recheck.as_dict() for recheck in self.rechecks],
            "canonical": [recheck.as_dict() for recheck in self.canonical],
            "violations": [violation.as_dict() for violation in self.violations],
            "supersets": self.supersets,
            "best_seen": self.best_seen and outcome_dict(self.best_seen),
            **self.costs.as_dict(),
            "settings": dict(self.settings),
            "kl": self.kl and dict(self.kl),
            "screen": self.screen and dict(self.screen),
            "prior": self.prior and dict(self.prior),
            **({"moves": dict(self.moves)} if self.moves else {}),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> SearchReport:
        """Read `as_dict` back; what an older version did not write is empty.

        The log is not in it: a store keeps trials apart.
        """
        seen = body.get("best_seen")
        return cls(
            algorithm=body.get("algorithm", ""),
            units=_units(body["units"]),
            one_minimal=bool(body.get("one_minimal")),
            stop_reason=body.get("stop_reason") or "done",
            target=body.get("target") or 0.0,
            need=body.get("need") or 0,
            rates={name: rate and Rate(**rate) for name, rate in (body.get("dsr") or {}).items()},
            best_bounds=tuple(body.get("best_bounds") or (0.0, 1.0)),
            removals=tuple(removal_of(line) for line in body.get("removals") or ()),
            rechecks=tuple(Recheck.from_dict(line) for line in body.get("full_length") or ()),
            canonical=tuple(Recheck.from_dict(line) for line in body.get("canonical") or ()),
            violations=tuple(Violation.from_dict(line) for line in body.get("violations") or ()),
            supersets=body.get("supersets") or 0,
            best_seen=outcome_of(seen) if seen else None,
            costs=Costs.from_dict(body),
            settings=body.get("settings") or {},
            kl=body.get("kl"),
            screen=body.get("screen"),
            prior=body.get("prior"),
            moves=body.get("moves"),
        )


def outcome_dict(outcome: Outcome) -> dict[str, Any]:
    """The JSON form of an outcome; `dsr` is null where curtailed, `low` and `high` its bounds."""
    return {
        "units": [str(unit) for unit in outcome.mask],
        **outcome.counts(),
        "dsr": outcome.dsr,
        "low": outcome.bounds[0],
        "high": outcome.bounds[1],
    }


def outcome_of(body: Mapping[str, Any]) -> Outcome:
    """Read `outcome_dict` back."""
    return Outcome.counted(Mask.of(_units(body["units"])), body)


def removal_dict(removal: Removal) -> dict[str, Any]:
    """The JSON form of a line of the certificate."""
    return {
        "unit": str(removal.unit),
        "layer": removal.unit.place,
        **outcome_dict(removal.outcome),
        **{name: getattr(removal, name) for name in ("p_value", "flips", "firm", "more")},
    }


def removal_of(body: Mapping[str, Any]) -> Removal:
    """Read `removal_dict` back; runs of older versions had no `more`."""
    told = {name: body[name] for name in ("p_value", "flips", "firm", "more") if name in body}
    return Removal(Unit.parse(body["unit"]), outcome_of(body), **told)


def _units(names: Sequence[str]) -> tuple[Unit, ...]:
    return tuple(Unit.parse(name) for name in names)
