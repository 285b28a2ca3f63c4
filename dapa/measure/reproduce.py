"""Every named pair through search and table, beside the published figures (FEATURES.md F14).

A pair is loaded, searched, measured on held-out prompts, written down, and let go before the next.
What is written down is not measured again; a search that was cut off goes on from its verdicts. A
pair that cannot be had (gated, missing, offline) is listed with the reason. One in which the full
mask brings nothing counts as a gain of 0, so that the mean does not flatter.

The published figures are of arXiv 2406.01514: DSR gained by 14.41 points on average and by 51.39 at
most, with 6.26 % of the parameters, on 17 students; its prompts, judge and oracle were others.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch

from dapa.judges.rules import rules
from dapa.measure.evaluating import Plan, evaluate
from dapa.measure.evaluation import Evaluation
from dapa.model.pair import Pair, PairSpec
from dapa.model.presets import Preset
from dapa.prompts import PromptSet
from dapa.records import (
    EMPTY,
    DapaError,
    NothingToLocalize,
    PairError,
    Rate,
    SettingError,
)
from dapa.replystore import ReplyStore
from dapa.search.control import Halted
from dapa.search.job import SearchJob, SearchSettings
from dapa.statistics import mean_interval
from dapa.store import Store, digest

PUBLISHED: Mapping[str, float] = {"average_gain": 14.41, "best_gain": 51.39, "share": 6.26}
"""Points of DSR, points of DSR, per cent of the parameters."""
KIND = "reproduced"
"""Under what the store keeps the lines."""
State = Literal["done", "nothing", "missing", "failed"]
_KEPT = ("done", "nothing")


@dataclass(frozen=True)
class Line:
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
    def from_dict(cls, body: Mapping[str, Any]) -> Line:
        """Read `as_dict` back."""
        rates = {name: rate and Rate(**rate) for name, rate in body["dsr"].items()}
        gain = body["gain"] and Rate(**body["gain"])
        return cls(**{**body, "layers": tuple(body["layers"]), "dsr": rates, "gain": gain})


@dataclass(frozen=True)
class Reproduced:
    """The table."""

    lines: tuple[Line, ...]
    complete: bool
    """False where it was stopped before the last pair."""

    @property
    def measured(self) -> tuple[Line, ...]:
        """The pairs with a gain."""
        return tuple(line for line in self.lines if line.gain is not None)

    @property
    def mean_gain(self) -> Rate | None:
        """Mean gain over pairs with Student's t interval; None without a pair."""
        return _mean([line.gain.value for line in self.measured if line.gain is not None])

    @property
    def best(self) -> Line | None:
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


def reproduce(
    presets: Sequence[Preset],
    load: Callable[[PairSpec], Pair],
    prompts: Callable[[Pair], PromptSet],
    store: Store,
    settings: SearchSettings,
    text: Callable[[Pair], tuple[str, str] | None] = lambda pair: None,
    dtype: str = "auto",
    device: str = "auto",
    again: bool = False,
    progress: Callable[[str, float | None], None] | None = None,
    stop: threading.Event | None = None,
) -> Reproduced:
    """Measure every pair that is not written down yet.

    Args:
        presets: The pairs, in order.
        load: Loads one.
        prompts: Harmful prompts for a pair.
        store: Where searches, replies and lines are kept.
        settings: How each is searched, the same for all.
        text: (name, text) for perplexity.
        dtype: As in `PairSpec`.
        device: As in `PairSpec`.
        again: Measure what is written down, too.
        progress: Told the pair and how far the whole is.
        stop: Set it, and the lines so far are returned.
    """
    kept = store.ratings(KIND)
    lines: list[Line] = []
    for number, preset in enumerate(presets):
        if stop is not None and stop.is_set():
            return Reproduced(tuple(lines), False)
        spec = preset.spec(dtype, device)
        key = digest(preset.name, spec.student, spec.teacher, dtype, asdict(settings))
        if key in kept and not again:
            lines.append(Line.from_dict(kept[key]))
            continue

        def tell(what: str, share: float | None, number: int = number) -> None:
            if progress:
                done = (number + (share or 0.0)) / len(presets)
                progress(f"{presets[number].name}: {what}", done)

        try:
            line = _line(preset, spec, load, prompts, store, settings, text, tell, stop)
        except Halted:
            return Reproduced(tuple(lines), False)
        if line.state in _KEPT:
            store.rate(KIND, key, line.as_dict())
        lines.append(line)
    return Reproduced(tuple(lines), True)


