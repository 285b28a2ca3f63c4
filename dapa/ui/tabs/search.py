"""Search: find the smallest set of layers that refuses; a job of the server that this tab tails."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from dapa.model.sampling import MAX_SEED
from dapa.model.sites import KIND_TITLES
from dapa.records import SettingError
from dapa.search.job import DEFAULT_ALGORITHM, SearchJob, SearchSettings
from dapa.search.questions import algorithms
from dapa.ui import strip
from dapa.ui.desk import Desk, guarded, one_of, piece, real, whole
from dapa.ui.parts import hint
from dapa.ui.session import Session, fresh
from dapa.ui.tabs.tail import Tail

_EMPTY = hint(
    "Which layers carry refusal?",
    "A search moves fewer and fewer layers from the teacher into the student and asks harmful "
    "prompts each time, until none of the layers left can be spared. Press Start search.",
)
_LIVE = ("ready", "running", "paused")


@dataclass(frozen=True)
class Search:
    """The tab's components."""

    sentence: gr.Accordion
    algorithm: gr.Dropdown
    kind: gr.Dropdown
    retain: gr.Slider
    limit: gr.Number
    tokens: gr.Number
    tests: gr.Number
    seed: gr.Number
    start: gr.Button
    pause: gr.Button
    stop: gr.Button
    use: gr.Button
    whole_mlp: gr.Button
    found: gr.HTML
    meter: gr.HTML
    grid: gr.HTML
    curve: gr.HTML
    timer: gr.Timer
    job: gr.State
    ended: gr.State
    drawn: gr.State

    @property
    def settings(self) -> list[Any]:
        """The inputs that shape a search."""
        return [
            self.algorithm, self.kind, self.retain, self.limit, self.tokens, self.tests, self.seed,
        ]  # fmt: skip


def build(desk: Desk) -> Search:
    """Layout: settings in a sentence, buttons, result, meter, picture and curve."""
    defaults = (DEFAULT_ALGORITHM, "gate", 0.9, 64, 48, 0, 0)
    with gr.Accordion(
        _sentence(*defaults), open=False, elem_classes="sentence", elem_id="search-settings"
    ) as sentence:
        with gr.Row():
            algorithm = gr.Dropdown(
                [(algorithms.titles[name], name) for name in algorithms],
                value=DEFAULT_ALGORITHM,
                label="algorithm",
            )
            kind = gr.Dropdown(
                [(KIND_TITLES[k], k) for k in KIND_TITLES], value="gate", label="kind of site"
            )
            retain = gr.Slider(0.05, 1, 0.9, step=0.05, label="share of the gain to keep")
        with gr.Row():
            limit = gr.Number(64, label="search prompts at most", minimum=4, precision=0)
            tokens = gr.Number(48, label="most new tokens", minimum=1, maximum=8192, precision=0)
            tests = gr.Number(0, label="tests at most (0: no limit)", minimum=0, precision=0)
            seed = gr.Number(0, label="seed", minimum=0, precision=0)
    with gr.Row(elem_classes="buttons"):
        start = gr.Button("Start search", elem_classes="primary-action", elem_id="search-start")
        pause = gr.Button("Pause", elem_classes="plain", elem_id="search-pause", visible=False)
        stop = gr.Button(
            "Stop, keep best", elem_classes="plain", elem_id="search-stop", visible=False
        )
    with gr.Column(elem_classes="card", elem_id="result-card"):
        found = piece(_EMPTY, elem_id="result")
        with gr.Row(elem_classes="buttons"):
            use = gr.Button(
                "Use these layers", elem_classes="primary-action", elem_id="use", visible=False
            )
            whole_mlp = gr.Button(
                "Search whole MLP", elem_classes="primary-action", elem_id="whole", visible=False
            )
    meter = piece("", elem_id="meter")
    with gr.Row(elem_id="search-pictures"):
        grid = piece("", elem_id="tests", scale=2, min_width=320)
        curve = piece("", elem_id="curve", scale=1, min_width=280)
    return Search(
        sentence, algorithm, kind, retain, limit, tokens, tests, seed, start, pause, stop, use,
        whole_mlp, found, meter, grid, curve, gr.Timer(0.4, active=False), gr.State(""),
        gr.State(""), gr.State(()),
    )  # fmt: skip


def _sentence(
    algorithm: str, kind: str, retain: Any, limit: Any, tokens: Any, tests: Any, seed: Any
) -> str:
    """The settings as one line."""
    budget = f"at most {tests} tests" if tests else "as many tests as it takes"
    return (
        f"{algorithms.titles[algorithm]} · {KIND_TITLES[kind]}s · keep {100 * retain:.0f} % of the "
        f"gain · {limit} prompts · {tokens} tokens · {budget} · seed {seed}"
    )


