"""How one browser asks: prompt mode, decoding, what a toggle does, how replies show, own rules.

Values arrive with every press and are checked here, on the server; nothing is remembered between
two presses but what the page itself shows.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from dapa.core.records import SettingError
from dapa.core.settings import MAX_SEED
from dapa.judges.base import Judge
from dapa.judges.rules.judge import rules
from dapa.model.decode.sampling import Decoding
from dapa.prompts.format import Mode, PromptFormat
from dapa.ui.dashboard import one_of, real, text, whole

WHOSE = ("teacher", "student")
MODES: dict[str, Mode] = {
    "chat template": "template",
    "raw text": "raw",
    "reply begins “Sure,”": "prefill",
}
_MOST_PHRASES = 100


@dataclass(frozen=True)
class Manner:
    """One browser's choices; the rules edited here hold for its session only."""

    mode: str = "chat template"
    whose: str = "teacher"
    system: str = ""
    tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    penalty: float = 1.0
    seed: int = 0
    follow: bool = True
    """Does a toggle on the strip answer again?"""
    goes_on: bool = False
    """Do the models remember the turns before?"""
    words: bool = False
    """Are all words marked that the student did not say?"""
    blur: bool = False
    blind: bool = False
    """Are panes shuffled and unnamed until the vote?"""
    also: tuple[str, ...] = ()
    """Phrases that decline, too."""
    never: tuple[str, ...] = ()
    """Phrases that never decline."""

    def format(self) -> PromptFormat:
        """The prompt's format."""
        whose = "student" if self.whose == "student" else "teacher"
        return PromptFormat(MODES[self.mode], whose, self.system)

    def decoding(self) -> Decoding:
        """The same for all panes."""
        return Decoding(self.tokens, self.temperature, self.top_p, self.top_k, self.penalty)

    def judge(self) -> Judge:
        """The rules judge, with this session's phrases."""
        return rules(self.also, self.never)

    def sentence(self) -> str:
        """The settings as one line that reads as a sentence."""
        told = [f"{self.whose}'s template" if self.mode == "chat template" else self.mode]
        told += ["system prompt"] if self.system else []
        how = "greedy" if not self.temperature else f"temperature {self.temperature:g}"
        if self.temperature:
            how += f", top-p {self.top_p:g}" if self.top_p < 1 else ""
            how += f", top-k {self.top_k}" if self.top_k else ""
        how += f", repetition penalty {self.penalty:g}" if self.penalty != 1 else ""
        told += [how, f"at most {self.tokens} tokens", f"seed {self.seed}"]
        told += ["own rules"] if self.also or self.never else []
        told += ["the conversation goes on" if self.goes_on else "each question stands alone"]
        told += ["toggles answer again" if self.follow else "toggles wait"]
        told += ["blind"] if self.blind else []
        told += ["replies blurred until asked for" if self.blur else "replies shown"]
        return " · ".join(told)

    def settings(self) -> dict[str, Any]:
        """What a saved session keeps; `read_settings` takes it back."""
        lists = {"also": "\n".join(self.also), "never": "\n".join(self.never)}
        return {f.name: lists.get(f.name, getattr(self, f.name)) for f in fields(self)}


@dataclass(frozen=True)
class Fields:
    """The components, in the order of `Manner`'s fields."""

    mode: gr.Dropdown
    whose: gr.Dropdown
    system: gr.Textbox
    tokens: gr.Number
    temperature: gr.Slider
    top_p: gr.Slider
    top_k: gr.Number
    penalty: gr.Slider
    seed: gr.Number
    follow: gr.Checkbox
    goes_on: gr.Checkbox
    words: gr.Checkbox
    blur: gr.Checkbox
    blind: gr.Checkbox
    also: gr.Textbox
    never: gr.Textbox

    @property
    def all(self) -> list[Any]:
        """In the order in which `read` takes their values."""
        return [getattr(self, f.name) for f in fields(self)]


assert [f.name for f in fields(Fields)] == [f.name for f in fields(Manner)]


def build() -> Fields:
    """Rows of fields, inside the settings; `try_out` stands below them."""
    with gr.Row():
        mode = gr.Dropdown(list(MODES), value="chat template", label="prompt mode")
        whose = gr.Dropdown(list(WHOSE), value="teacher", label="whose chat template")
        system = gr.Textbox("", label="system prompt", max_length=10_000, elem_id="system-prompt")
    with gr.Row():
        tokens = gr.Number(128, label="most new tokens", minimum=1, maximum=8192, precision=0)
        temperature = gr.Slider(0, 2, 0, step=0.1, label="temperature (0 is greedy)")
        top_p = gr.Slider(0.05, 1, 1, step=0.05, label="top-p (1 is off)")
        top_k = gr.Number(0, label="top-k (0 is off)", minimum=0, precision=0)
        penalty = gr.Slider(0.5, 2, 1, step=0.05, label="repetition penalty (1 is off)")
        seed = gr.Number(0, label="seed", minimum=0, precision=0)
    with gr.Row(elem_classes="switches"):
        follow = gr.Checkbox(True, label="A toggle on the strip answers again")
        goes_on = gr.Checkbox(False, label="Continue the conversation")
        words = gr.Checkbox(False, label="Mark every word that the student did not say")
        blur = gr.Checkbox(False, label="Blur replies until asked for")
        blind = gr.Checkbox(False, label="Blind: shuffle and unname the panes until a vote")
    with gr.Row():
        also = gr.Textbox(
            "", label="also a refusal (one phrase a line)", lines=2, elem_id="rules-also"
        )
        never = gr.Textbox(
            "", label="never a refusal (one phrase a line)", lines=2, elem_id="rules-never"
        )
    return Fields(
        mode, whose, system, tokens, temperature, top_p, top_k, penalty, seed, follow, goes_on,
        words, blur, blind, also, never,
    )  # fmt: skip


def read(*values: Any) -> Manner:
    """Values from anywhere, in the order of the fields; SettingError says what is wrong."""
    names = [f.name for f in fields(Manner)]
    if len(values) != len(names):
        raise SettingError(f"{len(names)} settings are needed, not {len(values)}")
    given = dict(zip(names, values, strict=True))
    return Manner(
        one_of(given["mode"], "prompt mode", MODES),
        one_of(given["whose"], "template", WHOSE),
        text(given["system"], "the system prompt", 10_000).strip(),
        whole(given["tokens"], "most new tokens", 1, 8192),
        real(given["temperature"], "temperature", 0.0, 2.0),
        real(given["top_p"], "top-p", 0.01, 1.0),
        whole(given["top_k"], "top-k", 0, 1_000_000),
        real(given["penalty"], "repetition penalty", 0.5, 5.0),
        whole(given["seed"], "seed", 0, MAX_SEED),
        *(given[name] is True for name in ("follow", "goes_on", "words", "blur", "blind")),
        phrases(given["also"], "the list of refusals"),
        phrases(given["never"], "the list of exceptions"),
    )


def read_settings(settings: Any) -> Manner:
    """A saved session's settings, those it lacks by default; SettingError for wrong ones."""
    if not isinstance(settings, dict):
        raise SettingError("the session has no settings")
    return read(*({**Manner().settings(), **settings}[f.name] for f in fields(Manner)))


def phrases(value: Any, what: str) -> tuple[str, ...]:
    """One phrase a line, each once."""
    lines = text(value, what, 10_000).splitlines()
    found = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if len(found) > _MOST_PHRASES:
        raise SettingError(f"{what} has {len(found)} phrases; {_MOST_PHRASES} are the most")
    return found
