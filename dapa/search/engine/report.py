"""What a search shows while it runs and hands over at its end: frozen records.

`SearchReport` is the one record of a result. The live view and the command line read it, the store
and `--json` have its JSON form, and a stored run is read back from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from dapa.core.records import Mask, Outcome, Rate, Removal, Trial, Unit
from dapa.search.confidence.record import ConfidenceRecord
from dapa.search.engine.checked import (
    Recheck,
    Smaller,
    Violation,
    outcome_dict,
    outcome_of,
    removal_dict,
    removal_of,
    units_of,
)
from dapa.search.engine.claim import Claim, claim_of

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

    @property
    def all_recalled(self) -> bool:
        """Did every verdict come from an earlier run, so that this one's time tells nothing?"""
        return self.recalled > 0 and not self.prompts_judged

    @property
    def own_seconds(self) -> float | None:
        """How long it took; None where every verdict was known."""
        return None if self.all_recalled else self.seconds

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
    """Of the sets that satisfied so far, the one with fewest units; all units at first."""
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
    confidence: ConfidenceRecord | None = None
    """Of a confidence search: what was chosen and certified so far."""


@dataclass(frozen=True)
class SearchReport:
    """The end of a search."""

    algorithm: str
    units: tuple[Unit, ...]
    one_minimal: bool
    """Did every single removal miss the target by openings? `claimed` says what whole replies make
    of it, and that is what is said to people."""
    stop_reason: str
    """done, stopped, budget: ... ; behind a done search it may tell which closing check is
    missing."""
    target: float
    """The DSR that satisfies."""
    need: int
    """The same as a count of prompts."""
    rates: Mapping[str, Rate | None]
    """student, full, best (search split), held_out, full_held_out, student_held_out; each judged
    in full, None where it was not. At full length where `rechecks` has them. With a locked part
    also locked, full_locked and student_locked."""
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
    claim: Claim | None = None
    """What openings and whole replies bear together; None in runs of older versions, see
    `claimed`."""
    smaller: tuple[Smaller, ...] = ()
    """Sets of fewer units that satisfy too, measured beside the result."""
    looks: int = 0
    """How many jobs had told figures of the held-out prompts by then, this one included."""
    confidence: ConfidenceRecord | None = None
    """Of a confidence search: what was chosen and certified. Its rates `student`, `full` and `best`
    are of the choose prompts, those held out of the certify prompts, and it has no target."""
    helped: str = ""
    """What to know of the workers that decoded it; empty where all went well."""
    trials: tuple[Trial, ...] = field(repr=False, default=())

    @property
    def claimed(self) -> Claim:
        """The claim as removals and rechecks bear it, of older versions' runs too."""
        told = (self.units, self.one_minimal, self.removals, self.rechecks)
        return claim_of(*told, self.claim.target if self.claim else None)

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
            **({"claim": self.claimed.as_dict()} if self.claim else {}),
            **({"looks": self.looks} if self.looks else {}),
            **({"smaller": [one.as_dict() for one in self.smaller]} if self.smaller else {}),
            **({"confidence": self.confidence.as_dict()} if self.confidence else {}),
            **({"helped": self.helped} if self.helped else {}),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> SearchReport:
        """Read `as_dict` back; what an older version did not write is empty.

        The log is not in it: a store keeps trials apart.
        """
        seen = body.get("best_seen")
        return cls(
            algorithm=body.get("algorithm", ""),
            units=units_of(body["units"]),
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
            claim=Claim.from_dict(body["claim"]) if body.get("claim") else None,
            looks=body.get("looks") or 0,
            smaller=tuple(Smaller.from_dict(line) for line in body.get("smaller") or ()),
            confidence=ConfidenceRecord.from_dict(body["confidence"])
            if body.get("confidence")
            else None,
            helped=str(body.get("helped") or ""),
        )
