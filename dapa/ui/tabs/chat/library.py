"""The prompt library: bundled requests by category, each beside its harmless twin, and uploads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from dapa.core.cache import OFFERED, fetched
from dapa.core.html import Html, html, joined
from dapa.core.owner import Owner
from dapa.core.records import DapaError, Prompt, PromptError
from dapa.ui import uploads
from dapa.ui.belonging import load_link
from dapa.ui.dashboard import Dashboard, guarded, one_of, piece, text
from dapa.ui.parts import hint as empty_hint
from dapa.ui.parts import note

_EACH = 12
"""How many prompts of a category are listed at once."""
_ALL = "every category"


@dataclass(frozen=True)
class Library:
    """The shelf's components."""

    box: gr.Column
    search: gr.Textbox
    category: gr.Dropdown
    upload: gr.UploadButton
    shelf: gr.HTML
    open: gr.State


def build(dashboard: Dashboard) -> Library:
    """A folded card under the composer."""
    opened = gr.State(False)
    with gr.Column(visible=False, elem_classes="card", elem_id="library") as box:
        with gr.Row(elem_classes="buttons"):
            search = gr.Textbox(
                "", label="search", placeholder="words", max_length=200, scale=0, min_width=200,
                elem_id="library-search",
            )  # fmt: skip
            category = gr.Dropdown(
                [_ALL], value=_ALL, label="category", scale=0, min_width=200, filterable=False
            )
            upload = gr.UploadButton(
                "Upload prompts", file_types=uploads.TYPES, elem_classes="plain", type="filepath"
            )
        shelf = piece("", "shelf.js", elem_id="shelf")
    return Library(box, search, category, upload, shelf, opened)


def wire(
    dashboard: Dashboard, parts: Library, prompt: gr.Textbox, button: gr.Button, epoch: gr.State
) -> Any:
    """Open, filter, upload, pick; returns the pick event, which the chat answers."""

    @guarded
    def fill() -> tuple[Any, str]:
        """The prompts that suit the loaded pair."""
        prompts = _bundled(dashboard)
        choices = [_ALL, *sorted({p.category for p in prompts if p.category})]
        return gr.update(choices=choices, value=_ALL), draw(prompts)

    @guarded
    def fold(opened: Any) -> tuple[Any, ...]:
        now = opened is not True
        return now, gr.update(visible=now), *fill()

    @guarded
    def choose(category: Any, words: Any) -> Html:
        prompts = _bundled(dashboard)
        allowed = [_ALL, *sorted({p.category for p in prompts if p.category})]
        chosen = one_of(category, "category", allowed)
        wanted = text(words or "", "the search", 200).lower().split()
        found = [p for p in prompts if chosen in (_ALL, p.category) and matches(p, wanted)]
        if wanted and not found:
            return empty_hint("Nothing matches", "Take fewer words, or another category.")
        return draw(found, most=200 if wanted else _EACH)

    @guarded
    def upload(path: Any) -> Html:
        if not isinstance(path, str):
            raise PromptError("no file arrived; choose a CSV, TSV, JSONL, parquet or text file")
        chosen = dashboard.workbench.prompts(Path(path), "harmful")
        read = tuple(chosen.prompts)
        line = note(f"{len(read):,} prompts read from {Path(path).name}.")
        return line + draw(read, most=200)

    @guarded
    def pick(event: gr.EventData) -> str:
        data = getattr(event, "_data", None)
        picked = data.get("text") if isinstance(data, dict) else None
        return text(picked, "the prompt")

    quiet: dict[str, Any] = {"show_progress": "hidden"}
    epoch.change(fill, None, [parts.category, parts.shelf], api_name="library_pair", **quiet)
    button.click(
        fold,
        parts.open,
        [parts.open, parts.box, parts.category, parts.shelf],
        api_name="library_open",
        **quiet,
    )
    asked = [parts.category, parts.search]
    parts.category.input(choose, asked, parts.shelf, api_name="library_filter", **quiet)
    parts.search.change(
        choose, asked, parts.shelf, api_name="library_search", trigger_mode="always_last", **quiet
    )
    parts.upload.upload(upload, parts.upload, parts.shelf, api_name="library_upload", **quiet)
    return parts.shelf.select(pick, None, prompt, api_name="library_pick", **quiet)


def matches(prompt: Prompt, words: list[str]) -> bool:
    """Does every word stand in the request, its twin or its category?"""
    whole = f"{prompt.text} {prompt.twin} {prompt.category}".lower()
    return all(word in whole for word in words)


def draw(prompts: Iterable[Prompt], most: int = _EACH) -> Html:
    """The shelf as HTML: a heading per category, a button per prompt and per twin."""
    by_category: dict[str, list[Prompt]] = {}
    for item in prompts:
        by_category.setdefault(item.category or "prompts", []).append(item)
    if not by_category:
        return empty_hint("No prompts here", "Upload a file with one request a line.")
    blocks = []
    for category, items in by_category.items():
        lines = joined(_line(item) for item in items[:most])
        more = f", first {most}" if len(items) > most else ""
        blocks.append(
            html(
                "<section><h3>{category} · {items:,}{more}</h3><ul>{lines}</ul></section>",
                category=category, items=len(items), more=more, lines=lines,
            )
        )  # fmt: skip
    return html('<div class="shelf">{}</div>', joined(blocks))


