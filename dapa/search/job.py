"""One search of a pair from its start to its report, for whoever watches and steers it.

A job belongs to the server, not to the screen that started it; any thread may watch and steer it.
Running it again with the same settings and store resumes it. A job that has ended keeps its report
and lets go of its pair, which whoever loaded it may replace.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, replace
from typing import Any

from dapa.core.errors import SCARCE
from dapa.core.records import DapaError, NothingToLocalize, OutOfMemory, Rate, ran_out
from dapa.core.resident import give_back
from dapa.model.pair import Pair, Share
from dapa.prompts.sets import PromptSet
from dapa.search.algorithms.limited import Kl
from dapa.search.confidence.record import ConfidenceRecord, chose_more
from dapa.search.engine.report import SearchProgress, SearchReport
from dapa.search.held import forget_way
from dapa.search.kinds import kinds_of
from dapa.search.prepared import PreparedSearch
from dapa.search.settings import SearchSettings
from dapa.store.runs import Store


class SearchJob(PreparedSearch):
    """A search that can be started, watched, paused, stopped and reopened."""

    def __init__(
        self,
        pair: Pair,
        harmful: PromptSet,
        settings: SearchSettings,
        store: Store,
        run_id: str | None = None,
        kl: Kl | None = None,
        kept: str | None = None,
    ) -> None:
        """Prepare it, as a `PreparedSearch`; nothing is decoded yet."""
        super().__init__(pair, harmful, settings, store, run_id, kl, kept)
        self.report: SearchReport | None = None
        self.over_kinds: dict[str, Rate] = {}
        """Role, as in the report's rates -> the mean over kinds of harm, t over kinds; once there
        is a report, and where its prompts have two kinds."""
        self.share: Share | None = None
        """How much of the student the result replaces, once there is one."""
        self.error: DapaError | None = None
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self._logged = 0
        self._last = self.progress()

    @property
    def state(self) -> str:
        """ready, running, paused, done or failed."""
        return self.progress().state

    def progress(self) -> SearchProgress:
        """The search as it stands, from any thread."""
        driver = self._driver
        return self._last if driver is None else driver.snapshot()

    def run(self) -> SearchReport:
        """Search here and now.

        Raises:
            NothingToLocalize: With both scores and what to try.
            DapaError: Whatever else kept it from ending.
        """
        assert self._driver is not None, "a job runs once; make a new one to go on"
        logger = threading.Thread(target=self._log_trials, daemon=True)
        ended = self._ended = threading.Event()
        logger.start()
        if self.crew is not None:
            self.crew.start()  # they load while this process begins
        try:
            report = self._driver.run()
        except DapaError as error:
            self.error = error
            forget_way(error)
            body: dict[str, Any] = {"error": str(error)}
            if isinstance(error, NothingToLocalize):
                body |= {"student": error.student.as_dict(), "full": error.full.as_dict()}
            self._end(ended, logger, "failed", body)
            raise
        except BaseException as error:
            self._end(ended, logger, "failed", {"error": str(error) or type(error).__name__})
            raise
        if self.parts is not None and report.confidence is not None:
            self._joined(report.confidence)
        self.share = self.pair.share(report.mask)
        self.report = report = replace(
            report,
            looks=self.looked("search") if report.rates.get("held_out") else 0,
            prior=self.ranking.as_dict() if self.ranking else None,
            moves={**asdict(self.share), "units": self.total},
            helped=self.crew.note if self.crew is not None else "",
        )
        self.over_kinds = self._kinds(report)
        kinds = {role: rate.as_dict() for role, rate in self.over_kinds.items()}
        state = "stopped" if report.stop_reason.startswith("stopped") else "done"
        self._end(ended, logger, state, {**report.as_dict(), "over_kinds": kinds})
        return report

    def _joined(self, record: ConfidenceRecord) -> None:
        """Where verdicts had to choose, the prompts that joined are no longer held out."""
        parts = self.parts
        if parts is None or not chose_more(record):
            return
        more = set(parts.more)
        self.prompts += tuple(parts.asked[i] for i in parts.more)
        self.held_out = tuple(parts.asked[i] for i in parts.certify if i not in more)

    def start(self) -> None:
        """Search in a thread of the server; errors are kept in `error`."""
        assert self._thread is None, "a job is started once"

        def work() -> None:
            try:
                self.run()
            except DapaError:
                return  # kept in self.error, shown by whoever watches
            except Exception as error:  # a fault of ours must reach the screen too
                line = f"the search failed: {type(error).__name__}: {error}"
                self.error = OutOfMemory(SCARCE) if ran_out(error) else DapaError(line)
            finally:
                give_back()
                self._over.set()

        self._thread = threading.Thread(target=work, name=f"search {self.id}", daemon=True)
        self._thread.start()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for a started job; True once it has ended."""
        if self._thread is not None:
            return self._over.wait(seconds)  # a thread that is about to start cannot be joined
        return self.report is not None or self.error is not None

    def _log_trials(self) -> None:
        """Copy the driver's log to the store twice a second."""
        while not self._ended.wait(0.5):
            self._copy_log()

    def _copy_log(self) -> None:
        trials = self.progress().trials
        new = trials[self._logged :]
        if new:
            self.store.add_trials(self.id, self._logged, [trial.as_dict() for trial in new])
            self._logged = len(trials)

    def _end(
        self, ended: threading.Event, logger: threading.Thread, state: str, body: dict[str, Any]
    ) -> None:
        ended.set()
        logger.join()
        trials = self.progress().trials  # the opening's rows are settled late, so all again
        try:
            self.store.add_trials(self.id, 0, [trial.as_dict() for trial in trials])
            self.store.finish(self.id, state, body)
        finally:
            self._last = self.progress()
            self._driver = None  # decodes, remembers and measures with the pair
            self._pair.let_go()
            if self.crew is not None:
                self.crew.rest()

    def _kinds(self, report: SearchReport) -> dict[str, Rate]:
        if len({prompt.category for prompt in self.prompts + self.held_out} - {""}) < 2:
            return {}
        searched = [self._asked(self.prompts, canonical=True)] if report.canonical else []
        searched.append(self.split)
        held_out = [self._asked(self.held_out)] if self.held_out else []
        return kinds_of(report, self.full, (self.prompts, searched), (self.held_out, held_out))
