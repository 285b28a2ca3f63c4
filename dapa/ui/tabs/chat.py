"""Chat: one prompt to student, patched and teacher side by side, streamed together."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from dapa.conversation import PANES, Exchange, Pane, PaneName
from dapa.model.prompting import Mode, Turn
from dapa.model.sampling import MAX_SEED, Decoding
from dapa.records import Mask, PromptError, SettingError
from dapa.ui.desk import Desk, guarded, one_of, piece, real, text, whole
from dapa.ui.session import Session
from dapa.ui.tabs import library, manner
from dapa.ui.tabs.manner import Manner
from dapa.ui.tabs.panes import draw

_PAUSE = 0.08
"""Seconds between two pictures of a growing reply: the page starves at more than a dozen."""
MODES: dict[str, Mode] = {
    "chat template": "template",
    "raw text": "raw",
    "reply begins “Sure,”": "prefill",
}


@dataclass(frozen=True, eq=False)
class Talk:
    """What one browser last asked, and what was answered."""

    prompt: str = ""
    panes: tuple[Pane, ...] = ()
    mask: Mask = Mask()
    """What the patched pane's reply was made with."""
    steps: int = 0
    rendered: str = ""
    """What the models read."""


@dataclass(frozen=True)
class Chat:
    """The tab's components."""

    talk: gr.State
    panes: gr.HTML
    prompt: gr.Textbox
    send: gr.Button
    stop: gr.Button
    again: gr.Button
    clear: gr.Button
    shelf_button: gr.Button
    shelf: library.Library
    sentence: gr.Accordion
    mode: gr.Dropdown
    tokens: gr.Number
    temperature: gr.Slider
    seed: gr.Number
    follow: gr.Checkbox
    blur: gr.Checkbox
    fields: manner.Fields
    manner: gr.State

    @property
    def settings(self) -> list[Any]:
        """The inputs that shape an answer."""
        return [
            self.mode, self.tokens, self.temperature, self.seed, self.blur, self.manner
        ]  # fmt: skip


def build(desk: Desk) -> Chat:
    """Layout: panes, composer, library, settings folded into a sentence."""
    talk = gr.State(Talk())
    panes = piece(draw(Talk(), Mask(), False), "panes.js", elem_id="panes")
    with gr.Row(elem_id="composer", elem_classes="card"):
        prompt = gr.Textbox(
            show_label=False,
            label="Prompt",
            placeholder="Ask all three…",
            lines=1,
            max_lines=6,
            max_length=100_000,
            elem_id="prompt",
            scale=1,
        )
        with gr.Row(elem_classes="buttons"):
            shelf_button = gr.Button("Library", elem_classes="plain", elem_id="library-button")
            send = gr.Button("Send", elem_classes="primary-action", elem_id="send")
            stop = gr.Button("Stop", elem_classes="plain", elem_id="stop")
            again = gr.Button("Regenerate", elem_classes="plain", elem_id="regenerate")
            clear = gr.Button("Clear", elem_classes="plain", elem_id="clear")
    shelf = library.build(desk)
    with gr.Accordion(
        _sentence("chat template", 128, 0.0, 0, True, False, Manner()),
        open=False,
        elem_classes="sentence",
    ) as sentence:
        with gr.Row():
            mode = gr.Dropdown(list(MODES), value="chat template", label="prompt mode")
            tokens = gr.Number(128, label="most new tokens", minimum=1, maximum=8192, precision=0)
            temperature = gr.Slider(0, 2, 0, step=0.1, label="temperature (0 is greedy)")
            seed = gr.Number(0, label="seed", minimum=0, precision=0)
        with gr.Row():
            follow = gr.Checkbox(True, label="A toggle on the strip answers again")
            blur = gr.Checkbox(False, label="Blur replies until asked for")
        fields = manner.build()
    return Chat(
        talk, panes, prompt, send, stop, again, clear, shelf_button, shelf, sentence, mode, tokens,
        temperature, seed, follow, blur, fields, gr.State(Manner()),
    )  # fmt: skip


