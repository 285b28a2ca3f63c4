"""The workbench as a screen needs it: loads run aside, errors become one escaped line.

One dashboard serves all browsers. What belongs to one browser lives in its `Session`, never here,
except for the stop signals of replies being written.
"""

from __future__ import annotations

import functools
import inspect
import logging
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import gradio as gr
import psutil
import torch

from dapa.core.assets import asset
from dapa.core.errors import SCARCE
from dapa.core.html import escaped
from dapa.core.records import DapaError, PairError, SettingError, StoreError, ran_out
from dapa.ui.sinks import FAILED, toast
from dapa.ui.tasks import Tasks
from dapa.workbench import LoadCancelled, PairSpec, Workbench

log = logging.getLogger("dapa.ui")
F = TypeVar("F", bound=Callable[..., Any])
_TALKS = 512
Progress = Callable[[str, float], None]
"""(what is being done, share done in [0, 1]); may raise LoadCancelled."""


@dataclass(frozen=True)
class Loading:
    """How far a load has come."""

    what: str
    fraction: float
    since: float


class Dashboard:
    """Owns the workbench, one load at a time, and the stop signals of running replies."""

    def __init__(self, workbench: Workbench, endpoint: Sequence[str] = ()) -> None:
        """Sit at `workbench`; `endpoint` holds the options of judges that ask a chat model."""
        self.shared = False
        """May other people than whoever started the program reach it? Then each browser keeps its
        own saved sessions."""
        self.keeps = True
        """Does the run folder outlive the server?"""
        self.workbench = workbench
        self.endpoint = tuple(endpoint)
        """Given by whoever started the program, never by a visitor; empty where none is."""
        self.loaded_by = ""
        """The browser tab that asked for the last load, by its session hash."""
        self.loading: Loading | None = None
        self.failure = ""
        """Why the last load failed, in plain words, or empty."""
        self.tasks = Tasks(self._engaged)
        """What is measured beside finished searches."""
        self._cancel = threading.Event()
        self._lock = threading.Lock()
        self._talks: OrderedDict[str, threading.Event] = OrderedDict()
        self._epoch, self._counting = 0, threading.Lock()
        self._seen: Callable[[], Any] = self._pair()

    @property
    def epoch(self) -> int:
        """A number for the loaded pair, which goes up with every pair that takes its place.

        It is read off the pair itself, so that no result can carry one pair's number and be made
        by another.
        """
        with self._counting:
            now = self._pair()
            if now() is not self._seen():
                self._epoch, self._seen = self._epoch + 1, now
            return self._epoch

    def _pair(self) -> Callable[[], Any]:
        """A pointer to the loaded pair that does not keep it; to nothing where none is."""
        bench = self.workbench
        return weakref.ref(bench.pair) if bench.loaded else lambda: None

    # -- loading ----------------------------------------------------------------------------

    def load(self, spec: PairSpec, who: str = "") -> None:
        """Load a pair in a thread of its own; the previous one stays until it is whole.

        Args:
            spec: Which one.
            who: The browser tab that asks, by its session hash.
        """
        self._begin("opening the models", lambda tell: self._take(spec, tell), who)

    def get(self, name: str, spec: PairSpec | None, who: str = "") -> None:
        """Fetch what is offered under this name, then load the pair that needs it, if one does."""

        def work(tell: Progress) -> None:
            end = 0.6 if spec else 1.0
            self.workbench.get(name, lambda what, share: tell(what, end * share))
            if spec is not None:
                self._take(spec, lambda what, share: tell(what, end + (1 - end) * share))

        self._begin("asking pip", work, who)

    def cancel(self) -> None:
        """Give up the running load at its next step."""
        self._cancel.set()

    def _take(self, spec: PairSpec, tell: Progress) -> None:
        before = self.epoch
        self.workbench.load(spec, tell)
        if self.epoch == before:  # the very pair that stood there; asked for, so begun anew
            with self._counting:
                self._epoch += 1

    def _begin(self, what: str, work: Callable[[Progress], None], who: str) -> None:
        """Run `work` in a thread of its own."""
        with self._lock:
            if self.loading is not None:
                raise PairError("a pair is being loaded already; wait for it or cancel it first")
            self.loading = Loading(what, 0.0, time.monotonic())
            self.failure, self.loaded_by = "", who
            self._cancel.clear()
        threading.Thread(target=self._run, args=(work,), daemon=True, name="load").start()

    def _run(self, work: Callable[[Progress], None]) -> None:
        def progress(what: str, fraction: float) -> None:
            if self._cancel.is_set():
                raise LoadCancelled
            if self.loading is not None:
                self.loading = Loading(what, fraction, self.loading.since)

        failure = ""
        try:
            work(progress)
        except LoadCancelled:
            failure = "the load was cancelled; the previous pair stays"
        except DapaError as error:
            failure = str(error)
        except Exception as error:  # a thread has no one above it to catch this
            log.error("load failed: %s", type(error).__name__)
            failure = (
                SCARCE
                if ran_out(error)
                else f"the pair could not be loaded ({type(error).__name__}); see the server's log"
            )
        with self._lock:
            self.failure = failure
            self.loading = None

    def memory(self) -> tuple[float, float]:
        """Bytes used and there in all, on the device that holds the pair."""
        device = self.workbench.pair.device if self.workbench.loaded else torch.device("cpu")
        if device.type == "cuda":
            free, total = torch.cuda.mem_get_info(device)
            return float(total - free), float(total)
        return float(psutil.Process().memory_info().rss), float(psutil.virtual_memory().total)

    def _engaged(self) -> bool:
        """Is a search running, or a reply being written?"""
        with self._lock:
            talking = any(not over.is_set() for over in self._talks.values())
        return talking or any(job.state == "running" for job in self.workbench.jobs())

    # -- replies ----------------------------------------------------------------------------

    def talk(self, who: str | None) -> threading.Event:
        """A new stop signal for this browser, to be set at the reply's end too.

        The reply it was writing before is stopped.
        """
        event = threading.Event()
        with self._lock:
            before = self._talks.pop(who or "", None)
            self._talks[who or ""] = event
            while len(self._talks) > _TALKS:
                self._talks.popitem(last=False)
        if before is not None:
            before.set()
        return event

    def hush(self, who: str | None) -> None:
        """Stop what this browser's models are writing."""
        with self._lock:
            event = self._talks.get(who or "")
        if event is not None:
            event.set()


