"""Hand results on: the wing of `dapa.share`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dapa.core.records import DapaError, Mask, NothingToLocalize, Prompt, SettingError
from dapa.measure.evaluation import WRAP
from dapa.measure.evaluation_settings import EvaluationSettings
from dapa.measure.run_evaluation import run_evaluation, stored_replies
from dapa.measure.utility import Utility
from dapa.model.presets import presets
from dapa.model.spec import PairSpec
from dapa.prompts.sets import PromptSet
from dapa.search.job import SearchJob
from dapa.search.priors import few
from dapa.search.settings import SearchSettings
from dapa.share.adapter import export_lora, no_lora
from dapa.share.bundle import Bundle, export_bundle, read_bundle, verdicts_of_run
from dapa.share.evidence import Evidence, evidence_of
from dapa.share.folder import refuse_existing
from dapa.share.inspectlogs import export_inspect
from dapa.share.model import Made, export_model
from dapa.share.patch import apply_patch, export_patch
from dapa.share.push import check as check_push
from dapa.share.push import push
from dapa.share.recipe import export_recipe
from dapa.share.replayed import Replayed, held_against, refuse_others, rows_against, with_notes
from dapa.share.report import evidence_of_run, export_report, report_page
from dapa.share.settings import OF_A_RUN, ExportSettings
from dapa.store.runs import Run, Store
from dapa.workbench.holding import GENERAL_SETS, TOY_SETS, Holding


class Sharing(Holding):
    """Exports of the loaded pair, and of stored runs."""

    def evidence(self, mask: Mask | None = None, run_id: str = "") -> Evidence:
        """What the store knows of a mask on the loaded pair, or of a run's set."""
        kept = self._kept()
        if run_id and kept is not None and kept.run(run_id).kind == "evaluate":
            found = evidence_of_run(kept, run_id)
            made = kept.run(run_id).settings.get("made") or {}
            if made.get("weights") != self.pair.parts["weights"]:
                raise SettingError(f"run {run_id} is of another pair than the one that is loaded")
            return found
        return evidence_of(self._kept(), self.pair.parts["weights"], mask, run_id)

    def spec_of_run(self, run_id: str) -> PairSpec:
        """The pair that a stored run is of."""
        run = self.store.run(run_id)
        try:
            return PairSpec(**run.settings["pair"])
        except (KeyError, TypeError):
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
        if settings.form == "lora":
            return export_lora(self.pair, self.evidence(mask, run_id), to, settings.rank)
        return _MODEL_FORMS[settings.form](self.pair, self.evidence(mask, run_id), to)

    def no_lora(self, run_id: str) -> str:
        """Why a stored run's set is surely no LoRA, in a line; empty where pressing has to tell."""
        try:
            return no_lora(self.pair, self.evidence(None, run_id).mask, ExportSettings().rank)
        except DapaError:
            return ""

    def report(self, run_id: str, replies: bool = False) -> str:
        """A stored run's report as HTML.

        Args:
            run_id: A search or an evaluation that has ended.
            replies: Keep replies that comply with harmful requests, folded.
        """
        return report_page(self.store, evidence_of_run(self.store, run_id), replies)

    @staticmethod
    def refuse_existing(to: Path | str) -> None:
        """SettingError where something stands in a new folder's place: told before any work."""
        refuse_existing(Path(to).expanduser())

    @staticmethod
    def refuse_push(name: str, kind: str) -> None:
        """SettingError for what cannot be pushed: told before any work."""
        check_push(name, kind)

    @staticmethod
    def push(made: Made, name: str, api: Any = None) -> str:
        """Send an exported folder to the hub, with the user's own login; its page's address."""
        return push(made.folder, name, made.kind, api=api)

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
        if settings.form == "report":
            return export_report(kept, found, to, settings.replies)
        if settings.form == "inspect":
            return export_inspect(kept, found, to, settings.replies)
        run = kept.run(run_id) if run_id else found.search or found.table
        if run is None:
            raise SettingError("no stored run is of this set; name one with --run")
        return export_bundle(kept, run, self._sets(run), to, settings.replies)

    def _sets(self, run: Run) -> dict[str, PromptSet]:
        """The prompts that a search was given; an evaluation's stand in its rows."""
        if run.kind != "search":
            return {}
        asked = SearchSettings.from_dict(run.settings)
        toy = str((run.settings.get("pair") or {}).get("name", "")).startswith("toy-")
        usual = TOY_SETS if toy else GENERAL_SETS
        column = asked.prompt_column
        sets = {"harmful": self.prompts(asked.prompts or usual["harmful"], "harmful", column)}
        if asked.max_kl is not None:
            named = asked.harmless or usual["harmless"]
            sets["harmless"] = self.prompts(named, "harmless", column)
        return sets

    def replay(
        self,
        bundle: Path | str,
        spec: PairSpec | None = None,
        progress: Callable[[str, float | None], None] | None = None,
    ) -> Replayed:
        """Do a bundle's run again, in a store of its own, and hold the two against each other.

        Args:
            bundle: The folder that `export --as bundle` wrote.
            spec: The pair, where it is not found by the bundle's own names.
            progress: Told what is being done.

        Raises:
            DapaError: No bundle, another pair, or what keeps the run from being done again.
        """
        tell = progress or (lambda what, share: None)
        read = read_bundle(bundle)
        tell("loading the pair", None)
        pair = self.load(spec or _named(read))
        notes = refuse_others(read, pair.parts)
        body = read.run["settings"]
        with TemporaryDirectory(prefix="dapa-replay-") as folder:
            store = Store(folder)
            if read.run["kind"] == "evaluate":
                return with_notes(self._evaluated(read, store, tell), notes)
            asked = SearchSettings.from_dict(body)
            tell("searching again", None)
            kl = None
            if asked.max_kl is not None:
                chosen = read.prompt_set("harmless").split(asked.seed).search
                kl = Utility(pair, few([p.text for p in chosen], 32), asked.format())
            harmful, then = read.prompt_set("harmful"), read.made.get("prompts")
            job = SearchJob(pair, harmful, asked, store, kl=kl, kept=then)
            notes += refuse_others(read, store.run(job.id).settings["made"])[len(notes) :]
            with suppress(NothingToLocalize):
                job.run()
            run = store.run(job.id)
            found = held_against(read, run, store.trials(run.id), verdicts_of_run(store, run))
        return with_notes(found, notes)

    def _evaluated(self, read: Bundle, store: Store, tell: Callable[..., None]) -> Replayed:
        """An evaluation again: its prompts stand in its rows."""
        settings = EvaluationSettings.from_dict(read.run["settings"])
        sets: dict[Any, dict[Prompt, None]] = {}
        for row in read.trials:
            purpose = str(row["measure"])
            if not purpose.startswith(WRAP):
                prompt = Prompt(row["prompt"], row["category"], row["split"], answer=row["answer"])
                sets.setdefault(purpose, {})[prompt] = None
        asked = {purpose: tuple(found) for purpose, found in sets.items()}
        table = run_evaluation(
            self.pair, store, replace(settings, run=""), asked, toy=self.is_toy, progress=tell
        )
        rows = stored_replies(store, str(table.run))
        return rows_against(read, rows)

    def _kept(self) -> Store | None:
        """The store, which looking must not create."""
        return self.store if self.run_dir.is_dir() else None


def _named(bundle: Bundle) -> PairSpec:
    """The pair by the bundle's own names, in the precision that it was computed in."""
    told = bundle.run["settings"]["pair"]
    name, precision = str(told.get("name") or ""), bundle.precision
    if name in presets():
        return Holding.spec(name, dtype=precision)
    try:
        return Holding.spec(student=told["student"], teacher=told["teacher"], dtype=precision)
    except KeyError:
        raise SettingError("the bundle names no pair; give --student and --teacher") from None


_MODEL_FORMS: dict[str, Any] = {
    "model": export_model,
    "patch": export_patch,
    "mergekit": export_recipe,
}
"""Those that take no options."""
