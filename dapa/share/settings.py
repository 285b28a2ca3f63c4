"""What a user asks of an export; the options and the form are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dapa.core.settings import Settings, setting

FORMS: Mapping[str, str] = {
    "model": "a model folder that transformers loads",
    "patch": "a patch: the changed tensors alone",
    "lora": "a LoRA adapter, where the change is of low rank",
    "mergekit": "a mergekit recipe",
    "report": "a report: one page that opens offline",
    "bundle": "a bundle that can be replayed",
    "inspect": "evaluation logs in Inspect's format",
}
"""What a result can be handed on as."""
OF_A_RUN = ("report", "bundle", "inspect")
"""Forms of a stored run, for which no model is read."""


@dataclass(frozen=True, kw_only=True)
class ExportSettings(Settings):
    """How a result is handed on."""

    form: str = setting(
        "model", "form",
        "model, patch, lora, mergekit, report, bundle or inspect (evaluation logs).",
        choices=lambda: FORMS, flag="--as",
    )  # fmt: skip
    replies: bool = setting(
        False,
        "show harmful replies",
        "Keep replies that comply with harmful requests readable in a report or a bundle.",
    )
    measure: bool = setting(
        False,
        "measure what is missing",
        "First measure what is not known of the set (the table of `evaluate`, a map of where the "
        "two models part), so that report and card tell it.",
        form=False,
    )
    rank: int = setting(
        32, "rank at most", "Of a LoRA: the rank of each matrix at most.", low=1, high=4096
    )