def _line(item: Prompt) -> Html:
    twin = ""
    if item.twin:
        twin = html(
            '<button class="link twin" data-prompt="{}" title="{}">harmless twin</button>',
            item.twin,
            item.twin,
        )
    return html(
        '<li><button class="link" data-prompt="{}">{}</button>{}</li>', item.text, item.text, twin
    )


def _bundled(dashboard: Dashboard) -> list[Prompt]:
    """The harmful prompts that suit the loaded pair, then its borderline ones."""
    if not dashboard.workbench.loaded:
        return []
    found: list[Prompt] = []
    for role in ("harmful", "borderline"):
        try:
            chosen = dashboard.workbench.prompts(None, role)
        except (DapaError, KeyError):  # a set that is not bundled is no reason to hide the rest
            continue
        for item in chosen.prompts:
            label = item.category or role
            found.append(
                item
                if role == "harmful"
                else Prompt(item.text, f"{label} (harmless, borderline)", item.split, "")
            )
    return found


_WORD = re.compile(r"[^\W\d_]{2,}")
_KNOWN: dict[str, tuple[frozenset[str], tuple[str, ...]]] = {}
REAL = "smollm2"
"""The real pair that a toy offers for what it cannot know."""


def strange(dashboard: Dashboard, prompt: str) -> list[str]:
    """The words of a prompt that a loaded toy never met; none for any other pair.

    A word is known if it stands in the toy's prompts, or if its tokenizer, made of the toy world's
    text alone, has it whole.
    """
    if not prompt or not dashboard.workbench.loaded or not dashboard.workbench.is_toy:
        return []
    known, _ = _world(dashboard)
    whole = dashboard.workbench.pair.tokenizer.get_vocab()
    words = dict.fromkeys(_WORD.findall(prompt.lower()))
    return [w for w in words if w not in known and not {w, f"Ġ{w}"} & whole.keys()]


def hint(dashboard: Dashboard, prompt: str) -> Html:
    """A remark for a prompt outside the toy world, with a way on; empty elsewhere."""
    words = strange(dashboard, prompt)
    if not words:
        return html("")
    told = joined((html("“<bdi>{}</bdi>”", word[:24]) for word in words[:3]), ", ")
    links = joined(
        (
            html('<button class="link" data-example="{}">{}</button>', e, e)
            for e in _world(dashboard)[1]
        ),
        " · ",
    )
    return html(
        '<p class="note outside" role="status"><strong>This toy knows only its small world.'
        "</strong> It never met {}: what the panes say here tells nothing of the method. "
        "{} Within its world, try {}</p>",
        told, _real(dashboard), links,
    )  # fmt: skip


def examples(dashboard: Dashboard) -> Html:
    """Two prompts to begin with, a harmful one and its harmless twin; empty where none is known."""
    paired = [item for item in _bundled(dashboard) if item.twin]
    if not paired:
        return html("")
    first = min(paired, key=lambda item: (not _plain(item.text), len(item.text)))
    harmful, twin = (
        html('<button class="link" data-example="{}">{}</button>', text, text)
        for text in (first.text, first.twin)
    )
    return note(
        html(
            "Begin with a harmful request, {}, or its harmless twin, {}; Library has more.",
            harmful, twin,
        )
    )  # fmt: skip


def _plain(text: str) -> bool:
    """Is it written as most people would? Some of the toy's prompts are not, on purpose."""
    return text.startswith(("How ", "What ")) and text.endswith("?")


def _real(dashboard: Dashboard) -> Html:
    """The press that loads the real pair, or where it is fetched from."""
    if REAL in dashboard.workbench.presets() and fetched(REAL) is not None:
        return load_link(Owner(REAL), "Ask the real pair") + "."
    return html(
        '<button type="button" class="link" data-press="change-pair">Get the real pair</button> '
        "({}) for any question.",
        OFFERED[REAL],
    )


def _world(dashboard: Dashboard) -> tuple[frozenset[str], tuple[str, ...]]:
    """Every word of the toy prompts, and three of them to try; read once."""
    if "toy" not in _KNOWN:
        words: set[str] = set()
        examples: list[str] = []
        for chosen in dashboard.workbench.library():
            for item in chosen.prompts:
                words.update(_WORD.findall(item.text.lower()))
                words.update(_WORD.findall(item.twin.lower()))
            if chosen.prompts and len(examples) < 3:
                opening = Counter(" ".join(text.split()[:2]) for text in chosen.texts)
                usual = max(opening.values()) / 2  # a typo's is rarer
                examples.append(
                    min(
                        (t for t in chosen.texts if opening[" ".join(t.split()[:2])] >= usual),
                        key=len,
                    )
                )
        _KNOWN["toy"] = frozenset(words), tuple(examples)
    return _KNOWN["toy"]
