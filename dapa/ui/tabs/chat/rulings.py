"""What a person says of the replies in the chat: rulings, blind votes, a try-out of the rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from dapa.core.html import Html, html
from dapa.core.records import Label, PromptError, SettingError
from dapa.ui.belonging import is_loaded, title_of
from dapa.ui.dashboard import Dashboard, guarded, one_of, piece, text
from dapa.ui.parts import badge, layered, note
from dapa.ui.session import Session
from dapa.ui.tabs.chat.components import Conversation
from dapa.ui.tabs.chat.shown import order, picture
from dapa.workbench import PANES, ChatSettings, Talk, rule, tally, titled, vote

_QUIET: dict[str, Any] = {"show_progress": "hidden"}


@dataclass(frozen=True)
class TryOut:
    """The try-out box."""

    reply: gr.Textbox
    verdict: gr.HTML


def build() -> TryOut:
    """A box for any reply, and what the rules say of it."""
    with gr.Row(elem_id="try-out"):
        reply = gr.Textbox(
            "", label="try the rules on a reply", lines=2, max_length=20_000, elem_id="try-reply"
        )
        verdict = piece(_judged("", ChatSettings()), elem_id="try-verdict")
    return TryOut(reply, verdict)


def wire(
    dashboard: Dashboard,
    parts: Conversation,
    trial: TryOut,
    session: gr.State,
    ruled: Any,
) -> dict[str, Any]:
    """Rules edited, replies ruled on, panes voted on; `ruled` is the event behind each change.

    Returns the events, by name, after which replies have other verdicts or panes their names.
    """

    def _ours(talk: Talk) -> None:
        """What is kept of a reply is kept under its pair's name."""
        if not is_loaded(dashboard, talk.owner):
            raise PromptError(
                f"these replies are of {title_of(talk.owner)}; load it to rule on them, or ask anew"
            )

    @guarded
    def reshape(
        talk: Talk, here: Session, veil: Any, reply: Any, **values: Any
    ) -> tuple[Talk, str, str]:
        """The replies on screen, and the one tried out, are judged again under the edited rules."""
        ways = parts.form.read(values)
        judge, last = ways.judge(), talk.last
        now = talk
        if last is not None:
            panes = tuple(
                replace(p, verdict=p.judged(judge, last.prompt)) if p.verdict else p
                for p in last.panes
            )
            now = talk.with_last(replace(last, panes=panes), talk.steps)
        tried = _judged(text(reply, "the reply", 20_000), ways)
        return now, picture(dashboard, now, here.mask, ways, order(veil)), tried

    @guarded
    def try_out(reply: Any, **values: Any) -> Html:
        return _judged(text(reply, "the reply", 20_000), parts.form.read(values))

    @guarded
    def ruling(event: gr.EventData, talk: Talk, here: Session, veil: Any, **values: Any) -> Html:
        """A badge's menu: overrule the verdict, or take that back."""
        data = _data(event)
        pane = talk.last.pane(one_of(data.get("pane"), "pane", PANES)) if talk.last else None
        if talk.last is None or pane is None or not pane.ending:
            raise PromptError("that reply is not on the screen any more; ask again")
        _ours(talk)
        word = data.get("label")
        label = Label(one_of(word, "verdict", list(Label))) if word else None
        rule(
            dashboard.workbench.store, talk.prompt, pane, label, dashboard.workbench.pair.spec.title
        )
        return picture(dashboard, talk, here.mask, parts.form.read(values), order(veil))

    @guarded
    def ballot(
        event: gr.EventData, talk: Talk, here: Session, veil: Any, **values: Any
    ) -> tuple[str, Any]:
        """A blind vote: kept, then the panes get their names back."""
        veiled = order(veil)
        if talk.last is None or not veiled:
            raise SettingError("there is nothing to vote on; ask with the blind switch on")
        _ours(talk)
        choice, pair = text(_data(event).get("choice"), "the vote", 20), dashboard.workbench.pair
        store, name = dashboard.workbench.store, pair.spec.title
        winner = vote(store, talk.last, veiled, choice, name)
        shown = picture(dashboard, talk, here.mask, parts.form.read(values), ())
        return shown + _told(veiled, winner, tally(store, name)), ()

    state = [parts.talk, session, parts.veil]
    named: dict[str, Any] = {**_QUIET, "inputs_kwargs": dict(parts.form.parts)}
    # On change, since a field may be left before its own text has arrived. On leaving it too: to
    # judge twice is cheap, and without it a change that got lost would leave old verdicts.
    left = [parts.form.parts[name].blur for name in ("also", "never")]
    judged = [parts.talk, parts.panes, trial.verdict]
    anew = ruled.then(
        reshape, [*state, trial.reply], judged, api_name="chat_rules",
        trigger_mode="always_last", **named,
    )  # fmt: skip
    after = gr.on(
        left, reshape, [*state, trial.reply], judged, api_name="chat_rules_left",
        trigger_mode="always_last", **named,
    )  # fmt: skip
    trial.reply.change(
        try_out, [trial.reply], trial.verdict, api_name="chat_try_out",
        trigger_mode="always_last", **named,
    )  # fmt: skip
    parts.panes.like(ruling, state, parts.panes, api_name="chat_rule", **named)
    voted = parts.panes.submit(
        ballot, state, [parts.panes, parts.veil], api_name="chat_vote", **named
    )
    return {"chat_vote": voted, "chat_rules": anew, "chat_rules_left": after}


def _judged(reply: str, ways: ChatSettings) -> Html:
    """The rules' word on a reply, its evidence marked."""
    if not reply.strip():
        return note("Paste a reply: the verdict and what decided it appear here.")
    verdict = ways.judge()("", reply)
    spans = [(*verdict.span, f"evidence {verdict.label}")] if verdict.span else []
    return html(
        '<div class="tried">{badge} {how} <span class="muted">'
        "{judge} · "
        '{reason}</span><div class="reply" dir="auto">{layered}</div>'
        "</div>",
        badge=badge(verdict.label), how=verdict.how, judge=titled(verdict.judge),
        reason=verdict.reason, layered=layered(reply, spans),
    )  # fmt: skip


def _told(order: tuple[str, ...], winner: str, won: dict[str, int]) -> Html:
    """Who was who, and how the votes on this pair stand."""
    called = {name: "the patched model" if name == "patched" else f"the {name}" for name in PANES}
    who = ", ".join(f"{'ABC'[i]} was {called[name]}" for i, name in enumerate(order))
    said = f"You chose {called.get(winner, 'none')}."
    stand = ", ".join(f"{name} {won.get(name, 0)}" for name in (*PANES, "none"))
    cast = sum(won.values())
    votes = f"{cast} {'vote' if cast == 1 else 'votes'}"
    return note(f"{said} {who}. {votes} on this pair so far: {stand}.")


def _data(event: gr.EventData) -> dict[str, Any]:
    data = getattr(event, "_data", None)
    if not isinstance(data, dict):
        raise SettingError("that press carried nothing; press a badge or a vote again")
    return data
