"""The workbench: owns the pair, the store and the background jobs."""

from __future__ import annotations

from typing import Any

from dapa.core.masks import EMPTY, Mask
from dapa.core.measurement import Call, Measured
from dapa.workbench.ask import Asking
from dapa.workbench.localize import Seeing
from dapa.workbench.measurements import measurements
from dapa.workbench.search import Searching


class Workbench(Seeing, Asking, Searching):
    """One pair, one store, any number of jobs and conversations at once."""

    def measure(
        self, name: str, mask: Mask = EMPTY, kind: str = "gate", job: Any = None, **settings: Any
    ) -> Measured:
        """One of the measurements by its name, as screen and command line take it.

        Args:
            name: In the table of measurements, as in `gap`.
            mask: What is transplanted, where the patched model is shown.
            kind: The kind of site, where units of a kind are measured.
            job: The finished search, where one is measured.
            settings: Of the measurement's own settings.

        Raises:
            DapaError: A name or setting that does not exist, or what cannot be measured.
        """
        one = measurements[name]
        asked = one.settings.read(settings)
        return one.run(Call(self, asked, kind=kind, mask=mask, job=job))
