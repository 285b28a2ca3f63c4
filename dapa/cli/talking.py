"""One talk in a terminal: its settings, its slash commands, and what was said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from dapa.cli import options as o
from dapa.cli.evaluating import stopping
from dapa.cli.output import console, plain
from dapa.cli.picture import badge, picture
from dapa.core.records import DapaError, Mask, SettingError
from dapa.workbench import MODES

if TYPE_CHECKING:
    from dapa.workbench import ChatSession, ChatSettings, Judge, PaneName, Talk, Workbench

HELP = """\
/layers 3,5       transplant these layers; /layers alone is the student itself
/mask 3.gate,5.mlp@0.5   transplant these units, with a strength
/sites gate       what /layers means: gate, up, down, mlp, ...
/pane all         who answers: all, or student, patched, teacher, as in student,patched
/seed 1   /temperature 0.7   /top_p 0.9   /top_k 40   /penalty 1.1   /tokens 128
/mode template    template, raw or prefill; /system TEXT is a system prompt
/regenerate       answer the last prompt again; /undo takes it back; /clear forgets all
/save FILE        .json to load again, or .md to read; /load FILE
/show             the settings and the mask; /help; /quit"""


@dataclass
class TerminalChat:
    """One talk: its settings, its mask, and what was said."""

    bench: Workbench
    judge: Judge
    mask: Mask
    kind: str
    settings: ChatSettings
    panes: tuple[PaneName, ...] = ()
    live: bool = False
    """Draw the panes while they grow."""
    quiet: bool = False
    """Print no reply."""
    talk: Talk = field(default_factory=lambda: _talk())

    def session(self) -> ChatSession:
        """The talk as a record to keep."""
        from dapa.workbench import ChatSession

        spec = self.bench.pair.spec
        pair = {"name": spec.name, "student": spec.student, "teacher": spec.teacher}
        now = self.settings
        # As version 0.1 named them; they go with the next one.
        old = {"max_new_tokens": now.tokens, "repetition_penalty": now.penalty}
        return ChatSession(pair, self.mask.key, {**now.kept(), **old}, self.talk)

    # -- asking -----------------------------------------------------------------------------

    def ask(self, prompt: str) -> None:
        """A new round in every pane that is asked."""
        from dapa.workbench import Round, one_prompt

        text = one_prompt(prompt)
        before = self.talk
        self.talk = replace(before, rounds=(*before.rounds, Round(text, ())))
        try:
            self._answer(self.panes)
        except DapaError:
            self.talk = before
            raise

    def again(self, panes: tuple[PaneName, ...] | None = None) -> None:
        """The last prompt anew, in some panes or all."""
        if not self.talk.rounds:
            raise SettingError("nothing was asked yet; write a question first")
        self._answer(panes or self.panes)

    def _answer(self, panes: tuple[PaneName, ...]) -> None:
        from dapa.workbench import Turn

        last = self.talk.rounds[-1]
        before = self.talk.undone()
        turns = {name: [*before.history(name), Turn("user", last.prompt)] for name in panes}
        how, decoding, seed = self.settings.format(), self.settings.decoding(), self.settings.seed
        with stopping() as stop, picture(self.live) as show:
            for exchange in self.bench.chat(
                turns, self.mask, how, decoding, seed, stop, self.judge
            ):
                show(exchange)
        done = last.answered(exchange, self.mask)
        self.talk = self.talk.with_last(done, exchange.steps)
        for pane in done.panes if not (self.live or self.quiet) else ():
            if pane.name in panes:
                console().print(Text(f"{pane.name}: {badge(pane)}\n{plain(pane.text)}\n"))

    # -- commands ---------------------------------------------------------------------------

    def command(self, line: str) -> None:
        """One slash command; SettingError for one that is none."""
        name, _, rest = line[1:].strip().partition(" ")
        name, rest = name.lower().replace("-", "_"), rest.strip()
        if name not in COMMANDS:
            raise SettingError(f"/{name} is no command; /help lists them")
        COMMANDS[name](self, rest)

    def move(self, mask: Mask) -> None:
        """Another mask; the last prompt is answered again in the patched pane."""
        self.bench.pair.validate(mask)
        self.mask = mask
        if self.talk.rounds and "patched" in self.panes:
            self.again(("patched",))

    def show(self, _: str = "") -> None:
        """The settings."""
        told = self.settings.sentence()
        mask, panes = self.mask.key or "none: the student itself", ", ".join(self.panes)
        console().print(Text(f"mask {mask}; {told}; panes {panes}"))


class Quit(Exception):
    """The talk is over."""


def _talk() -> Talk:
    from dapa.workbench import Talk

    return Talk()


def panes_of(text: str) -> tuple[PaneName, ...]:
    """`all` or some panes' names; SettingError for another."""
    from dapa.workbench import PANES

    wanted = [part.strip() for part in text.split(",") if part.strip()]
    if wanted in ([], ["all"]):
        return PANES
    for name in wanted:
        if name not in PANES:
            raise SettingError(f"{name!r} is no pane; choose all or some of {', '.join(PANES)}")
    return tuple(name for name in PANES if name in wanted)


