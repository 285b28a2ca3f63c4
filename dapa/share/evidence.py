"""What a store knows of a set of units on one pair: the search that found it, its table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dapa.core.records import EMPTY, Mask, Rate, SettingError, StoreError, Unit
from dapa.search.engine.report import SearchReport
from dapa.store.runs import Run, Store, kept_beside

_ENDED = ("done", "stopped")


@dataclass(frozen=True)
class Evidence:
    """A search and an evaluation, each if there is one."""

    mask: Mask
    search: Run | None = None
    table: Run | None = None
    """The newest evaluation of this very mask."""
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Measurement -> what it told beside the search or the table."""

    @property
    def report(self) -> SearchReport | None:
        """The search's result; None where it found nothing.

        Raises:
            StoreError: It was stored by a version that tells it otherwise.
        """
        if self.search is None or "units" not in (self.search.result or {}):
            return None
        try:
            return SearchReport.from_dict(self.search.result or {})
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(
                f"run {self.search.id} was stored by another version and cannot be read "
                f"({type(error).__name__}); search again: what was judged is remembered"
            ) from error

    def column(self, model: str) -> Mapping[str, Any]:
        """Measure -> its JSON form: of the table, else of the side effects beside the search."""
        models = ((self.table.result or {}) if self.table else {}).get("models") or {}
        for name in ("skill", "headline") if self.table is None else ():
            models = models or self.beside.get(name, {}).get("rates") or {}
        return models.get(model) or {}

    def rate(self, model: str, measure: str) -> Rate | None:
        """One cell of the table."""
        told = self.column(model).get(measure)
        return Rate(**told) if isinstance(told, dict) and "n" in told else None

    @property
    def dsr(self) -> tuple[Rate | None, Rate | None, str]:
        """The student's and the set's DSR, and of which prompts; held-out ones where there are."""
        both = self.rate("student", "dsr"), self.rate("patched", "dsr")
        if self.table is not None and all(both):
            return *both, str((self.table.result or {}).get("dsr_over") or "held out")
        report = self.report
        if report is None:
            return None, None, ""
        held = report.rates.get("student_held_out"), report.rates.get("held_out")
        if held[1] is not None:
            return *held, "held out"
        return report.rates.get("student"), report.rates.get("best"), "the prompts that chose it"


def evidence_of(
    store: Store | None, weights: str, mask: Mask | None = None, run_id: str = ""
) -> Evidence:
    """What is known of a mask on the pair of these weights.

    Args:
        store: Where to look; None knows nothing.
        weights: The `weights` part of the pair's digest.
        mask: What is transplanted; None takes the run's set.
        run_id: The search that found it; "" looks for the newest.

    Raises:
        StoreError: There is no such run.
        SettingError: It found no set, another set, or searched another pair.
    """
    search = None
    if run_id:
        if store is None:
            raise SettingError("there is no run folder; name one with --run-dir")
        search = store.run(run_id)
        found = found_by(search)
        if not found.entries:
            raise SettingError(
                f"run {run_id} found no set; name a finished search, as `runs list` does"
            )
        if mask is not None and set(mask.units) != set(found.units):
            raise SettingError(
                f"run {run_id} found {found.key}, not {mask.key or 'an empty set'}; leave the run "
                "or the layers out"
            )
        mask = mask or found
        if weights and _weights(search) not in ("", weights):
            raise SettingError(f"run {run_id} searched another pair than the one that is loaded")
    mask = mask or EMPTY
    table = None
    for run in store.runs() if store is not None else ():
        if run.state not in _ENDED or not run.result or _weights(run) != weights:
            continue
        if run.kind == "search" and search is None and found_by(run) == mask and mask.entries:
            search = run
        if run.kind == "evaluate" and table is None and run.settings.get("mask") == mask.key:
            table = run
    return with_beside(Evidence(mask, search, table), store)


def with_beside(found: Evidence, store: Store | None) -> Evidence:
    """The same with what was measured beside its runs."""
    runs = [run.id for run in (found.table, found.search) if run is not None]
    beside = {}
    for run in runs if store is not None else ():
        assert store is not None
        beside.update(kept_beside(store, run))
    return replace(found, beside=beside)


def found_by(run: Run) -> Mask:
    """The set that a stored search found; empty for none."""
    units = (run.result or {}).get("units") if run.kind == "search" else None
    return Mask.of(Unit.parse(name) for name in units or ())


def _weights(run: Run) -> str:
    return str((run.settings.get("made") or {}).get("weights", ""))
