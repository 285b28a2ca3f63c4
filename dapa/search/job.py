"""One search of a pair, from settings to report: prompts, runner, memory, driver, store.

A job belongs to the server, not to the screen that started it; any thread may watch and steer it.
Running it again with the same settings and store resumes it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from dapa.model.pair import Pair
from dapa.model.prompting import PromptFormat
from dapa.model.sampling import check_seed
from dapa.prompts import PromptSet
from dapa.records import DapaError, NothingToLocalize, SettingError, Unit
from dapa.search.control import Control
from dapa.search.driver import Driver
from dapa.search.limited import Kl
from dapa.search.log import trial_dict
from dapa.search.made import made_of, refuse_changes
from dapa.search.oracle import oracle
from dapa.search.priors import NEED_ONE, Ranking, few, priors, rank
from dapa.search.questions import Steps, algorithms
from dapa.search.report import SearchProgress, SearchReport
from dapa.search.settings import Settings
from dapa.search.setup import batched, divided, gpus, screen_of, searched_units
from dapa.store import Store

DEFAULT_ALGORITHM = "bisect"


@dataclass(frozen=True)
class SearchSettings:
    """Everything that a user sets about a search, and all that resuming it needs."""

    algorithm: str = DEFAULT_ALGORITHM
    kind: str = "gate"
    """Kind of unit to transplant."""
    blocks: int | None = None
    """Into how many blocks of neurons each gate is cut; None is 8 for the hierarchical search, and
    whole sites for all others."""
    prior: str | None = None
    """The ranking that `weighted` and `top-k` follow; None takes mask gradients, or divergence
    where those are not defined."""
    retain: float = 0.9
    target: float | None = None
    max_new_tokens: int = 48
    prompt_limit: int | None = None
    """Search prompts at most, sampled by category; None takes all."""
    max_tests: int | None = None
    max_tokens: int | None = None
    max_seconds: float | None = None
    max_kl: float | None = None
    """KL on harmless prompts at most, bits per token."""
    screen: bool = True
    """Order prompts and candidates by refusal log-odds; they never decide."""
    canonical: bool | None = None
    """Judge the result once more in batches of one shape; None does so where a reply can depend on
    the batch, as in bfloat16."""
    seed: int = 0
    prompts: str | None = None
    """A bundled set's name or a file; None is the pair's own."""
    harmless: str | None = None
    """The same of harmless prompts, for the limit on KL."""
    whose: str = "teacher"
    mode: str = "template"
    system: str = ""
    pair: Mapping[str, Any] = field(default_factory=dict)
    """The pair's spec, for resuming from another process."""

    def __post_init__(self) -> None:
        """SettingError for what cannot be searched with."""
        check_seed(self.seed)
        if self.algorithm not in algorithms:
            algorithms[self.algorithm]  # raises, naming the choices
        if self.prior is not None:
            priors[self.prior]
            if self.algorithm not in NEED_ONE:
                raise SettingError(
                    f"{self.algorithm} reads no prior; choose the algorithm {' or '.join(NEED_ONE)}"
                )
        if self.blocks is not None and not 1 <= self.blocks <= 4096:
            raise SettingError(f"{self.blocks} blocks of neurons; choose 1 to 4096")
        if self.prompt_limit is not None and self.prompt_limit < 1:
            raise SettingError(f"prompt limit is {self.prompt_limit}; choose 1 or more")
        if not 1 <= self.max_new_tokens <= 8192:
            raise SettingError(f"max new tokens is {self.max_new_tokens}; choose 1 to 8192")
        self.rules()

    def rules(self) -> Settings:
        """The driver's part."""
        return Settings(
            retain=self.retain,
            target=self.target,
            max_tests=self.max_tests,
            max_tokens=self.max_tokens,
            max_seconds=self.max_seconds,
            max_kl=self.max_kl,
            seed=self.seed,
        )

    def format(self) -> PromptFormat:
        """The prompts' format."""
        return PromptFormat(self.mode, self.whose, self.system)  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> SearchSettings:
        """Read a stored run's settings; unknown keys of other versions are left out."""
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in body.items() if key in known})


