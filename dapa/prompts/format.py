"""How a request is written before a model reads it. Templates are `model.template`'s."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["template", "raw", "prefill"]
PREFILL = "Sure,"
MODES = {
    "template": "chat template",
    "raw": "raw text",
    "prefill": "reply begins “Sure,”",
}
EFFORTS = {"": "as the template does", "low": "low", "medium": "medium", "high": "high"}
WHOSE = {"teacher": "the teacher’s", "student": "the student’s"}


@dataclass(frozen=True)
class PromptFormat:
    """How a request is written before the models read it; one for all masks of a run."""

    mode: Mode = "template"
    """`template`: a chat template; `raw`: the text alone; `prefill`: the reply begins `Sure,`."""
    whose: Literal["teacher", "student"] = "teacher"
    system: str = ""
    thinking: bool = False
    """The template's own switch, where it has one; a prefilled reply never thinks."""
    effort: str = ""
    """How long to think, for a template that takes `reasoning_effort`; as it does by itself if
    empty."""
    date: str = ""
    """ISO time that the template's clock tells, so that a run asks the same on every day; now if
    empty."""

    @property
    def begun(self) -> str:
        """The words that are put before each reply, which its judge reads too; mostly none."""
        return PREFILL if self.mode == "prefill" else ""


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: Literal["user", "assistant"]
    text: str
