"""Localize: where the two models part, layer by layer; a picture that steers the strip."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

import gradio as gr

from dapa.figures import divergence_heatmap
from dapa.localize.divergence import READINGS, DivergenceMap
from dapa.localize.metrics import metrics
from dapa.records import Mask, PromptError, SettingError
from dapa.sentences import SITE_TITLES
from dapa.ui.desk import Desk, guarded, one_of, piece, whole
from dapa.ui.parts import esc, hint, note, skeleton, title
from dapa.ui.session import Session
from dapa.ui.tabs.behind import cards

SETS = {"harmful": "harmful", "harmless twins": "harmless", "borderline harmless": "borderline"}
POSITIONS = {"last token": "last", "end of the instruction": "instruction", "mean of all": "all"}
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
    contrast: gr.Checkbox
    head: gr.HTML
    plot: gr.Plot
    bridge: gr.HTML
    cell: gr.HTML
    shown: gr.State
    dark: gr.State

    @property
    def settings(self) -> list[Any]:
        """The inputs that shape the map."""
        return [
            self.metric, self.reading, self.prompts, self.position, self.limit, self.contrast,
        ]  # fmt: skip


class Maps:
    """The last maps made, shared by all browsers: the same question is measured once."""

    def __init__(self, most: int = 16) -> None:
        """Keep `most` maps."""
        self._kept: OrderedDict[tuple[Any, ...], DivergenceMap] = OrderedDict()
        self._most, self._lock = most, Lock()

    def get(self, key: tuple[Any, ...]) -> DivergenceMap | None:
        """The map of this question, if it was made."""
        with self._lock:
            return self._kept.get(key)

    def shown(self, key: Any) -> DivergenceMap | None:
        """The map behind the picture that a browser shows, if it is still kept."""
        return self.get(key) if isinstance(key, tuple) else None

    def put(self, key: tuple[Any, ...], found: DivergenceMap) -> None:
        """Keep a map; the oldest goes."""
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


def build(desk: Desk) -> Localize:
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
        contrast = gr.Checkbox(True, label="Minus the harmless ones (what differs on harm alone)")
    with gr.Column(elem_classes="card", elem_id="map-card"):
        head = piece(
            skeleton("The picture of where the two models part comes with the pair…"),
            elem_id="map-head",
        )
        plot = gr.Plot(
            show_label=False, label="Divergence", container=False, elem_id="heatmap", visible=False
        )
        bridge = piece("", "heatmap.js", elem_id="map-bridge")
    cell = piece(f'<div class="card">{_EMPTY}</div>', "shelf.js", elem_id="cell")
    return Localize(
        sentence, metric, reading, prompts, position, limit, contrast, head, plot, bridge, cell,
        gr.State(None), gr.State(False),
    )  # fmt: skip


def _sentence(
    metric: str, reading: str, prompts: str, position: str, limit: Any, contrast: Any
) -> str:
    """The settings as one line."""
    minus = "minus harmless" if contrast and prompts == "harmful" else "no contrast"
    return (
        f"{metrics.titles[metric]} · {reading} reading · {limit} {prompts} prompts · {position} · "
        f"{minus}"
    )


def wire(desk: Desk, parts: Localize, epoch: gr.State, session: gr.State) -> tuple[Maps, Any]:
    """Draw at the first load and whenever a setting changes; answer clicks on cells.

    Returns:
        The maps that were made, for whoever unfolds them, and the event of a pair's first map.
    """
    maps = Maps()

    def question(*values: Any) -> tuple[Any, ...]:
        metric, reading, prompts, position, limit, contrast = values
        return (
            desk.epoch,
            one_of(metric, "metric", metrics),
            one_of(reading, "reading", READINGS),
            one_of(prompts, "prompt set", SETS),
            one_of(position, "position", POSITIONS),
            whole(limit, "how many prompts", 2, 2000),
            contrast is True and prompts == "harmful",
        )

    def measure(key: tuple[Any, ...]) -> DivergenceMap:
        _, metric, reading, prompts, position, limit, contrast = key
        asked = desk.workbench.prompts(None, SETS[prompts]).prompts[:limit]
        texts = [prompt.text for prompt in asked]
        twins = contrast and all(prompt.twin for prompt in asked)
        harmless: list[str] | None = None
        if twins:  # paired, so that what varies between requests cancels
            harmless = [prompt.twin for prompt in asked]
        elif contrast:
            harmless = list(desk.workbench.prompts(None, "harmless").texts[:limit])
        return desk.workbench.divergence(
            texts,
            metric=metric,
            reading=reading,
            position=POSITIONS[position],
            harmless=harmless,
            twins=twins,
        )

    @guarded
    def show(dark: Any, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Skeleton, then picture; a failure is told in the card, not in a toast."""
        if not desk.workbench.loaded:
            yield gr.skip(), gr.skip(), gr.skip(), gr.skip(), gr.skip()
            return
        key = question(*values)
        sentence = gr.update(label=_sentence(*key[1:]))
        found = maps.get(key)
        if found is None:
            wait = skeleton("Measuring where the two models part…")
            yield wait, gr.skip(), gr.skip(), gr.skip(), sentence
            try:
                found = measure(key)
            except (SettingError, PromptError) as error:
                failed = title("No picture") + note(esc(error), "fail")
                yield failed, gr.update(visible=False), gr.skip(), None, sentence
                return
            maps.put(key, found)
        figure = divergence_heatmap(found, contrast=key[-1], dark=dark is True)
        yield head(found, key[-1]), gr.update(value=figure, visible=True), gr.skip(), key, sentence

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
        mask = here.mask if here.epoch == desk.epoch else Mask()
        about = "Prompts behind the cell, furthest apart first; press one to ask it."
        for card in cards(desk, name, about, rows, "distance", mask):
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
    parts.bridge.select(
        look_behind, [parts.shown, session], parts.cell, api_name="map_cell",
        show_progress="hidden", trigger_mode="multiple",
    )  # fmt: skip
    return maps, first


def head(found: DivergenceMap, contrast: bool) -> str:
    """The card's title, how to read it, and where the numbers come from."""
    what = "harmful minus harmless" if contrast else f"mean {found.title.lower()}"
    return title(
        "Where the two models part, layer by layer",
        f"Over {found.n} prompts, {what}; {esc(found.reading)} reading. Click a column to "
        "transplant its layer and read the prompts behind the cell; shift-click takes a range, "
        "alt-click only reads. "
        f'<span class="sr">{esc(found.provenance)}</span>',
    )
