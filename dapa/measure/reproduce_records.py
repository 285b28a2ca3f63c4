"""The records of `reproduce`: a line per pair, the table with its means, and files of presets.

The published figures are of arXiv 2406.01514: DSR gained by 14.41 points on average and by 51.39 at
most, with 6.26 % of the parameters, on 17 students; its prompts, judge and oracle were others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dapa.core.records import Rate, SettingError
from dapa.core.statistics import mean_interval
from dapa.model.presets import Preset, current_name

PUBLISHED: Mapping[str, float] = {"average_gain": 14.41, "best_gain": 51.39, "share": 6.26}
"""Points of DSR, points of DSR, per cent of the parameters."""
State = Literal["done", "nothing", "missing", "failed"]


@dataclass(frozen=True)
class PairLine:
    """One pair."""

    name: str
    student: str
    teacher: str
    state: State
    """done; nothing: the full mask brings nothing; missing: it cannot be had; failed."""
    note: str = ""
    """Why there is no figure, in one sentence."""
    layers: tuple[int, ...] = ()
    mask: str = ""
    share: float | None = None
    """Of the student's parameters, in [0, 1]."""
    dsr: Mapping[str, Rate | None] = field(default_factory=dict)
    """Of student, patched and teacher, on prompts that chose nothing where there are any."""
    gain: Rate | None = None
    """Patched over student, paired, with Tango's interval."""
    p_value: float | None = None
    """Exact McNemar."""
    perplexity: Mapping[str, float | None] = field(default_factory=dict)
    change: float | None = None
    """Perplexity of patched less that of the student."""
    tests: int = 0
    seconds: float = 0.0
    """Loading, search and table, of the run that measured it."""
    gpu_seconds: float = 0.0
    """The same where the pair ran on a GPU, else 0."""
    run: str = ""
    """The search's run."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            **asdict(self),
            "layers": list(self.layers),
            "dsr": {name: rate and rate.as_dict() for name, rate in self.dsr.items()},
            "gain": self.gain and self.gain.as_dict(),
            "perplexity": dict(self.perplexity),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> PairLine:
        """Read `as_dict` back."""
        rates = {name: rate and Rate(**rate) for name, rate in body["dsr"].items()}
        gain = body["gain"] and Rate(**body["gain"])
        return cls(**{**body, "layers": tuple(body["layers"]), "dsr": rates, "gain": gain})


@dataclass(frozen=True)
class Reproduced:
    """The table."""

    lines: tuple[PairLine, ...]
    complete: bool
    """False where it was stopped before the last pair."""

    @property
    def measured(self) -> tuple[PairLine, ...]:
        """The pairs with a gain."""
        return tuple(line for line in self.lines if line.gain is not None)

    @property
    def mean_gain(self) -> Rate | None:
        """Mean gain over pairs with Student's t interval; None without a pair."""
        return _mean([line.gain.value for line in self.measured if line.gain is not None])

    @property
    def best(self) -> PairLine | None:
        """The pair that gained most."""
        return max(
            self.measured, key=lambda line: line.gain.value if line.gain else 0, default=None
        )

    @property
    def mean_share(self) -> Rate | None:
        """Mean share of parameters over the pairs in which a set was found."""
        return _mean([x.share for x in self.measured if x.state == "done" and x.share is not None])

    @property
    def mean_change(self) -> Rate | None:
        """Mean change of perplexity over the same pairs."""
        return _mean(
            [x.change for x in self.measured if x.state == "done" and x.change is not None]
        )

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; shares and gains in [0, 1], the published ones as published."""

        def told(rate: Rate | None) -> dict[str, Any] | None:
            return rate and {
                **rate.as_dict(),
                **({} if rate.n > 1 else {"low": None, "high": None}),
            }

        best = self.best
        return {
            "pairs": [line.as_dict() for line in self.lines],
            "mean_gain": told(self.mean_gain),
            "best_gain": best and best.gain and {"pair": best.name, **best.gain.as_dict()},
            "mean_share": told(self.mean_share),
            "mean_perplexity_change": told(self.mean_change),
            "published": dict(PUBLISHED),
            "missing": [
                {"name": line.name, "state": line.state, "note": line.note}
                for line in self.lines
                if line.state in ("missing", "failed")
            ],
            "complete": self.complete,
        }


def _mean(values: Sequence[float]) -> Rate | None:
    if not values:
        return None
    mean, low, high = (float(x) for x in mean_interval(values))
    return Rate(mean, low, high, len(values)) if len(values) > 1 else Rate(mean, mean, mean, 1)


def read_presets(body: Any, known: Mapping[str, Preset]) -> list[Preset]:
    """A list of names, or of objects with student and teacher, as presets.

    Args:
        body: As read from JSON.
        known: The named pairs.

    Raises:
        SettingError: What is neither, naming it.
    """
    if not isinstance(body, list) or not body:
        raise SettingError('presets are a JSON list, such as [{"student": ..., "teacher": ...}]')
    found = []
    for number, item in enumerate(body, 1):
        if isinstance(item, str) and current_name(item) in known:
            found.append(known[current_name(item)])
            continue
        if not isinstance(item, dict) or not all(
            isinstance(item.get(side), str) and item[side] for side in ("student", "teacher")
        ):
            raise SettingError(
                f"preset {number} is {str(item)[:60]!r}; give a known name, or an object with "
                "student and teacher"
            )
        name = str(item.get("name") or item["student"])
        found.append(Preset(name, item["student"], item["teacher"], name, "file"))
    return found