class SearchJob:
    """A search that can be started, watched, paused, stopped and reopened."""

    def __init__(
        self,
        pair: Pair,
        harmful: PromptSet,
        settings: SearchSettings,
        store: Store,
        run_id: str | None = None,
        kl: Kl | None = None,
    ) -> None:
        """Prepare: render the prompts and enter the run in the store. Nothing is decoded yet.

        Args:
            pair: Whose student is searched.
            harmful: Prompts; its split decides which of them search and which are held out.
            settings: What the user chose.
            store: Where verdicts and the result are kept.
            run_id: A stored run to resume; a new one if None.
            kl: What a mask costs on harmless prompts; needed where the settings limit it.

        Raises:
            DapaError: Units, prompts or settings that make no search; a run to resume whose
                weights, prompts or judge changed.
        """
        self.pair, self.settings, self.store = pair, settings, store
        units = searched_units(pair, settings.kind, settings.algorithm, settings.blocks)
        asked = divided(harmful, settings.seed, settings.prompt_limit)
        self.prompts, self.held_out, self.split_note = asked
        self.control = Control()
        self.total = len(units)
        how, limit = settings.format(), settings.max_new_tokens
        searching = oracle(pair, self.prompts, how, limit, store)
        holding = oracle(pair, self.held_out, how, limit, store) if self.held_out else None
        others = [k for k, layers in pair.differs.items() if layers and k != settings.kind]
        self.driver = Driver(
            self._algorithm,
            units,
            searching,
            held_out=holding,
            settings=settings.rules(),
            control=self.control,
            algorithm=settings.algorithm,
            prepare=self._prepare if settings.algorithm in NEED_ONE else None,
            kl=kl,
            screen=screen_of(pair, self.prompts, how, units) if settings.screen else None,
            canonical=oracle(pair, self.prompts, how, limit, store, canonical=True)
            if (batched(pair) if settings.canonical is None else settings.canonical)
            else None,
            devices=gpus(pair),
            offers=[f"--sites {kind}" for kind in sorted(others, key=lambda k: k != "mlp")],
        )
        body = {**asdict(settings), "pair": asdict(pair.spec)}
        title = f"{pair.spec.name or pair.spec.title}: {settings.kind}, {settings.algorithm}"
        made = made_of(pair, self.prompts + self.held_out)
        if run_id:
            refuse_changes(store.run(run_id), made)
            run = store.reopen(run_id)
        else:
            run = store.new_run("search", title, body | {"made": made})
        self.id, self.title = run.id, title
        self.report: SearchReport | None = None
        self.error: DapaError | None = None
        self.ranking: Ranking | None = None
        """The prior, once it was made."""
        self._thread: threading.Thread | None = None
        self._logged = 0

    @property
    def unit_kind(self) -> str:
        """What a unit is, for sentences: the kind of site, or `block` where sites are cut."""
        cut = any(unit.block or unit.kind != self.settings.kind for unit in self.driver.units)
        return "block" if cut else self.settings.kind

    @property
    def state(self) -> str:
        """ready, running, paused, done or failed."""
        return self.driver.snapshot().state

    def progress(self) -> SearchProgress:
        """The search as it stands, from any thread."""
        return self.driver.snapshot()

    def run(self) -> SearchReport:
        """Search here and now.

        Raises:
            NothingToLocalize: With both scores and what to try.
            DapaError: Whatever else kept it from ending.
        """
        logger = threading.Thread(target=self._log_trials, daemon=True)
        ended = self._ended = threading.Event()
        logger.start()
        try:
            report = self.driver.run()
        except DapaError as error:
            self.error = error
            body: dict[str, Any] = {"error": str(error)}
            if isinstance(error, NothingToLocalize):
                body |= {"student": error.student.as_dict(), "full": error.full.as_dict()}
            self._end(ended, logger, "failed", body)
            raise
        except BaseException as error:
            self._end(ended, logger, "failed", {"error": str(error) or type(error).__name__})
            raise
        self.report = report = replace(
            report, prior=self.ranking.as_dict() if self.ranking else None
        )
        state = "stopped" if report.stop_reason.startswith("stopped") else "done"
        self._end(ended, logger, state, report.as_dict())
        return report

    def _prepare(self) -> None:
        """What the algorithm wants to know before the first question."""
        settings = self.settings
        if settings.algorithm in NEED_ONE and self.ranking is None:
            began = self.driver.meter.seconds
            texts, how = few([p.text for p in self.prompts]), settings.format()
            stop = self.control.stopping
            name, values = rank(settings.prior, self.pair, self.driver.units, texts, how, stop)
            self.ranking = Ranking(name, values, self.driver.meter.seconds - began)

    def _algorithm(self, units: tuple[Unit, ...]) -> Steps:
        prior = self.ranking.values if self.ranking else None
        return algorithms[self.settings.algorithm](seed=self.settings.seed, prior=prior)(units)

    def start(self) -> None:
        """Search in a thread of the server; errors are kept in `error`."""
        assert self._thread is None, "a job is started once"

        def work() -> None:
            try:
                self.run()
            except DapaError:
                return  # kept in self.error, shown by whoever watches
            except Exception as error:  # a fault of ours must reach the screen too
                self.error = DapaError(f"the search failed: {type(error).__name__}: {error}")

        self._thread = threading.Thread(target=work, name=f"search {self.id}", daemon=True)
        self._thread.start()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for a started job; True once it has ended."""
        if self._thread is not None:
            self._thread.join(seconds)
            return not self._thread.is_alive()
        return self.report is not None or self.error is not None

    def _log_trials(self) -> None:
        """Copy the driver's log to the store twice a second."""
        while not self._ended.wait(0.5):
            self._copy_log()

    def _copy_log(self) -> None:
        trials = self.driver.snapshot().trials
        new = trials[self._logged :]
        if new:
            self.store.add_trials(self.id, self._logged, [trial_dict(trial) for trial in new])
            self._logged = len(trials)

    def _end(
        self, ended: threading.Event, logger: threading.Thread, state: str, body: dict[str, Any]
    ) -> None:
        ended.set()
        logger.join()
        trials = self.driver.snapshot().trials  # the opening's rows are settled late, so all again
        self.store.add_trials(self.id, 0, [trial_dict(trial) for trial in trials])
        self.store.finish(self.id, state, body)
