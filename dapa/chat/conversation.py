"""One request to student, patched and teacher side by side, streamed together.

Student and patched are two rows of one batch. The teacher is a third where a mask makes it of the
student, else it is stepped beside them. Every pane has its own history, the same rendered format,
decoding and seed.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import commonprefix
from typing import Literal

from dapa.core.records import EMPTY, Mask, PromptError, SettingError, TooLong, Verdict
from dapa.judges.base import Judge
from dapa.model.decode.generation import Batch, Ending, Row, stream, visible
from dapa.model.decode.log_odds import FirstToken, first_tokens_of
from dapa.model.decode.openers import NoOpeners, Openers, Role
from dapa.model.decode.sampling import Decoding
from dapa.model.pair import Pair
from dapa.model.template import at_answer, begins_inside, encode, render
from dapa.prompts.format import PromptFormat, Turn

PaneName = Literal["student", "patched", "teacher"]
PANES: tuple[PaneName, ...] = ("student", "patched", "teacher")


def panes_of(pair: Pair) -> tuple[PaneName, ...]:
    """The panes that can be asked: without the teacher where it is not whole in memory."""
    return PANES if pair.whole else PANES[:2]


@dataclass(frozen=True)
class Pane:
    """One model's reply, as far as it has come."""

    name: PaneName
    text: str
    tokens: int
    seconds: float
    """Since the question was asked."""
    ending: Ending | None
    """None while the reply grows."""
    verdict: Verdict | None
    """Judged once the reply has ended."""
    seed: int
    cut: str = ""
    """What cut a reply short: `the token limit`, `the context` or empty."""
    first: FirstToken | None = None
    """Refusal probability and likeliest tokens at the first position, once the reply has ended."""
    pieces: tuple[str, ...] = ()
    """The reply's tokens by name, once it has ended."""
    inside: bool = False
    """Does the reply begin inside a thought that the template opened?"""
    begun: str = ""
    """The words that were put before the reply, if any."""

    @property
    def whole(self) -> str:
        """The reply as the model's turn has it: with the words that were put before it."""
        return self.begun + self.text

    def judged(self, judge: Judge, prompt: str) -> Verdict:
        """What a judge says of the reply."""
        return judge.reading(self.inside, self.begun)(prompt, self.text)

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Exchange:
    """All panes at one moment."""

    prompt: str
    rendered: str
    """What the patched pane's model really read, or the first pane's where that was not asked."""
    panes: tuple[Pane, ...]
    steps: int
    """Decode steps made so far; of both models where the teacher runs by itself."""

    def pane(self, name: PaneName) -> Pane:
        """The pane of this name."""
        return next(pane for pane in self.panes if pane.name == name)


@dataclass(frozen=True)
class Voice:
    """How panes are asked and decoded: the same for all, so that equal models answer alike."""

    how: PromptFormat = PromptFormat()
    decoding: Decoding = Decoding()
    seed: int = 0


def converse(
    pair: Pair,
    turns: Mapping[PaneName, Sequence[Turn]],
    mask: Mask,
    judge: Judge,
    voice: Voice,
    stop: threading.Event | None = None,
    openers: Callable[[Role], Openers] | None = None,
) -> Iterator[Exchange]:
    """Ask the panes in `turns`, and yield after every round of tokens.

    The last exchange brings the replies' tokens besides, and with `openers` what each model would
    have said first.

    Args:
        pair: Who answers.
        turns: The conversation of each pane asked, ending with the user's request.
        mask: What the patched pane transplants.
        judge: Judges each reply when it has ended.
        voice: How all panes are asked and decoded.
        stop: Set it, and decoding halts before the next step.
        openers: Finds a model's refusal openers (`model.openers.find_openers`, kept by the caller).

    Raises:
        PromptError, SettingError: Before anything is decoded.
        NotInMemory: The teacher is asked and not whole in memory.
    """
    if not turns:
        raise SettingError("no pane to ask; choose student, patched or teacher")
    if "teacher" in turns:
        pair.need_teacher("the teacher's reply")
    how, decoding, seed = voice.how, voice.decoding, voice.seed
    pair.validate(mask)
    rows: dict[PaneName, Row] = {}
    rendered: dict[PaneName, str] = {}
    answers: dict[PaneName, tuple[int, ...]] = {}
    masks = {"student": EMPTY, "patched": mask, "teacher": pair.teacher_mask or EMPTY}
    for name, history in turns.items():
        rendered[name] = render(pair, history, how)
        ids = _encoded(pair, rendered[name], history, how, _role(name))
        rows[name] = Row(ids, masks[name], seed, tag=name)
        answered = at_answer(rendered[name], how)
        answers[name] = ids
        if answered != rendered[name]:
            answers[name] = _encoded(pair, answered, history, how, _role(name))
    inside = {name: begins_inside(text, how) for name, text in rendered.items()}
    prompt = next(iter(turns.values()))[-1].text
    batches = [Batch(pair, decoding, "student"), Batch(pair, decoding, "teacher")]
    start = time.perf_counter()
    took: dict[PaneName, float] = {}
    verdicts: dict[PaneName, Verdict] = {}

    def look() -> Exchange:
        now = time.perf_counter() - start
        panes = []
        for name, row in rows.items():
            if row.ending and name not in took:
                took[name] = now
                if row.ending != "stopped" or row.text:
                    verdicts[name] = judge.reading(inside[name], how.begun)(prompt, row.text)
            text = row.text if row.ending else visible(row.text)
            panes.append(
                Pane(
                    name,
                    text,
                    len(row.new_ids),
                    took.get(name, now),
                    row.ending,
                    verdicts.get(name),
                    seed,
                    _cut(row, decoding, pair.context_length),
                    inside=inside[name],
                    begun=how.begun,
                )
            )
        read = rendered.get("patched") or next(iter(rendered.values()))
        return Exchange(prompt, read, tuple(panes), sum(batch.steps for batch in batches))

    for name, row in rows.items():
        batches[name == "teacher" and pair.teacher_mask is None].admit([row])
        yield look()  # the first pane's text shows before the others have read the prompt
    for _ in stream(batches, stop):
        yield look()
    yield _compared(pair, look(), rows, answers, openers)


