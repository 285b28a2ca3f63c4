"""How one browser, or one terminal, asks: prompt mode, decoding, how replies show, own rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from dapa.core.errors import SettingError
from dapa.core.settings import MAX_SEED, described, setting
from dapa.prompts.format import MODES, PromptFormat
from dapa.prompts.settings import FormatSettings

if TYPE_CHECKING:
    from dapa.judges.base import Judge
    from dapa.model.decode.sampling import Decoding

_MODES = {title: name for name, title in MODES.items()}
_MOST_PHRASES = 100


@dataclass(frozen=True, kw_only=True)
class ChatSettings(FormatSettings):
    """One visitor's choices; the rules edited here hold for that session only."""

    mode: str = setting(
        "chat template",
        "prompt mode",
        "chat template, raw text, or reply begins “Sure,”.",
        choices=lambda: {title: title for title in _MODES},
        row=1,
    )
    """By its title: saved conversations and links say it so."""
    tokens: int = setting(
        128, "max new tokens", "Tokens of a reply at most.", low=1, high=8192, row=2,
        flag="--max-new-tokens",
    )  # fmt: skip
    temperature: float = setting(
        0.0, "temperature (0 is greedy)", "0 is greedy.", low=0.0, high=2.0, step=0.1, row=2
    )
    top_p: float = setting(
        1.0, "top-p (1 is off)", "Of the likeliest tokens, those that make up this share.",
        low=0.01, high=1.0, step=0.01, row=2,
    )  # fmt: skip
    top_k: int = setting(
        0, "top-k (0 is off)", "So many of the likeliest tokens.", low=0, high=1_000_000, row=2
    )
    penalty: float = setting(
        1.0, "repetition penalty (1 is off)", "Above 1, what was said is less likely again.",
        low=0.5, high=5.0, step=0.05, row=2,
    )  # fmt: skip
    seed: int = setting(0, "seed", "Random choices follow it.", low=0, high=MAX_SEED, row=2)
    follow: bool = setting(True, "A toggle on the strip answers again", flag="-", row=3)
    goes_on: bool = setting(False, "Continue the conversation", flag="-", row=3)
    """Do the models remember the turns before?"""
    words: bool = setting(False, "Mark every word that the student did not say", flag="-", row=3)
    blur: bool = setting(False, "Blur replies until asked for", flag="-", row=3)
    blind: bool = setting(
        False, "Blind: shuffle and unname the panes until a vote", flag="-", row=3
    )
    also: tuple[str, ...] = setting(
        (), "also a refusal, as a sentence’s first words (one a line)",
        "Words that decline, too, where a sentence starts with them.",
        most=_MOST_PHRASES, unit="phrases", lines=2, row=4,
    )  # fmt: skip
    never: tuple[str, ...] = setting(
        (), "never a refusal (one phrase a line)", "A phrase that never declines.",
        most=_MOST_PHRASES, unit="phrases", lines=2, row=4,
    )  # fmt: skip

    def format(self) -> PromptFormat:
        """The prompt's format."""
        mode: Any = _MODES[self.mode]
        whose: Any = self.whose
        return PromptFormat(mode, whose, self.system, self.thinking, self.effort)

    def decoding(self) -> Decoding:
        """The same for all panes."""
        from dapa.model.decode.sampling import Decoding

        return Decoding(self.tokens, self.temperature, self.top_p, self.top_k, self.penalty)

    def judge(self) -> Judge:
        """The rules judge, with this session's phrases."""
        from dapa.judges.rules.judge import rules

        return rules(self.also, self.never)

    def asking(self) -> str:
        """How replies come about, without what only a screen does with them."""
        told = [f"{self.whose}'s template" if self.mode == "chat template" else self.mode]
        told += ["system prompt"] if self.system else []
        told += ["thinking"] if self.thinking else []
        told += [f"reasoning effort {self.effort}"] if self.effort else []
        how = "greedy" if not self.temperature else f"temperature {self.temperature:g}"
        if self.temperature:
            how += f", top-p {self.top_p:g}" if self.top_p < 1 else ""
            how += f", top-k {self.top_k}" if self.top_k else ""
        how += f", repetition penalty {self.penalty:g}" if self.penalty != 1 else ""
        told += [how, f"at most {self.tokens} tokens", f"seed {self.seed}"]
        told += ["own rules"] if self.also or self.never else []
        told += ["the conversation goes on" if self.goes_on else "each question stands alone"]
        return " · ".join(told)

    def sentence(self) -> str:
        """The settings as one line that reads as a sentence."""
        told = [self.asking()]
        told += ["toggles answer again" if self.follow else "toggles wait"]
        told += ["blind"] if self.blind else []
        told += ["replies blurred until asked for" if self.blur else "replies shown"]
        return " · ".join(told)

    def kept(self) -> dict[str, Any]:
        """What a saved session keeps; `restored` takes it back."""
        return {
            name: "\n".join(value) if isinstance(value, tuple) else value
            for name in described(type(self))
            for value in (getattr(self, name),)
        }

    @classmethod
    def restored(cls, kept: Any) -> Self:
        """A saved session's settings, those it lacks by default; SettingError for wrong ones."""
        if not isinstance(kept, Mapping):
            raise SettingError("the session has no settings")
        return cls.read({name: kept[name] for name in described(cls) if name in kept})