def settings_of(*values: Any) -> SearchSettings:
    """Settings from anywhere, checked."""
    algorithm, kind, retain, limit, tokens, tests, seed = values
    most = whole(tests or 0, "tests at most", 0, 10_000_000)
    return SearchSettings(
        algorithm=one_of(algorithm, "search algorithm", algorithms),
        kind=one_of(kind, "kind of site", KIND_TITLES),
        retain=real(retain, "share of the gain to keep", 0.01, 1.0),
        max_new_tokens=whole(tokens, "most new tokens", 1, 8192),
        prompt_limit=whole(limit, "search prompts at most", 1, 1_000_000),
        max_tests=most or None,
        seed=whole(seed, "seed", 0, MAX_SEED),
    )


def wire(
    desk: Desk, parts: Search, session: gr.State, wheel: gr.HTML, steer: dict[str, Any]
) -> tuple[Any, Any]:
    """Events; returns (attach, the event that applied the found layers)."""
    tail = Tail(
        desk,
        [
            parts.found, parts.meter, parts.grid, parts.curve, parts.start, parts.pause,
            parts.stop, parts.use, parts.whole_mlp, parts.timer, parts.ended, parts.drawn,
        ],
    )  # fmt: skip

    def begin(settings: SearchSettings) -> SearchJob:
        for job in desk.workbench.jobs():
            if job.state in _LIVE and not job.wait(0):
                raise SettingError(
                    f"the search {job.id} is still running; stop it first, or reload to watch it"
                )
        job = desk.workbench.search_job(settings)
        job.start()
        return job

    @guarded
    def start(*values: Any) -> tuple[Any, ...]:
        job = begin(settings_of(*values))
        return (job.id, *tail.view(job, ()))

    @guarded
    def start_mlp(*values: Any) -> tuple[Any, ...]:
        job = begin(replace(settings_of(*values), kind="mlp"))
        return (job.id, "mlp", *tail.view(job, ()))

    @guarded
    def tick(job_id: Any, drawn: Any) -> tuple[Any, ...]:
        return tail.view(tail.job(job_id), drawn if isinstance(drawn, tuple) else ())

    @guarded
    def pause(job_id: Any) -> tuple[Any, ...]:
        job = _needed(tail.job(job_id))
        (job.control.resume if job.control.paused else job.control.pause)()
        return tail.view(job, ())

    @guarded
    def stop(job_id: Any) -> tuple[Any, ...]:
        job = _needed(tail.job(job_id))
        job.control.stop()
        return tail.view(job, ())

    @guarded
    def attach() -> tuple[Any, ...]:
        """After a reload: the newest search of this server, running or ended."""
        jobs = [job for job in desk.workbench.jobs() if job.driver is not None]
        if not jobs:
            return (gr.skip(), *tail.view(None, ()))
        return (jobs[-1].id, *tail.view(jobs[-1], ()))

    @guarded
    def remember(here: Session, job_id: Any) -> tuple[Any, Any]:
        """The strip's `found` link knows the result from now on."""
        job = tail.job(job_id)
        if job is None or job.report is None or job.pair is not desk.workbench.pair:
            return gr.skip(), gr.skip()
        base = here if here.epoch == desk.epoch else fresh(desk.epoch, desk.workbench.pair)
        now = replace(base, found=job.report.mask)
        return now, strip.draw(desk, now)

    @guarded
    def use(here: Session, job_id: Any) -> tuple[Session, str]:
        job = _needed(tail.job(job_id))
        if job.report is None or not job.report.units:
            raise SettingError("this search has no result yet; wait for its end or stop it")
        mask = job.report.mask
        desk.workbench.pair.validate(mask)
        base = here if here.epoch == desk.epoch else fresh(desk.epoch, desk.workbench.pair)
        now = replace(base, found=mask, kind=job.settings.kind).press(mask, 1.0)
        return now, strip.draw(desk, now)

    @guarded
    def say(*values: Any) -> Any:
        try:
            settings_of(*values)
        except SettingError:
            return gr.skip()  # Start will say what is wrong
        return gr.update(label=_sentence(*values))

    quiet: dict[str, Any] = {"show_progress": "hidden"}
    out = tail.outputs
    parts.start.click(start, parts.settings, [parts.job, *out], api_name="search_start", **quiet)
    parts.whole_mlp.click(
        start_mlp, parts.settings, [parts.job, parts.kind, *out], api_name="search_mlp", **quiet
    )
    parts.timer.tick(
        tick, [parts.job, parts.drawn], out, api_name="search_tick", concurrency_limit=8, **quiet
    )
    parts.pause.click(pause, parts.job, out, api_name="search_pause", **quiet)
    parts.stop.click(stop, parts.job, out, api_name="search_stop", **quiet)
    parts.ended.change(
        remember, [session, parts.ended], [session, wheel], api_name="search_found", **steer
    )
    for i, component in enumerate(parts.settings):
        component.change(say, parts.settings, parts.sentence, api_name=f"search_say_{i}", **quiet)
    applied = parts.use.click(
        use, [session, parts.job], [session, wheel], api_name="search_use", **steer
    )
    return (attach, [parts.job, *out]), applied


def _needed(job: SearchJob | None) -> SearchJob:
    if job is None:
        raise SettingError("there is no such search on this server; start one")
    return job
