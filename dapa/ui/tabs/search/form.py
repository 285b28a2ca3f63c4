"""What a user chooses about a search: the settings folded into their sentence, and own files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from dapa.core.html import html
from dapa.core.records import SettingError
from dapa.ui import forms, uploads
from dapa.ui.dashboard import Dashboard, guarded, piece
from dapa.ui.parts import note
from dapa.ui.session import usual_kind
from dapa.workbench import ALL, KIND_TITLES, NEED_ONE, SearchSettings

_QUIET: dict[str, Any] = {"show_progress": "hidden"}


@dataclass(frozen=True)
class SearchForm:
    """The components."""

    form: forms.Form[SearchSettings]
    harmful: gr.UploadButton
    harmless: gr.UploadButton
    forget: gr.Button
    files: gr.HTML
    given: gr.State
    """Role -> path of an uploaded file."""

    @property
    def values(self) -> dict[str, Any]:
        """An event's `inputs_kwargs`."""
        return {**self.form.parts, "given": self.given}

    @property
    def filling(self) -> list[Any]:
        """The outputs that `filled` gives values to."""
        return [*self.form.parts.values(), self.given, self.files]

    def filled(self, settings: SearchSettings) -> list[Any]:
        """What the components hold where these settings were chosen."""
        both = {"harmful": settings.prompts, "harmless": settings.harmless}
        given = {role: str(path) for role, path in both.items() if path is not None}
        said = note("The prompts are those of the run that was opened.") if given else html("")
        return [*self.form.filled(settings), given, said]

    def read(self, values: Mapping[str, Any], **beside: Any) -> SearchSettings:
        """The settings of what the page holds.

        A ranking left over from another algorithm is of no use to one that reads none.

        Raises:
            SettingError: What makes no sense, or a value of no field.
        """
        sent = dict(values)
        files = uploads.named(sent.pop("given", None))
        if sent.get("algorithm") not in NEED_ONE:
            sent["prior"] = None
        return self.form.read(sent, **files, **beside)


def build() -> SearchForm:
    """Layout: the sentence, and what it unfolds into."""
    with forms.folded(SearchSettings, "search") as form:
        form.parts["prior"].visible = False
        with gr.Row(elem_classes="buttons"):
            harmful, harmless = uploads.buttons("search")
            forget = gr.Button("Bundled prompts", elem_classes="plain")
        files = piece("", elem_id="search-files")
    return SearchForm(form, harmful, harmless, forget, files, gr.State({}))


def searchable(differs: Mapping[str, Iterable[int]]) -> list[str]:
    """The kinds of site that differ somewhere, and all of them together where there are several."""
    able = [kind for kind in KIND_TITLES if list(differs.get(kind, ()))]
    return [*able, ALL] if len(able) > 1 else able


def wire(parts: SearchForm, dashboard: Dashboard, epoch: gr.State) -> Any:
    """The sentence follows what is chosen, and what can be chosen follows the loaded pair.

    Returns:
        The event behind any other choice, for what else follows from it.
    """

    @guarded
    def kinds(chosen: Any) -> Any:
        """Only what differs in this pair can be searched."""
        if not dashboard.workbench.loaded:
            return gr.skip()
        able = searchable(dashboard.workbench.pair.differs)
        return gr.update(
            choices=[(KIND_TITLES[kind], kind) for kind in able or ["gate"]],
            value=chosen if chosen in able else usual_kind(able),
        )

    def planted() -> bool:
        """Is the loaded pair's truth known? Then what is claimed by default is exact."""
        return not dashboard.workbench.loaded or bool(dashboard.workbench.pair.spec.planted)

    @guarded
    def say(**values: Any) -> tuple[Any, Any]:
        """The sentence, and the ranking, which only some algorithms follow."""
        ranked = gr.update(visible=values.get("algorithm") in NEED_ONE)
        try:
            return gr.update(label=sentence(parts, values, planted())), ranked
        except SettingError:
            return gr.skip(), ranked  # Start will say what is wrong

    @guarded
    def forget() -> tuple[dict[str, str], str]:
        return {}, ""

    pressed, out = (parts.harmful, parts.harmless), (parts.given, parts.files)
    uploads.wire(dashboard, pressed, out, parts.form.parts["prompt_column"], "search", **_QUIET)
    parts.forget.click(forget, None, [parts.given, parts.files], api_name="search_forget", **_QUIET)
    kind = parts.form.parts["kind"]
    said: dict[str, Any] = {
        "inputs_kwargs": parts.values,
        "outputs": [parts.form.line, parts.form.parts["prior"]],
        **_QUIET,
    }
    offered = epoch.change(kinds, kind, kind, api_name="search_kinds", **_QUIET)
    offered.then(say, api_name="search_say_pair", **said)
    return gr.on(
        [*parts.form.changes, parts.given.change],
        say,
        api_name="search_say",
        trigger_mode="always_last",
        **said,
    )


def sentence(parts: SearchForm, values: Mapping[str, Any], planted: bool = True) -> str:
    """The choices as one line: those that count for what is claimed of a pair, planted or not."""
    settings = parts.read(values)
    settings = replace(settings, claim=settings.resolved(planted))
    return settings.sentence() + (" · own prompts" if settings.prompts else "")
