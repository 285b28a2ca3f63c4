"""One request to student, patched and teacher side by side, streamed together.

Student and patched are two rows of one batch; the teacher is stepped beside them. Every pane has
its own history, the same rendered format, decoding and seed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dapa.judges.base import Judge
from dapa.model.generation import Batch, Ending, Row, stream, visible
from dapa.model.pair import Pair
from dapa.model.prompting import PromptFormat, Turn, encode, render
from dapa.model.sampling import Decoding
from dapa.records import EMPTY, Mask, SettingError, Verdict

PaneName = Literal["student", "patched", "teacher"]
PANES: tuple[PaneName, ...] = ("student", "patched", "teacher")


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

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Exchange:
    """All panes at one moment."""

    prompt: str
    rendered: str
    """What the patched pane's model really read."""
    panes: tuple[Pane, ...]
    steps: int
    """Decode steps made so far, over both models."""

    def pane(self, name: PaneName) -> Pane:
        """The pane of this name."""
        return next(pane for pane in self.panes if pane.name == name)


def converse(
    pair: Pair,
    turns: Mapping[PaneName, Sequence[Turn]],
    mask: Mask,
    judge: Judge,
    how: PromptFormat | None = None,
    decoding: Decoding | None = None,
    seed: int = 0,
    stop: threading.Event | None = None,
) -> Iterator[Exchange]:
    """Ask the panes in `turns`, and yield after every round of tokens.

    Args:
        pair: Who answers.
        turns: The conversation of each pane asked, ending with the user's request.
        mask: What the patched pane transplants.
        judge: Judges each reply when it has ended.
        how: The prompt's format.
        decoding: The same for all panes.
        seed: The same for all panes, so equal models give equal replies.
        stop: Set it, and decoding halts before the next step.

    Raises:
        PromptError, SettingError: Before anything is decoded.
    """
    if not turns:
        raise SettingError("no pane to ask; choose student, patched or teacher")
    how, decoding = how or PromptFormat(), decoding or Decoding()
    pair.validate(mask)
    rows: dict[PaneName, Row] = {}
    rendered = ""
    for name, history in turns.items():
        role: Literal["student", "teacher"] = "teacher" if name == "teacher" else "student"
        rendered = render(pair, history, how)
        ids = encode(pair, rendered, how, role)
        rows[name] = Row(ids, mask if name == "patched" else EMPTY, seed, tag=name)
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
                    verdicts[name] = judge(prompt, row.text)
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
                )
            )
        return Exchange(prompt, rendered, tuple(panes), sum(batch.steps for batch in batches))

    for batch, names in zip(batches, (("student", "patched"), ("teacher",)), strict=True):
        batch.admit([row for name, row in rows.items() if name in names])
        yield look()  # the first pane's text shows before the teacher has read the prompt
    for _ in stream(batches, stop):
        yield look()
