"""What else would have raised refusals? One table, the same oracle and the same budget for all.

Choosing happens on the search split alone, by the search's own oracle (`methods`), and may cost
each method as many tests as the search took; every row is then judged by whole replies on both
splits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dapa.core.records import Prompt, SettingError
from dapa.measure.comparisons import Comparison, Progress, compared
from dapa.measure.methods import SAFETY_PROMPT, MethodTable
from dapa.search.engine.control import Halted
from dapa.search.job import SearchJob
from dapa.search.priors import Prior


@dataclass(frozen=True)
class Baselines:
    """The table, references and the found set first."""

    rows: tuple[Comparison, ...]
    size: int
    """Units of the found set: what random-k, windows and top-k were given."""
    tests: int
    """The budget of each method."""
    complete: bool
    """False where it was stopped before the end."""
    system: str = SAFETY_PROMPT
    """What the row `system-prompt` puts before every request."""

    def row(self, name: str) -> Comparison:
        """The row called `name`; SettingError names those there are."""
        for row in self.rows:
            if row.name == name:
                return row
        known = ", ".join(row.name for row in self.rows)
        raise SettingError(f"no baseline is called {name!r}; there are {known}")

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "rows": [row.as_dict() for row in self.rows],
            "size": self.size,
            "tests": self.tests,
            "complete": self.complete,
            "system": self.system,
        }


def baselines(
    job: SearchJob,
    harmless: Sequence[Prompt] = (),
    priors: Mapping[str, Callable[[], Prior]] | None = None,
    tests: int | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    contrast: Sequence[Prompt] = (),
) -> Baselines:
    """Measure the found set of a finished search beside everything simpler.

    Args:
        job: A search that has ended; what it judged is not judged again.
        harmless: Prompts for over-refusal; the column stays empty without.
        priors: Further rankings for top-k by name, made when their row comes up, such as mask
            single units' log-odds; divergence, gradients and weight distance are always there.
        tests: Tests that each method may spend; as many as the search took by default.
        progress: Told before every row.
        stop: Set it, and the rows measured so far are returned.
        contrast: Harmless prompts that the refusal direction is read off, other than `harmless`;
            the search prompts' twins by default, and no such row without either.

    Raises:
        SettingError: The search has no result, or the budget is below 1.
    """
    report = job.report
    if report is None or not report.need:
        raise SettingError("the search has no result to compare with; run it to its end first")
    budget = max(1, report.costs.tests) if tests is None else tests
    if budget < 1:
        raise SettingError(f"a budget of {tests} tests is none; give 1 or more")
    table = MethodTable(job, harmless, priors or {}, budget, stop, contrast)
    methods = table.methods()
    rows: list[Comparison] = []
    refused: list[list[bool] | None] = []
    try:
        for done, method in enumerate(methods):
            if progress:
                progress(method.title, done / len(methods))
            row, said = table.measure(method)
            rows.append(row)
            refused.append(said)
    except Halted:
        if len(rows) < 2:  # nothing to compare with
            return Baselines(tuple(rows), len(report.units), budget, False)
    complete = len(rows) == len(methods)
    return Baselines(compared(rows, refused), len(report.units), budget, complete)
