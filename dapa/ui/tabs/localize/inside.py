"""Inside one site: the map unfolded by prompt, or along the tokens of one prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from dapa.core.measurement import Call
from dapa.core.records import DapaError, SettingError
from dapa.figures import layer_prompt_heatmap, layer_token_heatmap
from dapa.ui import plots
from dapa.ui.dashboard import Dashboard, guarded, one_of, piece, text
from dapa.ui.parts import hint, note, title
from dapa.ui.tabs.localize.tab import Localize
from dapa.workbench.measurements import measurements
from dapa.workbench.measurements.divergence import map_sites_of
from dapa.writing.unit_names import SITE_TITLES

VIEWS = ("by prompt", "along one prompt")
_BARE = " Each prompt by itself: the map at the top subtracts harmless prompts, this one does not."
_EMPTY = hint(
    "Inside one site",
    "Unfold the map at the top: a row per prompt, or a column per token of one prompt.",
)


@dataclass(frozen=True)
class Inside:
    """The card's components."""

    view: gr.Radio
    site: gr.Dropdown
    prompt: gr.Textbox
    draw: gr.Button
    head: gr.HTML
    plot: gr.Plot


def bare(origin: str) -> str:
    """Where a map comes from, without the prompts that single rows do not subtract."""
    return " · ".join(part for part in origin.split(" · ") if not part.startswith("minus "))


def build() -> Inside:
    """Layout: what to unfold in one row, then the picture."""
    with gr.Column(elem_classes="card", elem_id="inside-card"):
        head = piece(_EMPTY, elem_id="inside-head")
        with gr.Row():
            view = gr.Radio(list(VIEWS), value=VIEWS[0], label="unfold", elem_id="inside-view")
            site = gr.Dropdown(
                [(name, key) for key, name in SITE_TITLES.items()], value="gate", label="site"
            )
            prompt = gr.Textbox(
                "", label="prompt", visible=False, max_length=10_000, elem_id="inside-prompt"
            )
            draw = gr.Button("Draw", elem_classes="plain", elem_id="inside-draw")
        plot = gr.Plot(
            show_label=False, label="Inside", container=False, elem_id="inside", visible=False
        )
    return Inside(view, site, prompt, draw, head, plot)


def wire(
    dashboard: Dashboard, parts: Inside, maps: Localize, found_of: Any, epoch: gr.State
) -> None:
    """Draw on demand; `found_of` gives the map that the map shows, or None."""

    @guarded
    def turn(view: Any) -> Any:
        return gr.update(visible=one_of(view, "view", VIEWS) == VIEWS[1])

    @guarded
    def draw(
        view: Any, site: Any, prompt: Any, shown: Any, dark: Any, **values: Any
    ) -> tuple[Any, Any]:
        place = one_of(site, "site", SITE_TITLES)
        name = f"Inside {SITE_TITLES[place]}"
        try:
            if one_of(view, "view", VIEWS) == VIEWS[0]:
                made = found_of(shown)
                if made is None:
                    raise SettingError("no picture is drawn above yet; wait for it, then draw")
                found, origin = made.record.found, bare(made.origin)
                figure = layer_prompt_heatmap(found, place, dark is True)
                line = (
                    f"{found.title[:1].upper()}{found.title[1:]}, a row per prompt, the furthest "
                    f"apart on top.{_BARE if found.contrast else ''}"
                )
            else:
                asked = replace(
                    maps.form.read(values),
                    prompt=text(prompt, "the prompt", 10_000),
                    sites=(place,),
                )
                made = measurements["divergence"].run(Call(dashboard.workbench, asked))
                along, origin = made.record, made.origin
                figure = layer_token_heatmap(along, place, dark is True)
                line = (
                    f"{along.title[:1].upper()}{along.title[1:]} along one prompt, token by token, "
                    "special tokens visible; the first token gathers attention and may be clipped."
                )
        except DapaError as error:
            return title("No picture") + note(str(error), "fail"), gr.update(visible=False)
        picture = plots.drawn(figure, name, origin, dark is True)
        return title(name, line), gr.update(value=picture, visible=True)

    @guarded
    def forget(site: Any) -> tuple[str, Any, Any]:
        """Another pair is loaded: what was unfolded is not its, nor need it have that site."""
        offered = gr.update()
        if dashboard.workbench.loaded:
            pair = dashboard.workbench.pair
            able = [key for key in SITE_TITLES if key in map_sites_of(pair)]
            value = site if site in able else pair.family.first
            offered = gr.update(choices=[(SITE_TITLES[key], key) for key in able], value=value)
        return _EMPTY, gr.update(visible=False, value=None), offered

    epoch.change(
        forget,
        parts.site,
        [parts.head, parts.plot, parts.site],
        api_name="inside_pair",
        show_progress="hidden",
    )
    parts.view.change(
        turn, parts.view, parts.prompt, api_name="inside_view", show_progress="hidden"
    )
    parts.draw.click(
        draw,
        [parts.view, parts.site, parts.prompt, maps.shown, maps.dark],
        [parts.head, parts.plot],
        inputs_kwargs=dict(maps.form.parts),
        api_name="inside_draw",
        show_progress="hidden",
        concurrency_limit=2,
        concurrency_id="maps",
    )
