"""What is measured beside a run, kept with it: words, tables and pictures for its report."""

from __future__ import annotations

import json
import logging
from dataclasses import fields
from functools import partial
from typing import Any

from dapa.core.masks import Unit
from dapa.core.measurement import Call, Dots, Interval, Measured, Measurement, Progress, Table
from dapa.core.rates import Rate
from dapa.core.records import DapaError, Mask, StoreError
from dapa.measure.evaluation import Evaluation
from dapa.measure.evaluation_settings import EvaluationSettings
from dapa.prompts.settings import PromptSettings
from dapa.search.settings import SearchSettings
from dapa.store.runs import Store, keep_beside
from dapa.workbench.ask import Asking
from dapa.workbench.measurements import measurements
from dapa.workbench.sharing import Sharing
from dapa.writing.numbers import plain, rate_text
from dapa.writing.unit_names import unit_name

log = logging.getLogger("dapa")
_LARGE = 2 * 2**20
"""Bytes of a picture that a report does without."""
_MAP = "divergence"


class Keeping(Asking, Sharing):
    """What was measured of a stored run stays with it."""

    def keep(self, run: str, name: str, found: Measured) -> None:
        """Keep a measurement of a run for its report; a store that cannot be written keeps none."""
        body = told(measurements[name], found)
        if name == "skill":
            body["rates"] = found.record.as_dict()["models"]
        _put(self.store, run, name, body)

    def keep_effects(self, run: str, found: Evaluation) -> None:
        """Keep the side effects that were asked for a headline."""
        _put(self.store, run, "headline", {"rates": found.as_dict()["models"]})

    def complete(self, mask: Mask | None, run_id: str, progress: Progress) -> None:
        """Measure what a report or a card of a set would lack: its table, and where both part.

        Args:
            mask: What is transplanted; None takes the run's set.
            run_id: The stored search that found it; "" looks for one.
            progress: Told what is being done.

        Raises:
            DapaError: No such run, or what kept it from being measured.
        """
        found = self.evidence(mask, run_id)
        if found.table is None:
            asked = _asked(found.mask, found.search.id if found.search else "", self.store)
            self.evaluation(self.of_run(asked), progress)
            found = self.evidence(mask, run_id)
        run = found.search or found.table
        if run is not None and _MAP not in found.beside:
            one = measurements[_MAP]
            call = Call(self, one.settings(), progress)
            try:
                self.keep(run.id, _MAP, one.run(call))
            except DapaError as error:  # a pair without such prompts has a report all the same
                log.warning("no map for the report (%s)", type(error).__name__)


def _asked(mask: Mask, run: str, store: Store) -> EvaluationSettings:
    """What an evaluation of a set asks: as its search asked, where one found it."""
    if not run:
        return EvaluationSettings(mask=mask.key)
    search = SearchSettings.from_dict(store.run(run).settings)
    names = {each.name for each in fields(PromptSettings)} - {"prompts", "prompt_column", "date"}
    same = {name: getattr(search, name) for name in names if hasattr(search, name)}
    return EvaluationSettings(mask=mask.key, run=run, **same)


def _put(store: Store, run: str, name: str, body: dict[str, Any]) -> None:
    try:
        keep_beside(store, run, name, body)
    except StoreError as error:  # what was measured is shown all the same
        log.warning("%s is not kept for the report (%s)", name, type(error).__name__)


def told(one: Measurement, found: Measured) -> dict[str, Any]:
    """A measurement's words, tables and pictures as JSON that needs no measurement to be read."""
    from dapa.figures.both import both_themes  # plotly takes a moment

    said = one.describe(found.record)
    pictures = []
    draw = one.figures
    for i, (caption, _) in enumerate(draw(found.record, False) if draw is not None else ()):
        assert draw is not None
        made = both_themes(partial(_nth, one, found.record, i), f"{one.title} {caption}")
        if len(json.dumps(made)) <= _LARGE:
            pictures.append({"caption": caption, "made": made})
    return {
        "title": one.title,
        "heading": one.heading,
        "how": one.how,
        "origin": found.origin,
        "finding": said.finding,
        "notes": [*said.warnings, *said.notes],
        "tables": [_plain(table) for table in said.tables if not (pictures and table.drawn)],
        "pictures": pictures,
    }


def _nth(one: Measurement, record: Any, i: int, dark: bool) -> Any:
    assert one.figures is not None
    return one.figures(record, dark)[i][1]


def _plain(table: Table) -> dict[str, Any]:
    """A table whose every cell is a text; columns that are drawn are left out."""
    kept = [
        i for i in range(len(table.head)) if not any(isinstance(r[i], Dots) for r in table.rows)
    ]
    shared = table.counts
    return {
        "title": table.title,
        "about": table.about,
        "head": [_head(table.head[i], shared[i]) for i in kept],
        "rows": [[_cell(row[i], shared[i] is None) for i in kept] for row in table.rows],
    }


def _head(name: str, shared: int | None) -> str:
    said = f", n = {shared:,}" if shared else ""
    told = name.replace("\n", ", ")
    return told if told.endswith(said) else told + said  # once is enough


def _cell(value: Any, with_n: bool) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, Rate):
        return rate_text(value, with_n=False) + (f", n = {value.n}" if with_n else "")
    if isinstance(value, Interval):
        return value.text
    if isinstance(value, Unit):
        return unit_name(value)
    if isinstance(value, int):
        return f"{value:,}"
    return plain(value, 1e-4) if isinstance(value, float) else str(value)
