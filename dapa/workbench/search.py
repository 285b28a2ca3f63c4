"""Search, and what is measured beside a finished search: the wing of `dapa.search`."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from dapa.core.records import NothingToLocalize, Prompt
from dapa.measure.baselines import Baselines, baselines
from dapa.measure.categories import CategoryMap, categories
from dapa.measure.necessity import Necessity, necessity
from dapa.measure.placebos import Placebos, placebos
from dapa.measure.utility import Utility, utility_of
from dapa.model.pair import Pair
from dapa.search.choosing_again import AGAIN, choosing_again
from dapa.search.confidence.record import ConfidencePlan
from dapa.search.engine.control import Halted
from dapa.search.estimate import Estimate, estimate
from dapa.search.job import SearchJob
from dapa.search.pareto import Point, pareto
from dapa.search.priors import few
from dapa.search.settings import CONFIDENT, SearchSettings
from dapa.search.setup import planned
from dapa.search.smaller import smaller_sets
from dapa.search.stability import Stability, stability
from dapa.workbench.holding import RUN_DIR, Holding

_AGAIN = ("orders", "bootstraps", "stop", "progress")
"""What repeating the choosing heeds."""


class Searching(Holding):
    """Any number of searches at once."""

    def __init__(self, run_dir: Path | str = RUN_DIR, pair: Pair | None = None) -> None:
        """As `Holding`, with no search yet."""
        super().__init__(run_dir, pair)
        self._jobs: dict[str, SearchJob] = {}

    def search_job(self, settings: SearchSettings) -> SearchJob:
        """A search over the loaded pair, not started; `run()` it here or `start()` it aside."""
        harmful = self.prompts(settings.prompts, "harmful", settings.prompt_column)
        job = SearchJob(self.pair, harmful, settings, self.store, kl=self._kl(settings))
        self._jobs[job.id] = job
        return job

    def _kl(self, settings: SearchSettings, pair: Pair | None = None) -> Utility | None:
        """What a search with a limit on KL measures it by: harmless prompts that it may choose by.

        Those that stand beside the result, for over-refusal, are others.
        """
        if settings.max_kl is None:
            return None
        whole = self.prompts(settings.harmless, "harmless", settings.prompt_column)
        prompts = whole.split(settings.seed).search
        texts = few([prompt.text for prompt in prompts], 32)
        return Utility(pair or self.pair, texts, settings.format())

    def estimate(self, settings: SearchSettings, stop: threading.Event | None = None) -> Estimate:
        """What a search would cost here, before it starts: a short timing, then paper."""
        harmful = self.prompts(settings.prompts, "harmful", settings.prompt_column)
        return estimate(self.pair, harmful, settings, self.store, stop)

    def search_plan(self, settings: SearchSettings) -> ConfidencePlan | None:
        """What a search can show with the prompts at hand; None of an exact one."""
        if settings.resolved(bool(self.pair.spec.planted)) not in CONFIDENT:
            return None
        harmful = self.prompts(settings.prompts, "harmful", settings.prompt_column)
        return planned(self.pair, harmful, settings)

    def jobs(self) -> list[SearchJob]:
        """This process's searches, newest last, for a screen that re-attaches."""
        return list(self._jobs.values())

    def resume_job(self, run_id: str) -> SearchJob:
        """A stored search, started again: what it had asked is answered from the store."""
        run = self.store.run(run_id)
        settings = SearchSettings.from_dict(run.settings)
        if self._pair is None:
            self.load_again(settings.pair, settings.beside)
        harmful = self.prompts(settings.prompts, "harmful", settings.prompt_column)
        job = SearchJob(self.pair, harmful, settings, self.store, run_id, self._kl(settings))
        self._jobs[job.id] = job
        return job

    def bring_forward(self, run_id: str) -> bool:
        """Make an ended search of this process the newest one again; False where there is none.

        One of another pair stays where it is, as one that came to no result: it can be resumed.
        """
        job = self._jobs.get(run_id)
        if job is None or not job.wait(0) or not job.suits(self.pair):
            return False
        if job.report is None and not isinstance(job.error, NothingToLocalize):
            return False
        self._jobs[run_id] = self._jobs.pop(run_id)
        return True

    def again_job(self, run_id: str) -> SearchJob:
        """Go on with a stored search, or do a finished one again: memory has its answers.

        What was finished is searched as a new run, so that the old one keeps its costs.
        """
        run = self.store.run(run_id)
        if run.state != "done":
            return self.resume_job(run_id)
        settings = SearchSettings.from_dict(run.settings)
        if self._pair is None:
            self.load_again(settings.pair, settings.beside)
        return self.search_job(settings)

    def harmless(self, job: SearchJob, source: str | Path | None = None) -> tuple[Prompt, ...]:
        """Prompts for a search's over-refusal: the held-out ones of a set, or all of it.

        A search on the user's own file stands alone unless harmless prompts are given too.
        """
        if source is None and job.settings.prompts is not None:
            return ()
        prompts = self.prompts(source, "harmless", job.settings.prompt_column).prompts
        return tuple(p for p in prompts if p.split == "held_out") or prompts

    def baselines(
        self, job: SearchJob, harmless: str | Path | None = None, **options: Any
    ) -> Baselines:
        """The found set beside everything simpler; options as in `measure.baselines`."""
        if "contrast" not in options and (harmless is not None or job.settings.prompts is None):
            other = self.prompts(harmless, "harmless", job.settings.prompt_column)
            options["contrast"] = other.split(job.settings.seed).search
        job.looked("baselines")
        return baselines(job, self.harmless(job, harmless), **options)

    def placebos(
        self, job: SearchJob, harmless: str | Path | None = None, **options: Any
    ) -> Placebos:
        """Shams in the found set's place; options as in `measure.placebos`."""
        job.looked("placebos")
        return placebos(job, self.harmless(job, harmless), **options)

    def necessity(self, job: SearchJob, **options: Any) -> Necessity:
        """What the teacher loses without the found set; options as in `measure.necessity`."""
        job.looked("necessity")
        return necessity(job, **options)

    def stability(self, job: SearchJob, **options: Any) -> Stability:
        """The same search again and again over one memory; options as in `search.stability`.

        Sets of fewer units that it meets are held against the search's target, and measured on
        its held-out prompts, three at most.
        """
        settings = job.settings
        seed = options.pop("seed", settings.seed)
        if job.confident:
            return self._choosing_again(job, seed, options)
        if job.ranking is not None:
            options.setdefault("prior", job.ranking.values)
        options.setdefault("kl", self._kl(settings, job.pair))
        told = stability(job.split, job.units, settings.algorithm, settings, seed=seed, **options)
        report, stop = job.report, options.get("stop")
        if report is None or settings.max_kl is not None or not told.complete:
            return told
        beside = (report.need, report.mask, told.seen(), report.smaller, stop)
        try:
            fewer = smaller_sets(job.split, job.rest, *beside)
            if fewer:
                job.looked("stability")
            return replace(told, smaller=fewer)
        except Halted:
            return replace(told, complete=False)

    def _choosing_again(self, job: SearchJob, seed: int, options: dict[str, Any]) -> Stability:
        """A confidence search's choosing alone, kept in the store beside its run."""
        asked = {name: options[name] for name in _AGAIN if name in options}
        assert job.ranking is not None, "a search that has ended has its ranking"
        found = choosing_again(
            job.choosing(options.get("stop")), job.ranking.values, seed=seed, **asked
        )
        self.store.rate(AGAIN, job.id, found.as_dict())
        return found

    def categories(self, job: SearchJob, stop: threading.Event | None = None) -> CategoryMap:
        """Which layer carries which kind of harm, from the certificate's removals."""
        return categories(job, stop)

    def pareto(
        self,
        job: SearchJob,
        utility: bool = False,
        harmless: str | Path | None = None,
        stop: threading.Event | None = None,
    ) -> tuple[Point, ...]:
        """Every mask that the search judged in full, by share of parameters; the front marked.

        With `utility` the KL on harmless prompts is measured, and is a third side of the front.
        """
        measure = utility_of(job, self.harmless(job, harmless), stop) if utility else None
        return pareto(job.progress().trials, lambda mask: job.pair.share(mask).fraction, measure)
