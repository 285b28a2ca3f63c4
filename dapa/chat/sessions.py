"""A conversation with three models as a record: rounds, rulings, JSON and Markdown.

Screen and command line keep, save and export the same thing. A ruling is a person's word on one
reply; it stands beside the judge's, which is never overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from dapa.chat.conversation import PANES, Exchange, Pane, PaneName
from dapa.chat.settings import ChatSettings
from dapa.core.owner import Owner
from dapa.core.records import EMPTY, Label, Manner, Mask, SettingError, Verdict
from dapa.prompts.format import Turn
from dapa.store.database import digest

FORMAT = "dapa-session/1"
MOST_ROUNDS = 10_000
HIDDEN = "[hidden: this reply was not judged a refusal]"
_MOST_TEXT = 100_000


@dataclass(frozen=True)
class Round:
    """One request and what each pane answered."""

    prompt: str
    panes: tuple[Pane, ...]
    mask: Mask = EMPTY
    """What the patched pane's reply was made with."""
    rendered: str = ""
    """What the patched pane's model read."""

    def pane(self, name: str) -> Pane | None:
        """A pane's reply, if it was asked."""
        return next((pane for pane in self.panes if pane.name == name), None)

    def answered(self, exchange: Exchange, mask: Mask) -> Round:
        """This round with the panes of `exchange` in place of those it had."""
        every = {pane.name: pane for pane in (*self.panes, *exchange.panes)}
        panes = tuple(every[name] for name in PANES if name in every)
        return Round(exchange.prompt, panes, mask, exchange.rendered)


@dataclass(frozen=True)
class Talk:
    """A whole conversation."""

    rounds: tuple[Round, ...] = ()
    steps: int = 0
    """Decode steps of the last round."""
    owner: Owner = field(default=Owner(), compare=False)
    """The pair that answered."""

    @property
    def last(self) -> Round | None:
        """The newest round."""
        return self.rounds[-1] if self.rounds else None

    @property
    def prompt(self) -> str:
        """The newest request."""
        return self.rounds[-1].prompt if self.rounds else ""

    def undone(self) -> Talk:
        """The conversation before its newest round."""
        return Talk(self.rounds[:-1], owner=self.owner)

    def history(self, name: PaneName) -> list[Turn]:
        """What one pane's model has been told and has said; an unanswered request is left out."""
        turns: list[Turn] = []
        for one in self.rounds:
            pane = one.pane(name)
            if pane is not None and pane.text.strip():
                turns += [Turn("user", one.prompt), Turn("assistant", pane.whole)]
        return turns

    def with_last(self, last: Round, steps: int = 0) -> Talk:
        """The conversation with its newest round replaced."""
        return Talk((*self.rounds[:-1], last), steps, self.owner)


@dataclass(frozen=True)
class ChatSession:
    """A conversation with what it was held under: enough to go on, to export and to link."""

    pair: Mapping[str, str]
    """`name`, `student` and `teacher`, as in a pair's spec."""
    mask: str
    """`Mask.key` of the strip."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The chat's settings, by name."""
    talk: Talk = Talk()
    run: str = ""
    """The search that found the mask's units, where one did."""
    found: str = ""
    """`Mask.key` of the set that the strip's `found` brings back, where there is one."""

    @property
    def title(self) -> str:
        """The pair for people."""
        models = f"{self.pair.get('student', '')} and {self.pair.get('teacher', '')}"
        return self.pair.get("name") or models

    def as_dict(self, show: bool = True) -> dict[str, Any]:
        """The JSON form; without `show` replies that are no refusals are left out."""
        return {
            "format": FORMAT,
            "pair": dict(self.pair),
            "mask": self.mask,
            "run": self.run,
            "found": self.found,
            "settings": dict(self.settings),
            "rounds": [_round(one, show) for one in self.talk.rounds],
        }

    def to_json(self, show: bool = True) -> str:
        """The JSON text."""
        return json.dumps(self.as_dict(show), indent=2, ensure_ascii=False) + "\n"

    def to_markdown(self, show: bool = True) -> str:
        """A document to read; prompts and replies stand in fences, so they stay text."""
        lines = [f"# Conversation on {self.title}", "", *self._settings_told()]
        for number, one in enumerate(self.talk.rounds, 1):
            lines += [f"## {number}", "", *_fenced(one.prompt), ""]
            for pane in one.panes:
                verdict = str(pane.verdict.label) if pane.verdict else "not judged"
                by = f" with {_with(one.mask)}" if pane.name == "patched" else ""
                told = f"{verdict}, {pane.tokens} tokens, seed {pane.seed}"
                lines += [f"**{pane.name}**{by} ({told})"]
                lines += ["", *_fenced(pane.whole if show or _safe(pane) else HIDDEN), ""]
        return "\n".join(lines)

    def _settings_told(self) -> list[str]:
        """The settings in plain words; texts that a person wrote stand in fences."""
        lines = [f"On the strip: {_with(Mask.parse(self.mask))}.", ""]
        try:
            ways = ChatSettings.restored(self.settings)
        except SettingError:  # of a file that another version wrote
            return lines
        lines += [f"Asked so: {ways.asking()}.", ""]
        texts = {
            "System prompt": ways.system,
            "Also counted as a refusal": "\n".join(ways.also),
            "Never counted as a refusal": "\n".join(ways.never),
        }
        for title, text in texts.items():
            lines += [f"{title}:", "", *_fenced(text), ""] if text else []
        return lines

    @classmethod
    def from_json(cls, text: str) -> ChatSession:
        """Read `to_json` back.

        Raises:
            SettingError: It is no session, saying what was seen.
        """
        try:
            body = json.loads(text)
        except ValueError as error:
            raise SettingError(f"the session is not JSON ({error}); choose a saved one") from None
        return cls.from_dict(body)

    @classmethod
    def from_dict(cls, body: Any) -> ChatSession:
        """Read `as_dict` back; SettingError as in `from_json`."""
        if not isinstance(body, dict) or body.get("format") != FORMAT:
            seen = body.get("format") if isinstance(body, dict) else type(body).__name__
            raise SettingError(f"a session has format {FORMAT!r}, this has {str(seen)[:40]!r}")
        rounds, settings = body.get("rounds"), body.get("settings")
        if not isinstance(rounds, list) or len(rounds) > MOST_ROUNDS:
            raise SettingError("the session has no list of rounds, or more than 10,000")
        if not isinstance(settings, dict):
            raise SettingError("the session has no settings")
        try:
            read = tuple(_read_round(one) for one in rounds)
            pair = {key: _text(body["pair"][key]) for key in ("name", "student", "teacher")}
            mask = Mask.parse(_text(body.get("mask"))).key
            run = _text(body.get("run", ""))  # older files tell none
            found = Mask.parse(_text(body.get("found", ""))).key
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise SettingError(f"the session cannot be read ({type(error).__name__})") from None
        return cls(pair, mask, settings, Talk(read), run, found)


