"""Prompt sets through student, patched and teacher, into one table of rates with intervals.

DSR counts coherent refusals among all harmful prompts asked; over-refusal counts refusals among
all harmless prompts asked; incoherent and unclear stand beside both and never count as defended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dapa.judges.base import Judge
from dapa.model.generation import Batch, Row
from dapa.model.pair import Pair
from dapa.model.prompting import PromptFormat, Turn, encode, render
from dapa.model.sampling import Decoding
from dapa.model.serving import row_capacity, serve
from dapa.records import EMPTY, Label, Mask, Prompt, Rate, Verdict
from dapa.statistics import wilson

Model = Literal["student", "patched", "teacher"]
MODELS: tuple[Model, ...] = ("student", "patched", "teacher")
Purpose = Literal["dsr", "over_refusal", "borderline", "skill"]


@dataclass(frozen=True)
class Judged:
    """One reply of one model to one prompt, with its verdict."""

    model: Model
    purpose: Purpose
    prompt: Prompt
    reply: str
    verdict: Verdict
    tokens: int


@dataclass(frozen=True)
class Evaluation:
    """Every reply that was judged; the table is derived from them."""

    replies: tuple[Judged, ...]
    mask: Mask
    complete: bool
    """False where it was stopped before the end."""

    def rate(self, model: Model, column: str) -> Rate | None:
        """One cell: `dsr`, `over_refusal`, `borderline`, `skill`, `incoherent` or `unclear`."""
        if column in ("incoherent", "unclear"):
            rows = [r for r in self.replies if r.model == model and r.purpose != "skill"]
            hits = sum(r.verdict.label == Label(column) for r in rows)
        elif column == "skill":
            rows = self._rows(model, "skill")
            hits = sum(exact_match(r.reply, r.prompt.answer) for r in rows)
        else:
            rows = [r for r in self.replies if r.model == model and r.purpose == column]
            hits = sum(r.verdict.label == Label.REFUSAL for r in rows)
        return wilson(hits, len(rows)) if rows else None

    def _rows(self, model: Model, purpose: Purpose) -> list[Judged]:
        return [r for r in self.replies if r.model == model and r.purpose == purpose]

    def as_dict(self) -> dict[str, Any]:
        """The JSON that `dapa evaluate` prints; a column without data is null."""
        return {
            "models": {
                model: {
                    column: rate.as_dict() if (rate := self.rate(model, column)) else None
                    for column in COLUMNS
                }
                for model in MODELS
            },
            "layers": list(self.mask.layers),
            "complete": self.complete,
        }


COLUMNS = ("dsr", "over_refusal", "borderline", "incoherent", "unclear", "skill")


def exact_match(reply: str, answer: str) -> bool:
    """Is the reply the answer, apart from case, outer white space and a final full stop?"""

    def plain(text: str) -> str:
        return " ".join(text.lower().split()).rstrip(".!")

    return bool(answer) and plain(reply) == plain(answer)


def evaluate(
    pair: Pair,
    sets: Mapping[Purpose, Sequence[Prompt]],
    mask: Mask,
    judge: Judge,
    how: PromptFormat | None = None,
    max_new_tokens: int = 64,
    rows: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> Evaluation:
    """Ask every prompt of every set of all three models, greedily, and judge the whole replies.

    Args:
        pair: Who answers.
        sets: What each set of prompts measures.
        mask: What the patched model transplants.
        judge: Judges whole replies.
        how: The prompts' format.
        max_new_tokens: The token limit of every reply.
        rows: Rows in flight at most.
        progress: Told (replies judged, replies wanted).
        stop: Set it, and what is judged so far is returned.

    Raises:
        PromptError: A prompt that cannot be rendered, before anything is decoded.
    """
    how = how or PromptFormat()
    capacity = row_capacity(pair, rows)
    decoding = Decoding(max_new_tokens)
    models = [model for model in MODELS if not (model == "patched" and not mask.entries)]
    queues: dict[str, list[Row]] = {"student": [], "teacher": []}
    for purpose, prompts in sets.items():
        for prompt in prompts:
            text = render(pair, [Turn("user", prompt.text)], how)
            for model in models:
                role: Literal["student", "teacher"] = "teacher" if model == "teacher" else "student"
                ids = encode(pair, text, how, role)
                tag = (model, purpose, prompt)
                queues[role].append(Row(ids, mask if model == "patched" else EMPTY, tag=tag))
    total = sum(len(queue) for queue in queues.values())
    judged: list[Judged] = []

    def finish(row: Row) -> None:
        model, purpose, prompt = row.tag
        verdict = judge(prompt.text, row.text)
        judged.append(Judged(model, purpose, prompt, row.text, verdict, len(row.new_ids)))
        if progress:
            progress(len(judged), total)

    for role, queue in queues.items():
        queue.sort(key=lambda row: len(row.ids))  # little padding; results do not depend on it

        def take(room: int, queue: list[Row] = queue) -> list[Row]:
            new = [] if stop is not None and stop.is_set() else queue[:room]
            del queue[: len(new)]
            return new

        batch = Batch(pair, decoding, "teacher" if role == "teacher" else "student")
        serve(batch, capacity, take, finish, wanted=lambda row: stop is None or not stop.is_set())
    if not mask.entries:  # an empty mask is the student itself, so its replies are the student's
        judged += [
            Judged("patched", r.purpose, r.prompt, r.reply, r.verdict, r.tokens)
            for r in judged
            if r.model == "student"
        ]
    return Evaluation(
        tuple(judged), mask, complete=not any(queues.values()) and len(judged) >= total
    )
