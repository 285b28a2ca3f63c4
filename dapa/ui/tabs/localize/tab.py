"""Localize: where the two models part, layer by layer; a picture that steers the strip."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dapa.core.html import html
from dapa.core.measurement import Call, Measured
from dapa.core.records import EMPTY, SettingError
from dapa.figures import divergence_heatmap
from dapa.ui import download, forms, plots
from dapa.ui.dashboard import Dashboard, guarded, one_of, piece, whole
from dapa.ui.parts import hint, note, skeleton, title
from dapa.ui.session import Session
from dapa.ui.tabs.localize import viewfiles
from dapa.ui.tabs.localize.behind import cards
from dapa.ui.tabs.localize.maps import HEAD, Key, Maps, head_of
from dapa.ui.tasks import Task
from dapa.ui.watching import ended, progress_line
from dapa.workbench.measurements import measurements
from dapa.workbench.measurements.divergence import MapSettings
from dapa.writing.unit_names import SITE_TITLES

_EMPTY = hint(
    "Prompts behind a cell",
    "Click a cell of the picture to read the prompts behind it, furthest apart first.",
)


@dataclass(frozen=True)
class Localize:
    """The tab's components."""

    form: forms.Form[MapSettings]
    head: gr.HTML
    plot: gr.Plot
    bridge: gr.HTML
    cell: gr.HTML
    files: tuple[gr.Button, ...]
    carrier: gr.HTML
    shown: gr.State
    dark: gr.State


def build() -> Localize:
    """Layout: settings in a sentence, the picture, the prompts behind a cell."""
    with forms.folded(MapSettings, "map") as form:
        pass
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
    cell = piece(html('<div class="card">{}</div>', _EMPTY), "shelf.js", elem_id="cell")
    return Localize(form, head, plot, bridge, cell, files, carrier, gr.State(None), gr.State(False))


def wire(
    dashboard: Dashboard, parts: Localize, epoch: gr.State, session: gr.State
) -> tuple[Maps, Any]:
    """Draw at the first load and whenever a setting changes; answer clicks on cells.

    Returns:
        The maps that were made, for whoever unfolds them, and the event of a pair's first map.
    """
    maps = Maps()
    measuring: dict[str, Task] = {}

    def measure(asked: MapSettings, told: Any, stop: threading.Event) -> Measured:
        return measurements["divergence"].run(Call(dashboard.workbench, asked, told, stop))

    @guarded
    def show(
        request: gr.Request, dark: Any, shown: Any, **values: Any
    ) -> Iterator[tuple[Any, ...]]:
        """Skeleton, then picture; a failure is told in the card, not in a toast."""
        if not dashboard.workbench.loaded:
            yield gr.skip(), gr.skip(), gr.skip(), gr.skip()
            return
        asked = parts.form.read(values)
        key = Key(dashboard.epoch, asked)
        if not isinstance(shown, Key) or shown.epoch != key.epoch:  # what stands there is another's
            nothing = html('<div class="card">{}</div>', _EMPTY)
            yield skeleton("The picture comes…"), gr.update(visible=False), nothing, None
        made = maps.get(key)
        if made is None:
            task = Task(
                "map", "map", lambda told, stop: measure(asked, told, stop), threading.Lock()
            )
            who = str(getattr(request, "session_hash", ""))
            measuring[who] = task
            task.start()
            try:
                while not task.wait(0.15):
                    head = title("Measuring where the two models part") + progress_line(task)
                    yield head + skeleton(""), gr.skip(), gr.skip(), gr.skip()
            finally:
                measuring.pop(who, None)
            made = task.result
            if made is None or not made.record.found.n:
                failed = title("No picture") + (ended(task) or note("Nothing was measured."))
                yield failed, gr.update(visible=False), gr.skip(), None
                return
            # what there is of one that was stopped, to look at; asked again it is measured whole
            key = key if task.state == "done" else Key(*key[:2], stopped=True)
            maps.put(key, made)
        found = made.record.found
        figure = divergence_heatmap(found, dark is True, made.record.contrast)
        figure = plots.drawn(figure, f"divergence {found.title}", made.origin, dark is True)
        yield head_of(made), gr.update(value=figure, visible=True), gr.skip(), key

    @guarded
    def halt(request: gr.Request) -> None:
        """The progress line's link: stop with what is measured."""
        task = measuring.get(str(getattr(request, "session_hash", "")))
        if task is not None:
            task.stop()

    def told(shown: Any) -> viewfiles.Told:
        made = maps.shown(shown)
        if made is None:
            raise SettingError("there is no picture to take away yet; wait for it")
        view, record = measurements["divergence"], made.record
        return viewfiles.Told(
            "divergence", HEAD, made.origin, lambda: list(view.figures(record, False)),
            record.table, record.as_dict, view.how,
        )  # fmt: skip

    @guarded
    def look_behind(shown: Any, here: Session, event: gr.EventData) -> Iterator[Any]:
        """The prompts behind the clicked cell, then their replies."""
        data = getattr(event, "_data", None)
        if not isinstance(data, dict) or data.get("site") is None:
            yield gr.skip()  # a column's label was clicked: the strip answers alone
            return
        made = maps.shown(shown)
        if made is None or shown.epoch != dashboard.epoch:
            raise SettingError("the picture is older than the pair; draw it again")
        found = made.record.found
        layer = whole(data.get("layer"), "layer", 0, len(found.layers) - 1)
        named = {SITE_TITLES.get(site, site): site for site in found.sites}
        site = named[one_of(data.get("site"), "site", named)]
        rows = [
            (text, f"{value:.3f}") for text, value in found.behind(layer, site) if value == value
        ]
        name = f"Layer {layer}, {SITE_TITLES.get(site, site)}"
        if not rows:
            empty = hint("Not defined here", "This metric says nothing at this site.")
            yield html('<div class="card">{}{}</div>', title(name), empty)
            return
        mask = here.mask if here.epoch == dashboard.epoch else EMPTY
        how = shown.settings.format()
        about = "Prompts behind the cell, furthest apart first; press one to ask it."
        for card in cards(dashboard, name, about, rows, "distance", mask, how):
            yield html('<div class="card">{}</div>', card)

    out, values = [parts.head, parts.plot, parts.cell, parts.shown], dict(parts.form.parts)
    plain: dict[str, Any] = {
        "inputs_kwargs": values, "show_progress": "hidden", "concurrency_limit": 2,
        "concurrency_id": "maps",
    }  # fmt: skip
    asks = [parts.dark, parts.shown]
    first = epoch.change(show, asks, out, api_name="map_first", **plain)
    parts.dark.change(show, asks, out, api_name="map_dark", **plain)
    typed = (gr.Number, gr.Textbox)  # drawn anew once a value is whole, not at each of its letters
    events = [one.submit if isinstance(one, typed) else one.input for one in values.values()]
    gr.on(events, show, asks, out, api_name="map_again", trigger_mode="always_last", **plain)
    parts.form.follow("map_say")
    parts.head.select(halt, None, None, api_name="map_stop", queue=False)
    viewfiles.offer(parts.files, told, parts.shown, parts.carrier, "map")
    parts.bridge.select(
        look_behind, [parts.shown, session], parts.cell, api_name="map_cell",
        show_progress="hidden", trigger_mode="multiple",
    )  # fmt: skip
    return maps, first
