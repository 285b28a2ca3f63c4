"""How replies are asked for and judged beyond decoding: template, system prompt, own rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from dapa.judges.base import Judge
from dapa.judges.rules import rules
from dapa.model.prompting import Mode, PromptFormat
from dapa.records import SettingError
from dapa.ui.desk import one_of, text

WHOSE = ("teacher", "student")
_MOST_PHRASES = 100


@dataclass(frozen=True)
class Manner:
    """One browser's choices; the rules edited here hold for its session only."""

    whose: str = "teacher"
    system: str = ""
    also: tuple[str, ...] = ()
    """Phrases that decline, too."""
    never: tuple[str, ...] = ()
    """Phrases that never decline."""

    def format(self, mode: Mode) -> PromptFormat:
        """The prompt's format in one mode."""
        return PromptFormat(mode, "student" if self.whose == "student" else "teacher", self.system)

    def judge(self) -> Judge:
        """The rules judge, with this session's phrases."""
        return rules(self.also, self.never)


@dataclass(frozen=True)
class Fields:
    """The components."""

    whose: gr.Dropdown
    system: gr.Textbox
    also: gr.Textbox
    never: gr.Textbox

    @property
    def all(self) -> list[Any]:
        """In the order in which `read` takes their values."""
        return [self.whose, self.system, self.also, self.never]


def build() -> Fields:
    """Two rows of fields, inside the settings."""
    with gr.Row():
        whose = gr.Dropdown(list(WHOSE), value="teacher", label="whose chat template")
        system = gr.Textbox("", label="system prompt", max_length=10_000, elem_id="system-prompt")
    with gr.Row():
        also = gr.Textbox(
            "", label="also a refusal (one phrase a line)", lines=2, elem_id="rules-also"
        )
        never = gr.Textbox(
            "", label="never a refusal (one phrase a line)", lines=2, elem_id="rules-never"
        )
    return Fields(whose, system, also, never)


def read(whose: Any, system: Any, also: Any, never: Any) -> Manner:
    """Values from anywhere, checked; SettingError says what is wrong."""
    return Manner(
        one_of(whose, "template", WHOSE),
        text(system, "the system prompt", 10_000).strip(),
        _phrases(also, "the list of refusals"),
        _phrases(never, "the list of exceptions"),
    )


def _phrases(value: Any, what: str) -> tuple[str, ...]:
    lines = text(value, what, 10_000).splitlines()
    phrases = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if len(phrases) > _MOST_PHRASES:
        raise SettingError(f"{what} has {len(phrases)} phrases; {_MOST_PHRASES} are the most")
    return phrases