def _line(
    preset: Preset,
    spec: PairSpec,
    load: Callable[[PairSpec], Pair],
    prompts: Callable[[Pair], PromptSet],
    store: Store,
    settings: SearchSettings,
    text: Callable[[Pair], tuple[str, str] | None],
    tell: Callable[[str, float | None], None],
    stop: threading.Event | None,
) -> Line:
    """One pair: load, search, measure, let go."""
    start = time.monotonic()
    blank = Line(preset.name, spec.student, spec.teacher, "missing")
    tell("loading", None)
    try:
        pair = load(spec)
    except PairError as error:
        return replace(blank, note=str(error))
    try:
        on_gpu = pair.device.type == "cuda"
        line = _measured(blank, pair, prompts(pair), store, settings, text(pair), tell, stop)
    except DapaError as error:
        return replace(blank, state="failed", note=str(error))
    finally:
        del pair
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    took = time.monotonic() - start
    return replace(line, seconds=took, gpu_seconds=took if on_gpu else 0.0)


def _measured(
    blank: Line,
    pair: Pair,
    harmful: PromptSet,
    store: Store,
    settings: SearchSettings,
    text: tuple[str, str] | None,
    tell: Callable[[str, float | None], None],
    stop: threading.Event | None,
) -> Line:
    job = SearchJob(pair, harmful, settings, store)
    tell("searching", 0.1)
    state: State = "done"
    note, mask = "", EMPTY
    try:
        with _stopping(job, stop):
            report = job.run()
        if report.stop_reason.startswith("stopped"):
            raise Halted("stopped")
        mask = report.mask
    except NothingToLocalize as error:
        state, note = "nothing", str(error)
    tell("measuring", 0.7)
    asked = job.held_out or job.prompts
    plan = Plan(
        mask,
        text=text,
        how=settings.format(),
        max_new_tokens=settings.max_new_tokens,
    )
    found = evaluate(
        pair, {"dsr": asked}, mask, rules(), plan=plan, kept=ReplyStore(store), stop=stop
    )
    if not found.complete:
        raise Halted("stopped")
    return replace(
        blank,
        state=state,
        note=note,
        layers=mask.layers,
        mask=mask.key,
        share=pair.share(mask).fraction,
        tests=job.progress().costs.tests,
        run=job.id,
        **_figures(found),
    )


def _figures(found: Evaluation) -> dict[str, Any]:
    """Rates, paired gain and perplexities of a table."""
    pairs = {(row.a, row.b): row for row in found.paired() if row.measure == "dsr"}
    row = pairs["student", "patched"]
    told = {model: found.perplexity.get(model) for model in found.models}
    values = {model: p.value if p else None for model, p in told.items()}
    before, after = values["student"], values["patched"]
    return {
        "dsr": {model: found.rate(model, "dsr") for model in found.models},
        "gain": row.gain,
        "p_value": row.p_value,
        "perplexity": values,
        "change": None if before is None or after is None else after - before,
    }


class _stopping:
    """While it is open, an event stops the job too."""

    def __init__(self, job: SearchJob, stop: threading.Event | None) -> None:
        self._job, self._stop = job, stop
        self._ended = threading.Event()

    def __enter__(self) -> None:
        if self._stop is not None:
            threading.Thread(target=self._watch, daemon=True, name="reproduce stop").start()

    def _watch(self) -> None:
        assert self._stop is not None, "started only where there is an event"
        while not self._ended.wait(0.1):
            if self._stop.is_set():
                self._job.control.stop()
                return

    def __exit__(self, *_: object) -> None:
        self._ended.set()


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
        if isinstance(item, str) and item in known:
            found.append(known[item])
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


__all__ = ["PUBLISHED", "Line", "Reproduced", "read_presets", "reproduce"]
