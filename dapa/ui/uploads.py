"""Own prompt files: two buttons, what was read of them, and the paths that a form is given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from dapa.core.records import SettingError
from dapa.core.settings import text
from dapa.ui.dashboard import Dashboard, guarded
from dapa.ui.parts import note

ROLES = ("harmful", "harmless")
TYPES = [".csv", ".tsv", ".jsonl", ".json", ".txt", ".parquet"]


def buttons(prefix: str) -> tuple[gr.UploadButton, gr.UploadButton]:
    """A button for harmful prompts and one for harmless ones; ids as in `search-harmful`."""
    harmful, harmless = (
        gr.UploadButton(
            f"Own {role} prompts", file_types=TYPES, elem_classes="plain", type="filepath",
            elem_id=f"{prefix}-{role}",
        )
        for role in ROLES
    )  # fmt: skip
    return harmful, harmless


def wire(
    dashboard: Dashboard,
    pressed: tuple[gr.UploadButton, gr.UploadButton],
    out: tuple[gr.State, gr.HTML],
    column: Any,
    prefix: str,
    remark: str = "",
    **how: Any,
) -> None:
    """A file is read at once, and its path kept by its role.

    Args:
        dashboard: Reads it.
        pressed: Of `buttons`.
        out: Where the paths are kept, and where it is said what was read.
        column: The field that names the column of the prompts.
        prefix: Of the events' names, as in `search_harmful`.
        remark: Said behind what was read.
        how: Of the events.
    """

    def uploaded(role: str) -> Any:
        @guarded
        def take(path: Any, given: Any, column: Any) -> tuple[dict[str, str], str]:
            if not isinstance(path, str):
                raise SettingError(
                    "no file arrived; choose a CSV, TSV, JSONL, parquet or text file"
                )
            named = text(column or "", "the prompt column", 1000).strip() or None
            read = dashboard.workbench.prompts(Path(path), role, named)
            said = f"{len(read.prompts):,} {role} prompts read from your file.{remark}"
            return {**paths(given), role: path}, note(said)

        return take

    given, files = out
    for role, button in zip(ROLES, pressed, strict=True):
        button.upload(
            uploaded(role), [button, given, column], [given, files], api_name=f"{prefix}_{role}",
            **how,
        )  # fmt: skip


def paths(given: Any) -> Mapping[str, str]:
    """Role -> path, whatever was sent."""
    return given if isinstance(given, dict) else {}


def named(given: Any) -> dict[str, str | None]:
    """The paths as the settings' fields."""
    known = paths(given)
    return {"prompts": known.get("harmful"), "harmless": known.get("harmless")}