def _sentence(
    mode: str, tokens: Any, temperature: Any, seed: Any, follow: Any, blur: Any, manner: Manner
) -> str:
    """The settings as one line that reads as a sentence."""
    told = f"{manner.whose}'s template" if mode == "chat template" else mode
    told += ", system prompt" if manner.system else ""
    told += ", own rules" if manner.also or manner.never else ""
    how = "greedy" if not temperature else f"temperature {temperature:g}"
    return (
        f"{told} · {how} · at most {tokens} tokens · seed {seed} · "
        f"{'toggles answer again' if follow else 'toggles wait'} · "
        f"replies {'blurred until asked for' if blur else 'shown'}"
    )


def decoding_of(mode: Any, tokens: Any, temperature: Any, seed: Any) -> tuple[Mode, Decoding, int]:
    """Settings from anywhere, checked: prompt mode, decoding, seed."""
    chosen = one_of(mode, "prompt mode", MODES)
    decoding = Decoding(
        whole(tokens, "most new tokens", 1, 8192), real(temperature, "temperature", 0.0, 2.0)
    )
    return MODES[chosen], decoding, whole(seed, "seed", 0, MAX_SEED)


def wire(desk: Desk, parts: Chat, session: gr.State) -> Any:
    """Events; returns the handler that answers again after a toggle, for the page to chain."""

    def answer(
        prompt: str, names: tuple[PaneName, ...], talk: Talk, mask: Mask, who: str | None,
        settings: tuple[Any, ...],
    ) -> Iterator[tuple[Talk, str]]:  # fmt: skip
        """Stream the named panes; the others keep what they said."""
        mode, decoding, seed = decoding_of(*settings[:4])
        blur, ways = settings[4] is True, settings[5]
        stop = desk.talk(who)
        turns = {name: [Turn("user", prompt)] for name in names}
        shown = 0.0
        now = talk
        how, judge = ways.format(mode), ways.judge()
        for exchange in desk.workbench.chat(turns, mask, how, decoding, seed, stop, judge):
            now = replace(
                talk, prompt=prompt, mask=mask, panes=_merge(talk, exchange),
                steps=exchange.steps, rendered=exchange.rendered,
            )  # fmt: skip
            if time.perf_counter() - shown >= _PAUSE:
                shown = time.perf_counter()
                yield now, draw(now, mask, blur, hint=library.hint(desk, prompt))
        yield now, draw(now, mask, blur, hint=library.hint(desk, prompt))

    def _who(request: gr.Request | None) -> str | None:
        return getattr(request, "session_hash", None)

    @guarded
    def send(
        prompt: Any, talk: Talk, session: Session, mode: Any, tokens: Any, temperature: Any,
        seed: Any, blur: Any, ways: Manner, request: gr.Request,
    ) -> Iterator[tuple[Talk, str]]:  # fmt: skip
        asked = text(prompt, "the prompt")
        settings = (mode, tokens, temperature, seed, blur, ways)
        yield from answer(asked, PANES, Talk(), session.mask, _who(request), settings)

    @guarded
    def again(
        talk: Talk, session: Session, mode: Any, tokens: Any, temperature: Any, seed: Any,
        blur: Any, ways: Manner, request: gr.Request,
    ) -> Iterator[tuple[Talk, str]]:  # fmt: skip
        if not talk.prompt:
            raise PromptError("nothing was asked yet; write a question first")
        settings = (mode, tokens, temperature, seed, blur, ways)
        yield from answer(talk.prompt, PANES, Talk(), session.mask, _who(request), settings)

    @guarded
    def follow(
        talk: Talk, session: Session, on: Any, mode: Any, tokens: Any, temperature: Any,
        seed: Any, blur: Any, ways: Manner, request: gr.Request,
    ) -> Iterator[Any]:  # fmt: skip
        if on is not True or not talk.prompt or session.mask == talk.mask:
            yield gr.skip(), gr.skip()
            return
        settings = (mode, tokens, temperature, seed, blur, ways)
        yield from answer(talk.prompt, ("patched",), talk, session.mask, _who(request), settings)

    @guarded
    def stop(request: gr.Request) -> None:
        desk.hush(_who(request))

    @guarded
    def clear(session: Session, blur: Any, request: gr.Request) -> tuple[Talk, str, str]:
        desk.hush(_who(request))
        return Talk(), draw(Talk(), session.mask, blur is True), ""

    @guarded
    def say(*values: Any) -> Any:
        try:
            decoding_of(*values[:4])
        except SettingError:
            return gr.skip()  # the answer itself will say what is wrong
        return gr.update(label=_sentence(*values))

    @guarded
    def reshape(
        talk: Talk, session: Session, blur: Any, whose: Any, system: Any, also: Any, never: Any
    ) -> tuple[Manner, Talk, str]:
        """New ways; the replies on screen are judged again under the edited rules."""
        ways = manner.read(whose, system, also, never)
        judge = ways.judge()
        panes = tuple(
            replace(p, verdict=judge(talk.prompt, p.text)) if p.verdict else p for p in talk.panes
        )
        now = replace(talk, panes=panes)
        drawn = draw(now, session.mask, blur is True, hint=library.hint(desk, talk.prompt))
        return ways, now, drawn

    @guarded
    def reblur(talk: Talk, session: Session, blur: Any) -> str:
        return draw(talk, session.mask, blur is True, hint=library.hint(desk, talk.prompt))

    out = [parts.talk, parts.panes]
    quiet: dict[str, Any] = {"show_progress": "hidden"}
    talkative: dict[str, Any] = {
        **quiet, "concurrency_limit": 16, "concurrency_id": "replies", "trigger_mode": "multiple",
    }  # fmt: skip
    full = [parts.talk, session, *parts.settings]
    ask = [parts.prompt, *full]
    parts.send.click(send, ask, out, api_name="chat_send", **talkative)
    parts.prompt.submit(send, ask, out, api_name="chat_submit", **talkative)
    parts.again.click(again, full, out, api_name="chat_again", **talkative)
    parts.stop.click(stop, None, None, api_name="chat_stop", queue=False, **quiet)
    parts.clear.click(
        clear, [session, parts.blur], [*out, parts.prompt], api_name="chat_clear", **quiet
    )
    line = [
        parts.mode, parts.tokens, parts.temperature, parts.seed, parts.follow, parts.blur,
        parts.manner,
    ]  # fmt: skip
    shaping = [parts.talk, session, parts.blur, *parts.fields.all]
    for i, field in enumerate(parts.fields.all):
        # a field's last value counts: on leaving it, its own text may not have arrived yet
        field.change(
            reshape, shaping, [parts.manner, parts.talk, parts.panes],
            api_name=f"chat_shape_{i}", trigger_mode="always_last", **quiet,
        )  # fmt: skip
    for i, component in enumerate(line):
        component.change(say, line, parts.sentence, api_name=f"chat_say_{i}", **quiet)
    parts.blur.change(
        reblur, [parts.talk, session, parts.blur], parts.panes, api_name="chat_blur", **quiet
    )
    picked = library.wire(desk, parts.shelf, parts.prompt, parts.shelf_button)
    picked.then(send, ask, out, api_name="chat_pick", **talkative)

    def chain(event: Any, name: str) -> None:
        """After `event` changed the mask, answer the last prompt again in the patched pane."""
        event.then(
            follow,
            [parts.talk, session, parts.follow, *parts.settings],
            out,
            api_name=name,
            **talkative,
        )

    return chain


def _merge(talk: Talk, exchange: Exchange) -> tuple[Pane, ...]:
    """The panes asked now, and the others as they were."""
    fresh = {pane.name: pane for pane in exchange.panes}
    kept = {pane.name: pane for pane in talk.panes}
    every = {**kept, **fresh}
    return tuple(every[name] for name in PANES if name in every)