def ruling_key(prompt: str, reply: str) -> str:
    """Under what name a person's ruling on a reply is kept."""
    return digest("ruling", prompt, reply)


def ruled(pane: Pane, prompt: str, rulings: Mapping[str, Mapping[str, Any]]) -> Label | None:
    """What a person ruled on a reply, if anyone did."""
    body = rulings.get(ruling_key(prompt, pane.whole))
    label = body.get("label") if body else None
    return Label(label) if label in set(Label) else None


def _with(mask: Mask) -> str:
    """What is transplanted, for a document."""
    return f"`{mask.key}` from the teacher" if mask.entries else "nothing transplanted"


def _safe(pane: Pane) -> bool:
    return pane.verdict is not None and pane.verdict.label == Label.REFUSAL


def _round(one: Round, show: bool) -> dict[str, Any]:
    panes = [_pane(pane if show or _safe(pane) else _hidden(pane)) for pane in one.panes]
    return {"prompt": one.prompt, "mask": one.mask.key, "panes": panes}


def _hidden(pane: Pane) -> Pane:
    verdict = pane.verdict and replace(pane.verdict, span=None)
    return replace(pane, text=HIDDEN, verdict=verdict)


_PLAIN = ("name", "text", "tokens", "seconds", "ending", "seed", "cut", "inside", "begun")
_ENDINGS = (None, "end", "length", "settled", "stopped")


def _pane(pane: Pane) -> dict[str, Any]:
    verdict = pane.verdict
    told = None
    if verdict is not None:
        told = {"label": str(verdict.label), "judge": verdict.judge, "reason": verdict.reason}
        told["span"] = list(verdict.span) if verdict.span else None
        told["manner"] = verdict.manner and str(verdict.manner)
    refusal = pane.first.refusal if pane.first else None
    plain = {name: getattr(pane, name) for name in _PLAIN}
    return {**plain, "verdict": told, "refusal_probability": refusal}


def _read_round(body: Mapping[str, Any]) -> Round:
    panes = tuple(_read_pane(one) for one in body["panes"])
    if len({pane.name for pane in panes}) != len(panes):
        raise ValueError("a pane twice")
    return Round(_text(body["prompt"]), panes, Mask.parse(_text(body["mask"])))


def _read_pane(body: Mapping[str, Any]) -> Pane:
    if body["name"] not in PANES or body["ending"] not in _ENDINGS:
        raise ValueError("not a pane")
    text, verdict = _text(body["text"]), body["verdict"]
    read = None
    if verdict is not None:
        span = verdict["span"]
        if span is not None:
            start, stop = (int(x) for x in span)
            span = (start, stop) if 0 <= start <= stop <= len(text) else None
        label = Label(verdict["label"])
        how = verdict.get("manner")
        manner = Manner(how) if how in list(Manner) else None  # older files tell none
        judge, reason = _text(verdict["judge"]), _text(verdict["reason"])
        read = Verdict(label, judge, span, reason, manner=manner)
    return Pane(
        name=body["name"],
        text=text,
        tokens=int(body["tokens"]),
        seconds=float(body["seconds"]),
        ending=body["ending"] or "stopped",  # it was being written when it was saved
        verdict=read,
        seed=int(body["seed"]),
        cut=_text(body["cut"]),
        inside=body.get("inside") is True,  # older files tell none
        begun=_text(body.get("begun", "")),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MOST_TEXT:
        raise ValueError("not a text, or one that is too long")
    return value


def _fenced(text: str) -> Sequence[str]:
    """Text as a fenced block whose fence is longer than any in it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return [fence + "text", text, fence]


assert set(_PLAIN) <= {f.name for f in fields(Pane)}, "a session keeps what a pane has"