def _set(name: str) -> Callable[[TerminalChat, str], None]:
    """A setting of the talk made otherwise; SettingError says what it may be."""

    def put(terminal: TerminalChat, text: str) -> None:
        now = terminal.settings
        terminal.settings = type(now).read({**now.kept(), name: text})

    return put


def _mode(terminal: TerminalChat, text: str) -> None:
    if text not in MODES:
        raise SettingError(f"mode {text[:40]!r} is not known; choose template, raw or prefill")
    _set("mode")(terminal, MODES[text])


def _sites(terminal: TerminalChat, text: str) -> None:
    kinds = terminal.bench.pair.family.kinds
    if text not in kinds:
        raise SettingError(f"{text[:40]!r} is no kind of site; choose one of {', '.join(kinds)}")
    terminal.kind = text


def _save(terminal: TerminalChat, text: str) -> None:
    if not text:
        raise SettingError("no file is named; write /save talk.json or /save talk.md")
    session = terminal.session()
    body = session.to_markdown() if text.endswith(".md") else session.to_json()
    try:
        Path(text).write_text(body, encoding="utf-8")
    except OSError as error:
        raise SettingError(f"cannot write {text[:80]}: {error.strerror}") from None


def _load(terminal: TerminalChat, text: str) -> None:
    from dapa.workbench import ChatSession

    try:
        body = Path(text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"cannot read {text[:80]!r}: {error}") from None
    session = ChatSession.from_json(body)
    mask = Mask.parse(session.mask)
    terminal.bench.pair.validate(mask)
    terminal.settings = type(terminal.settings).restored(session.settings)
    terminal.talk, terminal.mask = session.talk, mask


def _undo(terminal: TerminalChat, _: str) -> None:
    if not terminal.talk.rounds:
        raise SettingError("nothing was asked yet, so there is nothing to take back")
    terminal.talk = terminal.talk.undone()


def _quit(terminal: TerminalChat, _: str) -> None:
    raise Quit


COMMANDS: Mapping[str, Callable[[TerminalChat, str], None]] = {
    "layers": lambda d, t: d.move(o.mask_of(o.parse_layers(t), d.kind)),
    "mask": lambda d, t: d.move(Mask.parse(t)),
    "sites": _sites,
    "pane": lambda d, t: setattr(d, "panes", panes_of(t)),
    "panes": lambda d, t: setattr(d, "panes", panes_of(t)),
    **{n: _set(n) for n in ("seed", "temperature", "top_p", "top_k", "penalty", "tokens")},
    "system": _set("system"),
    "mode": _mode,
    "regenerate": lambda d, t: d.again(),
    "undo": _undo,
    "clear": lambda d, t: setattr(d, "talk", _talk()),
    "save": _save,
    "load": _load,
    "show": TerminalChat.show,
    "help": lambda d, t: console().print(Text(HELP)),
    "quit": _quit,
    "exit": _quit,
}
"""Slash command -> what it does with the rest of its line."""
