"""Replies of several models of a pair to many questions: from the store where known, else decoded.

What is decoded is kept at once, apart from every judge, so that a stop or a kill loses the rows in
flight and judging otherwise costs no decoding. Greedy always; the student's rows of every mask
share one batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from dapa.core.records import EMPTY, Mask
from dapa.model.decode.generation import Batch, Row
from dapa.model.decode.sampling import Decoding
from dapa.model.decode.serving import row_capacity, serve
from dapa.model.pair import Pair
from dapa.model.template import begins_inside, encode, render
from dapa.prompts.format import PromptFormat, Turn
from dapa.store.database import digest
from dapa.store.replies import ReplyStore, Said

Role = Literal["student", "teacher"]


@dataclass(frozen=True)
class Speaker:
    """One column: the student under a mask, or the teacher."""

    name: str
    role: Role = "student"
    mask: Mask = EMPTY


@dataclass(frozen=True)
class Question:
    """One question to one speaker."""

    speaker: Speaker
    text: str
    how: PromptFormat


def inside(pair: Pair, asked: Sequence[Question]) -> set[PromptFormat]:
    """The formats among these under which the template opens a thought: replies begin inside it."""
    first = {question.how: question for question in reversed(asked)}
    return {
        how
        for how, question in first.items()
        if begins_inside(render(pair, [Turn("user", question.text)], how), how)
    }


def answer(
    pair: Pair,
    asked: Sequence[Question],
    max_new_tokens: int,
    done: Callable[[int, Said], None],
    kept: ReplyStore | None = None,
    rows: int | None = None,
    stop: threading.Event | None = None,
) -> bool:
    """Answer every question; equal ones (same weights, same rendered prompt) are decoded once.

    Args:
        pair: Who answers.
        asked: The questions.
        max_new_tokens: The token limit of every reply.
        done: Told (place in `asked`, reply), in the order in which replies end.
        kept: Where replies are kept and looked up.
        rows: Rows in flight at most.
        stop: Set it, and no further reply is waited for.

    Returns:
        Whether every question was answered.

    Raises:
        PromptError: A prompt that cannot be rendered, before anything is decoded.
    """
    capacity = row_capacity(pair, rows)
    places: dict[tuple[Role, Mask, str], list[int]] = {}
    ids: dict[tuple[Role, Mask, str], tuple[int, ...]] = {}
    for place, question in enumerate(asked):
        text = render(pair, [Turn("user", question.text)], question.how)
        key = (question.speaker.role, question.speaker.mask, text)
        places.setdefault(key, []).append(place)
        if key not in ids:
            ids[key] = encode(pair, text, question.how, question.speaker.role)
    names = ("replies/1", max_new_tokens, "greedy", f"rows {capacity}")
    contexts = {role: digest(pair.digest, role, *names) for role in ("student", "teacher")}
    known: dict[tuple[Role, Mask], dict[str, Said]] = {}
    queues: dict[Role, list[Row]] = {"student": [], "teacher": []}
    for key, places_of in places.items():
        role, mask, text = key
        if kept is not None and (role, mask) not in known:
            known[role, mask] = kept.recall(contexts[role], mask.key)
        said = known.get((role, mask), {}).get(digest(text))
        if said is None:
            queues[role].append(Row(ids[key], mask, tag=key))
            continue
        for place in places_of:
            done(place, said)

    def finish(row: Row) -> None:
        role, mask, text = row.tag
        said = Said(row.text, tuple(row.new_ids), str(row.ending))
        if kept is not None:
            kept.keep(contexts[role], mask.key, digest(text), said)
        for place in places[row.tag]:
            done(place, said)

    def going(row: Row | None = None) -> bool:
        return stop is None or not stop.is_set()

    for role, queue in queues.items():
        queue.sort(key=lambda row: len(row.ids))  # little padding; results do not depend on it

        def take(room: int, queue: list[Row] = queue) -> list[Row]:
            new = queue[:room] if going() else []
            del queue[: len(new)]
            return new

        serve(Batch(pair, Decoding(max_new_tokens), role), capacity, take, finish, going)
    return going() and not any(queues.values())
