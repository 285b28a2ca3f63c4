"""Hand results on: the wing of `dapa.share`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dapa.core.records import Mask, SettingError
from dapa.model.pair import PairSpec
from dapa.search.settings import SearchSettings
from dapa.share.evidence import Evidence, evidence_of
from dapa.share.folder import refuse_existing
from dapa.share.model import Made, export_model
from dapa.share.patch import apply_patch, export_patch
from dapa.share.report import evidence_of_run, export_report
from dapa.share.settings import OF_A_RUN, ExportSettings
from dapa.store.database import Store
from dapa.workbench.holding import Holding


class Sharing(Holding):
    """Exports of the loaded pair, and of stored runs."""

    def evidence(self, mask: Mask | None = None, run_id: str = "") -> Evidence:
        """What the store knows of a mask on the loaded pair, or of a run's set."""
        return evidence_of(self._kept(), self.pair.parts["weights"], mask, run_id)

    def spec_of_run(self, run_id: str) -> PairSpec:
        """The pair that a stored run is of."""
        run = self.store.run(run_id)
        try:
            return PairSpec(**SearchSettings.from_dict(run.settings).pair)
        except TypeError:
            raise SettingError(f"run {run_id} names no pair; give --pair") from None

    def export(
        self,
        settings: ExportSettings,
        to: Path | str,
        mask: Mask | None = None,
        run_id: str = "",
    ) -> Made:
        """Write a mask, or a stored run, in one of the forms.

        Args:
            settings: The form and its options.
            to: A folder that does not exist yet.
            mask: What is transplanted; None takes the run's set.
            run_id: The stored search that found it; "" looks for one.

        Raises:
            DapaError: What cannot be written, and why.
        """
        if settings.form in OF_A_RUN:
            return self._of_a_run(settings, to, mask, run_id)
        return _MODEL_FORMS[settings.form](self.pair, self.evidence(mask, run_id), to)

    @staticmethod
    def refuse_existing(to: Path | str) -> None:
        """SettingError where something stands in a new folder's place: told before any work."""
        refuse_existing(Path(to).expanduser())

    @staticmethod
    def apply(patch: Path | str, student: str, to: Path | str) -> Made:
        """Write a student's folder with a patch's tensors in their places."""
        return apply_patch(patch, student, to)

    def _of_a_run(
        self, settings: ExportSettings, to: Path | str, mask: Mask | None, run_id: str
    ) -> Made:
        """What is told of a stored run; no model is read where a run is named."""
        self.refuse_existing(to)
        kept = self._kept()
        if kept is None:
            raise SettingError(f"there is no run folder {self.run_dir}; name one with --run-dir")
        found = evidence_of_run(kept, run_id) if run_id else self.evidence(mask)
        if mask is not None and run_id and set(found.mask.units) != set(mask.units):
            raise SettingError(f"run {run_id} is of {found.mask.key or 'no set'}, not {mask.key}")
        return export_report(kept, found, to, settings.replies)

    def _kept(self) -> Store | None:
        """The store, which looking must not create."""
        return self.store if self.run_dir.is_dir() else None


_MODEL_FORMS: dict[str, Any] = {"model": export_model, "patch": export_patch}
