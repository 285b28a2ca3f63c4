"""Localize: where the two models part, layer by layer; a picture that steers the strip."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dapa.core.records import Mask, SettingError
from dapa.figures import divergence_heatmap
from dapa.localize.divergence.divergence import DivergenceMap
from dapa.localize.divergence.metrics import metrics
from dapa.localize.divergence.recording import READINGS, map_sites
from dapa.store.database import digest
from dapa.ui import download, plots
from dapa.ui.dashboard import Dashboard, guarded, one_of, piece, whole
from dapa.ui.measurements.view import counted
from dapa.ui.parts import hint, note, skeleton, title
from dapa.ui.session import Session
from dapa.ui.tabs.localize import viewfiles
from dapa.ui.tabs.localize.behind import cards
from dapa.ui.tabs.localize.maps import HEAD, Maps, head_of
from dapa.ui.tasks import Task
from dapa.ui.watching import ended, progress_line
from dapa.writing.sentences import SITE_TITLES

SETS = {"harmful": "harmful", "harmless twins": "harmless", "borderline harmless": "borderline"}
POSITIONS = {
    "last token": "last",
    "end of the instruction": "instruction",
    "mean of all": "all",
    "a chosen token": "token",
}
_READINGS = {
    "local": "local: the teacher's module on the student's input",
    "total": "total: each model on its own input",
}
_EMPTY = hint(
    "Prompts behind a cell",
    "Click a cell of the picture to read the prompts behind it, furthest apart first.",
)


@dataclass(frozen=True)
class Localize:
    """The tab's components."""

    sentence: gr.Accordion
    metric: gr.Dropdown
    reading: gr.Dropdown
    prompts: gr.Dropdown
    position: gr.Dropdown
    limit: gr.Number
    token: gr.Number
    behind: gr.Checkbox
    sink: gr.Checkbox
    contrast: gr.Checkbox
    head: gr.HTML
    plot: gr.Plot
    bridge: gr.HTML
    cell: gr.HTML
    files: tuple[gr.Button, ...]
    carrier: gr.HTML
    shown: gr.State
    dark: gr.State

    @property
    def settings(self) -> list[Any]:
        """The inputs that shape the map."""
        return [
            self.metric, self.reading, self.prompts, self.position, self.limit, self.contrast,
            self.token, self.behind, self.sink,
        ]  # fmt: skip


def build(dashboard: Dashboard) -> Localize:
    """Layout: settings in a sentence, the picture, the prompts behind a cell."""
    first = next(iter(metrics))
    with gr.Accordion(
        _sentence(first, "local", "harmful", "last token", 64, True),
        open=False,
        elem_classes="sentence",
        elem_id="map-settings",
    ) as sentence:
        with gr.Row():
            metric = gr.Dropdown(
                [(metrics.titles[name], name) for name in metrics], value=first, label="metric"
            )
            reading = gr.Dropdown(
                [(_READINGS[name], name) for name in READINGS], value="local", label="reading"
            )
            prompts = gr.Dropdown(list(SETS), value="harmful", label="prompts")
            position = gr.Dropdown(list(POSITIONS), value="last token", label="position")
            limit = gr.Number(64, label="how many prompts", minimum=2, maximum=2000, precision=0)
        with gr.Row(elem_classes="switches"):
            contrast = gr.Checkbox(
                True, label="Minus the harmless ones (what differs on harm alone)"
            )
            behind = gr.Checkbox(False, label="Behind the activation too")
            sink = gr.Checkbox(False, label="Count attention sinks in the mean of all")
            token = gr.Number(
                0, label="chosen token (from the end below 0)", precision=0, scale=0, min_width=220
            )
    with gr.Column(elem_classes="card", elem_id="map-card"):
        head = piece(
            skeleton("The picture of where the two models part comes with the pair…"),
            "looks.js", elem_id="map-head",
        )  # fmt: skip
        plot = gr.Plot(
            show_label=False, label="Divergence", container=False, elem_id="heatmap", visible=False
        )
        bridge = piece("", "heatmap.js", elem_id="map-bridge")
        with gr.Row(elem_classes="buttons"):
            files = tuple(
                gr.Button(f"Download {word}", elem_classes="plain", elem_id=f"map-{word}")
                for word in ("HTML", "CSV", "JSON")
            )
        carrier = download.carrier("map-file")
    cell = piece(f'<div class="card">{_EMPTY}</div>', "shelf.js", elem_id="cell")
    return Localize(
        sentence, metric, reading, prompts, position, limit, token, behind, sink, contrast, head,
        plot, bridge, cell, files, carrier, gr.State(None), gr.State(False),
    )  # fmt: skip