def script(name: str) -> str:
    """One of the page's own scripts, as the body of a function."""
    return asset(f"js/{name}").read_text(encoding="utf-8")


def plain_error(error: Exception) -> gr.Error:
    """One escaped line for the toast; what is not ours is logged by its type alone."""
    if isinstance(error, gr.Error):
        return error
    if ran_out(error):
        line = error if isinstance(error, DapaError) else SCARCE
        return toast(line, "Out of memory", 10)
    if isinstance(error, DapaError):
        line = error.shown if isinstance(error, StoreError) else error
        return toast(line, FAILED)
    log.error("a handler failed: %s", type(error).__name__, exc_info=log.isEnabledFor(10))
    return toast(
        f"something went wrong inside ({type(error).__name__}); the loaded pair is untouched, "
        "so try again",
        FAILED,
    )


def guarded(fn: F) -> F:
    """Let a handler raise plain errors only, so no exception text or traceback leaks."""
    if inspect.isgeneratorfunction(fn):

        @functools.wraps(fn)
        def stepped(*args: Any, **kwargs: Any) -> Any:
            try:
                yield from fn(*args, **kwargs)
            except Exception as error:
                raise plain_error(error) from None

        return stepped  # type: ignore[return-value]

    @functools.wraps(fn)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except Exception as error:
            raise plain_error(error) from None

    return called  # type: ignore[return-value]


def whole(value: Any, what: str, low: int, high: int) -> int:
    """A whole number from anywhere; SettingError says what was given and what is allowed."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if isinstance(value, bool) or number != number or not low <= number <= high:
        raise SettingError(f"{what} is {str(value)[:40]}; choose {low:,} to {high:,}")
    if number != int(number):
        raise SettingError(f"{what} is {str(value)[:40]}; choose a whole number")
    return int(number)


def real(value: Any, what: str, low: float, high: float) -> float:
    """A number from anywhere, within [low, high]."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if isinstance(value, bool) or not low <= number <= high:
        raise SettingError(f"{what} is {str(value)[:40]}; choose {low:g} to {high:g}")
    return number


def text(value: Any, what: str, most: int = 100_000) -> str:
    """A text from anywhere; SettingError for anything else."""
    if not isinstance(value, str):
        raise SettingError(f"{what} must be text, not {type(value).__name__}")
    if len(value) > most:
        raise SettingError(f"{what} has {len(value):,} characters; {most:,} are the most")
    return value


def one_of(value: Any, what: str, allowed: Any) -> str:
    """A choice that exists; SettingError lists what does."""
    if not isinstance(value, str) or value not in allowed:
        raise SettingError(
            f"{what} {str(value)[:40]!r} does not exist; choose one of {', '.join(allowed)}"
        )
    return value


def piece(value: str = "", js: str | None = None, **options: Any) -> gr.HTML:
    """A piece of our own HTML, without Gradio's prose styles; `js` names one of our scripts."""
    code = script(js) if js else None
    return gr.HTML(escaped(value), js_on_load=code, apply_default_css=False, **options)
