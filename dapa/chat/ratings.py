"""What people rule and keep: verdicts overruled, blind votes, saved sessions; all in the run store.

Keys are digests of what was on the screen, so the same reply carries its ruling wherever it shows.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from secrets import token_hex
from typing import Any

from dapa.chat.conversation import Pane
from dapa.chat.sessions import ChatSession, Round, ruling_key
from dapa.core.records import Label, SettingError
from dapa.store.database import digest
from dapa.store.runs import Store

RULING, VOTE, SESSION = "ruling", "vote", "session"
_MOST_NAME = 80


def rule(store: Store, prompt: str, pane: Pane, label: Label | None, pair: str = "") -> None:
    """Keep a person's word on a reply beside the judge's; None takes it back."""
    key = ruling_key(prompt, pane.whole)
    if label is None:
        store.unrate(RULING, key)
        return
    judged = (
        {"judge": pane.verdict.judge, "verdict": str(pane.verdict.label)} if pane.verdict else {}
    )
    body = {"prompt": prompt, "reply": pane.whole, "label": str(label), "pane": pane.name}
    store.rate(RULING, key, {**body, **judged, "pair": pair})


def rulings_on(store: Store, one: Round | None) -> dict[str, dict[str, Any]]:
    """What was ruled on the replies of one round."""
    keys = [ruling_key(one.prompt, pane.whole) for pane in one.panes] if one is not None else []
    found = {key: store.rating(RULING, key) for key in keys}
    return {key: body for key, body in found.items() if body is not None}


def vote(store: Store, one: Round, order: Sequence[str], choice: str, pair: str) -> str:
    """Keep a blind vote.

    Args:
        store: Where it is kept.
        one: What was voted on.
        order: The panes as they stood, unnamed.
        choice: `A`, `B`, `C` or `none`.
        pair: The pair's name.

    Returns:
        The pane that won, or `none`.

    Raises:
        SettingError: A choice that was not on the screen.
    """
    letters = {"ABC"[place]: name for place, name in enumerate(order)}
    if choice not in (*letters, "none"):
        raise SettingError(f"{choice[:20]!r} is no pane; vote for one of {', '.join(letters)}")
    winner = letters.get(choice, "none")
    replies = {pane.name: pane.whole for pane in one.panes}
    body = {
        "pair": pair, "mask": one.mask.key, "prompt": one.prompt, "order": list(order),
        "choice": choice, "winner": winner, "replies": replies, "at": time.time(),
    }  # fmt: skip
    store.rate(VOTE, token_hex(8), body)
    return winner


def tally(store: Store, pair: str) -> dict[str, int]:
    """How often each pane of a pair won a blind vote."""
    won = Counter(b["winner"] for b in store.ratings(VOTE).values() if b.get("pair") == pair)
    return dict(won)


def save_session(store: Store, name: str, session: ChatSession, owner: str = "") -> str:
    """Keep a session under a name; an older one of that name and owner is replaced.

    An owner's sessions are found with the owner's secret alone, of which the store keeps a digest;
    those of nobody are everybody's at this store.

    Raises:
        SettingError: No name, one that is too long, or nothing to keep.
    """
    name = " ".join(name.split())
    if not name or len(name) > _MOST_NAME:
        raise SettingError(f"the session's name has {len(name)} letters; give 1 to {_MOST_NAME}")
    if not session.talk.rounds:
        raise SettingError("nothing was asked yet, so there is nothing to save")
    store.rate(_kind(owner), name, session.as_dict())
    return name


def session_names(store: Store, owner: str = "") -> list[str]:
    """An owner's saved sessions, newest first."""
    return list(store.ratings(_kind(owner)))[::-1]


def saved_session(store: Store, name: str, owner: str = "") -> ChatSession:
    """A saved session; SettingError if its owner has none of this name."""
    body = store.rating(_kind(owner), name)
    if body is None:
        raise SettingError(f"no session is called {name[:40]!r}; save one first")
    return ChatSession.from_dict(body)


def forget_session(store: Store, name: str, owner: str = "") -> None:
    """Delete a saved session."""
    store.unrate(_kind(owner), name)


def _kind(owner: str) -> str:
    return f"{SESSION} {digest(owner)}" if owner else SESSION