def _sentence(
    metric: str, reading: str, prompts: str, position: str, limit: Any, contrast: Any,
    token: Any = 0, behind: Any = False, sink: Any = False,
) -> str:  # fmt: skip
    """The settings as one line."""
    minus = "minus harmless" if contrast and prompts == "harmful" else "no contrast"
    where = f"token {token}" if position == "a chosen token" else position
    more = " · behind the activation too" if behind else ""
    more += " · sinks counted" if sink and position == "mean of all" else ""
    return (
        f"{metrics.titles[metric]} · {reading} reading · {limit} {prompts} prompts · {where} · "
        f"{minus}{more}"
    )


def wire(
    dashboard: Dashboard, parts: Localize, epoch: gr.State, session: gr.State
) -> tuple[Maps, Any]:
    """Draw at the first load and whenever a setting changes; answer clicks on cells.

    Returns:
        The maps that were made, for whoever unfolds them, and the event of a pair's first map.
    """
    maps = Maps()
    measuring: dict[str, Task] = {}

    def question(*values: Any) -> tuple[Any, ...]:
        metric, reading, prompts, position, limit, contrast, token, behind, sink = values
        return (
            dashboard.epoch,
            one_of(metric, "metric", metrics),
            one_of(reading, "reading", READINGS),
            one_of(prompts, "prompt set", SETS),
            one_of(position, "position", POSITIONS),
            whole(limit, "how many prompts", 2, 2000),
            contrast is True and prompts == "harmful",
            whole(token, "chosen token", -100_000, 100_000),
            behind is True,
            sink is True,
        )

    def measure(
        key: tuple[Any, ...], told: Any = None, stop: threading.Event | None = None
    ) -> DivergenceMap:
        _, metric, reading, prompts, position, limit, contrast, token, behind, sink = key
        asked = dashboard.workbench.prompts(None, SETS[prompts]).prompts[:limit]
        texts = [prompt.text for prompt in asked]
        twins = contrast and all(prompt.twin for prompt in asked)
        harmless: list[str] | None = None
        if twins:  # paired, so that what varies between requests cancels
            harmless = [prompt.twin for prompt in asked]
        elif contrast:
            harmless = list(dashboard.workbench.prompts(None, "harmless").texts[:limit])
        return dashboard.workbench.divergence(
            texts,
            metric=metric,
            reading=reading,
            position=token if POSITIONS[position] == "token" else POSITIONS[position],
            harmless=harmless,
            twins=twins,
            sites=map_sites(dashboard.workbench.pair) if behind else None,
            sink=sink,
            progress=told,
            stop=stop,
        )

    @guarded
    def show(request: gr.Request, dark: Any, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Skeleton, then picture; a failure is told in the card, not in a toast."""
        if not dashboard.workbench.loaded:
            yield gr.skip(), gr.skip(), gr.skip(), gr.skip(), gr.skip()
            return
        key = question(*values)
        sentence = gr.update(label=_sentence(*key[1:]))
        found = maps.get(key)
        if found is None:
            name = "map " + digest(*map(str, key))
            task = Task(
                "map", name,
                lambda told, stop: measure(key, counted(told, "prompts"), stop), threading.Lock(),
            )  # fmt: skip
            who = str(getattr(request, "session_hash", ""))
            measuring[who] = task
            task.start()
            try:
                while not task.wait(0.15):
                    head = title("Measuring where the two models part") + progress_line(task)
                    yield head + skeleton(""), gr.skip(), gr.skip(), gr.skip(), sentence
            finally:
                measuring.pop(who, None)
            found = task.result
            if found is None or not found.n:
                failed = title("No picture") + (ended(task) or note("Nothing was measured."))
                yield failed, gr.update(visible=False), gr.skip(), None, sentence
                return
            if task.state == "done":
                maps.put(key, found)
            else:  # what there is of it, to look at; asked again it is measured to its end
                key = (*key, "stopped")
                maps.put(key, found)
        figure = divergence_heatmap(found, contrast=key[6], dark=dark is True)
        figure = plots.drawn(figure, f"divergence {found.title}", found.provenance, dark is True)
        yield (
            head_of(found, key[6]),
            gr.update(value=figure, visible=True),
            gr.skip(),
            key,
            sentence,
        )

    @guarded
    def halt(request: gr.Request) -> None:
        """The progress line's link: stop with what is measured."""
        task = measuring.get(str(getattr(request, "session_hash", "")))
        if task is not None:
            task.stop()

    def told(shown: Any) -> viewfiles.Told:
        found = maps.shown(shown)
        if found is None:
            raise SettingError("there is no picture to take away yet; wait for it")
        contrast = shown[6]
        return viewfiles.Told(
            "divergence", HEAD, found.provenance,
            lambda: [(found.title, divergence_heatmap(found, contrast=contrast))],
            lambda: found.table(contrast), lambda: found.as_dict(contrast),
        )  # fmt: skip

    @guarded
    def look_behind(shown: Any, here: Session, event: gr.EventData) -> Iterator[Any]:
        """The prompts behind the clicked cell, then their replies."""
        data = getattr(event, "_data", None)
        if not isinstance(data, dict) or data.get("site") is None:
            yield gr.skip()  # a column's label was clicked: the strip answers alone
            return
        found = maps.shown(shown)
        if found is None:
            raise SettingError("the picture is older than the pair; draw it again")
        layer = whole(data.get("layer"), "layer", 0, len(found.layers) - 1)
        named = {SITE_TITLES.get(site, site): site for site in found.sites}
        site = named[one_of(data.get("site"), "site", named)]
        rows = [
            (text, f"{value:.3f}") for text, value in found.behind(layer, site) if value == value
        ]
        name = f"Layer {layer}, {SITE_TITLES.get(site, site)}"
        if not rows:
            empty = hint("Not defined here", "This metric says nothing at this site.")
            yield f'<div class="card">{title(name)}{empty}</div>'
            return
        mask = here.mask if here.epoch == dashboard.epoch else Mask()
        about = "Prompts behind the cell, furthest apart first; press one to ask it."
        for card in cards(dashboard, name, about, rows, "distance", mask):
            yield f'<div class="card">{card}</div>'

    out = [parts.head, parts.plot, parts.cell, parts.shown, parts.sentence]
    inputs = [parts.dark, *parts.settings]
    plain: dict[str, Any] = {
        "show_progress": "hidden", "concurrency_limit": 2, "concurrency_id": "maps",
    }  # fmt: skip
    first = epoch.change(show, inputs, out, api_name="map_first", **plain)
    parts.dark.change(show, inputs, out, api_name="map_dark", **plain)
    for i, component in enumerate(parts.settings):
        event = component.input if component is not parts.limit else component.submit
        event(show, inputs, out, api_name=f"map_{i}", trigger_mode="always_last", **plain)
    parts.head.select(halt, None, None, api_name="map_stop", queue=False)
    viewfiles.offer(parts.files, told, parts.shown, parts.carrier, "map")
    parts.bridge.select(
        look_behind, [parts.shown, session], parts.cell, api_name="map_cell",
        show_progress="hidden", trigger_mode="multiple",
    )  # fmt: skip
    return maps, first
