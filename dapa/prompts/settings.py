"""What every job that asks prompts lets people set: which ones, how many, how they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dapa.core.settings import Seeded, Settings, setting
from dapa.prompts.format import EFFORTS, MODES, WHOSE, PromptFormat

TOKENS = 64
"""New tokens of a reply at most, wherever nothing else is said."""
OFFERED = 64
"""Prompts that a form offers, so that a first look is quick; everywhere else all are asked."""


@dataclass(frozen=True, kw_only=True)
class FormatSettings(Settings):
    """How a request is written."""

    mode: str = setting(
        "template",
        "prompt mode",
        "template, raw (the text alone) or prefill (the reply begins “Sure,”).",
        choices=lambda: MODES,
        row=90,
        told=lambda mode: "" if mode == "template" else MODES[mode],
    )
    whose: str = setting(
        "teacher",
        "whose chat template",
        "teacher or student.",
        choices=lambda: WHOSE,
        flag="--template",
        row=90,
        told=lambda whose: "" if whose == "teacher" else "the student’s template",
    )
    system: str = setting(
        "",
        "system prompt",
        "A system prompt before every request.",
        most=10_000,
        row=90,
        told=lambda system: "system prompt" if system else "",
    )
    thinking: bool = setting(
        False,
        "thinking",
        "Let the template's own switch turn thinking on, where it has one.",
        row=90,
        told=lambda thinking: "thinking" if thinking else "",
    )
    effort: str = setting(
        "",
        "reasoning effort",
        "low, medium or high, for a template that takes reasoning_effort (gpt-oss).",
        choices=lambda: EFFORTS,
        flag="--reasoning-effort",
        row=90,
        told=lambda effort: f"reasoning effort {effort}" if effort else "",
    )
    date: str = ""
    """ISO time at which a run began, which a template's clock tells again when it is resumed."""

    def format(self) -> PromptFormat:
        """The prompts' format."""
        mode: Any = self.mode
        whose: Any = self.whose
        return PromptFormat(mode, whose, self.system, self.thinking, self.effort, self.date)


@dataclass(frozen=True, kw_only=True)
class HarmfulSettings(FormatSettings, Seeded):
    """Which harmful prompts are asked."""

    prompts: str | None = setting(
        None,
        "harmful prompts",
        "Harmful prompts: a file, or a bundled set's name.",
        form=False,
        file=True,
    )
    prompt_column: str | None = setting(
        None,
        "prompt column",
        "The column of a prompt file that holds the prompts, where its name does not tell; a "
        "further file without it is read as usual.",
        most=1_000,
        row=50,
        placeholder="where its name does not tell",
        metavar="NAME",
    )
    prompt_limit: int | None = setting(
        None,
        "prompt limit",
        "At most so many prompts, drawn by category and seed.",
        low=1,
        high=1_000_000,
        preset=OFFERED,
        row=50,
        told=lambda limit: f"{limit:,} prompts" if limit else "all prompts",
    )


@dataclass(frozen=True, kw_only=True)
class BothSettings(HarmfulSettings):
    """Which harmful prompts are asked, and which harmless ones stand against them."""

    harmless: str | None = setting(
        None,
        "harmless prompts",
        "Harmless prompts: a file, or a bundled set's name.",
        form=False,
        file=True,
    )


@dataclass(frozen=True, kw_only=True)
class ContrastSettings(BothSettings):
    """Harmful prompts, and whether what harmless ones show is subtracted."""

    contrast: bool = setting(
        False,
        "subtract what harmless prompts show",
        "Subtract the same effect on harmless prompts: what moves both is no refusal.",
        told=lambda contrast: "minus harmless" if contrast else "",
    )


@dataclass(frozen=True, kw_only=True)
class PromptSettings(BothSettings):
    """Which prompts are asked, and how much of a reply is read."""

    max_new_tokens: int = setting(
        TOKENS,
        "max new tokens",
        "Tokens of a reply at most.",
        low=1,
        high=8192,
        row=50,
        told=lambda tokens: f"{tokens:,} tokens a reply",
    )