def _encoded(
    pair: Pair, text: str, history: Sequence[Turn], how: PromptFormat, role: Role
) -> tuple[int, ...]:
    """As `encode`; a conversation that has filled the context is told as what it is."""
    try:
        return encode(pair, text, how, role)
    except TooLong as error:
        earlier = sum(turn.role == "user" for turn in history) - 1
        if earlier < 1:
            raise
        raise PromptError(
            f"the conversation is full: with {earlier} earlier turn{'s' * (earlier > 1)} the "
            f"{role} would read {error.tokens:,} tokens and its context holds {error.context:,}; "
            "clear the conversation or take turns back, then ask again"
        ) from None


def _role(name: PaneName) -> Role:
    return "teacher" if name == "teacher" else "student"


def _cut(row: Row, decoding: Decoding, context: int) -> str:
    """What cut a reply short, if anything did."""
    if row.ending != "length":
        return ""
    limit = row.max_new_tokens or decoding.max_new_tokens
    return "the token limit" if len(row.new_ids) >= limit else "the context"


def _compared(
    pair: Pair,
    exchange: Exchange,
    rows: Mapping[PaneName, Row],
    answers: Mapping[PaneName, tuple[int, ...]],
    openers: Callable[[Role], Openers] | None,
) -> Exchange:
    """The exchange with what is known once all replies ended: their tokens, and what came first."""
    first: dict[str, FirstToken] = {}
    for role in ("student", "teacher") if openers is not None else ():
        asked = [
            (name, answers[name], EMPTY if role == "teacher" else row.mask)
            for name, row in rows.items()
            if _role(name) == role
        ]
        try:
            found = first_tokens_of(pair, asked, openers(role)) if asked and openers else ()
        except NoOpeners:  # no refusal opener in this vocabulary: the panes go without
            continue
        first.update({told.pane: told for told in found})
    panes = tuple(
        replace(pane, first=first.get(pane.name), pieces=_pieces(pair, rows[pane.name]))
        for pane in exchange.panes
    )
    return replace(exchange, panes=panes)


def _pieces(pair: Pair, row: Row) -> tuple[str, ...]:
    tokenizer = pair.teacher_tokenizer if row.tag == "teacher" else pair.tokenizer
    return tuple(map(str, tokenizer.convert_ids_to_tokens(row.new_ids)))


def first_apart(pane: Pane, other: Pane) -> tuple[int, tuple[int, int]] | None:
    """Where a reply parts from another one: the first token of its own, and its characters.

    Returns:
        The token's place, counted from 1, and [start, stop) in `pane.text`, to the word's end;
        None where the replies agree, or where one of them has not ended.
    """
    if not pane.pieces or not other.pieces or pane.pieces == other.pieces:
        return None
    both = zip(pane.pieces, other.pieces, strict=False)
    shorter = min(len(pane.pieces), len(other.pieces))
    place = next((i for i, (mine, theirs) in enumerate(both) if mine != theirs), shorter)
    start = len(commonprefix([pane.text, other.text]))
    rest = pane.text[start:]
    word = re.match(r"\s*\S+", rest)
    return place + 1, (start, start + (word.end() if word else len(rest)))
