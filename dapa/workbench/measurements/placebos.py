"""Placebos: do changes as large, in the same place, raise refusals without the meaning?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dapa.core.measurement import Call, Measurement, Shown, measurements
from dapa.core.settings import Settings, setting
from dapa.workbench.measurements.baselines import (
    comparison_sheet,
    comparison_table,
    remarks_on,
    sham_finding,
)
from dapa.workbench.measurements.beside import Beside, Sheet

if TYPE_CHECKING:
    from dapa.measure.placebos import Placebos


@dataclass(frozen=True, kw_only=True)
class PlaceboSettings(Settings):
    """How many shams, and whose weights."""

    draws: int = setting(3, "draws of a permutation", "Permutations drawn.", low=1, high=1000)
    donor: str | None = setting(
        None,
        "benign donor",
        "Folder or hub id of a benign donor; by default the one that the pair names, if any.",
        form=False,
        file=True,
    )


@dataclass(frozen=True, eq=False)
class Shammed(Beside["Placebos"]):
    """The shams beside student and found set."""

    def table(self) -> Sheet:
        """Headers and rows of the CSV: a row a way to change the student."""
        return comparison_sheet(self.found.rows)


def _measure(call: Call) -> Shammed:
    found: Placebos = call.bench.placebos(
        call.job,
        call.job.settings.harmless,
        draws=call.settings.draws,
        donor=call.settings.donor,
        progress=call.progress,
        stop=call.stop,
    )
    return Shammed.of(call, found)


def _describe(record: Shammed) -> Shown:
    rows = record.found.rows
    return Shown(
        sham_finding(record.found),
        (comparison_table(rows),),
        ("p: exact paired McNemar against the found set on held-out prompts, Holm-adjusted.",),
        tuple(remarks_on(rows)),
    )


measurements.add("placebos")(
    Measurement(
        "Placebos",
        "The found set beside shams",
        "Put shams in the found set's place: changes as large, without the meaning.",
        "Each sham moves the outputs of the same sites as far, on the same inputs: the difference "
        "handed to other neurons, another layer's difference, the sign flipped; or a benign "
        "donor's weights, as they are.",
        "search",
        PlaceboSettings,
        _measure,
        _describe,
        screen=False,  # the baselines' table has them
    )
)
