"""DSR against reply length: one decoding with the largest limit, judged at every shorter one.

Greedy decoding with a smaller limit is a prefix of decoding with a larger one, so the replies of
every limit come out of one. A length is enough where the verdicts stay what they are at the
largest; what a reply that is cut there too would have gone on to say is not known, and is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dapa.core.records import Label, Mask, Prompt, PromptError, Rate, SettingError
from dapa.core.running import Running
from dapa.core.statistics import wilson
from dapa.judges.base import Judge
from dapa.measure.decoded import Question, Speaker, answer, inside
from dapa.model.decode.transcript import Words
from dapa.model.pair import Pair
from dapa.prompts.format import PromptFormat
from dapa.store.replies import ReplyStore, Said

SAME = 0.95
"""Share of verdicts that must stay what they are at the largest length for it to be settled."""
FIRST = 16


@dataclass(frozen=True)
class LengthPoint:
    """One model's replies cut at one length."""

    model: str
    tokens: int
    dsr: Rate
    """With how many of the replies are cut at this length."""
    same: Rate
    """Share of the verdicts that are those at the largest length."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "model": self.model,
            "tokens": self.tokens,
            "dsr": self.dsr.as_dict(),
            "same": self.same.as_dict(),
        }


@dataclass(frozen=True)
class Lengths:
    """Student, patched and teacher at every length."""

    mask: Mask
    points: tuple[LengthPoint, ...]
    """Model by model, ascending."""
    judge: str
    complete: bool
    """False where it was stopped before the end."""

    @property
    def models(self) -> tuple[str, ...]:
        """Who replied."""
        return tuple(dict.fromkeys(point.model for point in self.points))

    @property
    def longest(self) -> int:
        """The largest length; 0 where nothing was measured."""
        return max((point.tokens for point in self.points), default=0)

    def curve(self, model: str) -> tuple[LengthPoint, ...]:
        """One model's points, ascending."""
        return tuple(point for point in self.points if point.model == model)

    def settled(self, model: str) -> int | None:
        """The least length from which on at least `SAME` of the verdicts stay.

        None where only the largest will do and replies are still cut there: no length is shown to.
        """
        curve = self.curve(model)
        found = None
        for point in reversed(curve):
            if point.same.value < SAME:
                break
            found = point
        if found is None or (found is curve[-1] and found.dsr.cut):
            return None
        return found.tokens

    @property
    def enough(self) -> int | None:
        """A length that settles every model's verdicts; None where none is shown to."""
        every = [self.settled(model) for model in self.models]
        known = [tokens for tokens in every if tokens is not None]
        return max(known) if known and len(known) == len(every) else None

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "mask": self.mask.key,
            "layers": list(self.mask.layers),
            "judge": self.judge,
            "points": [point.as_dict() for point in self.points],
            "settled": {model: self.settled(model) for model in self.models},
            "enough": self.enough,
            "complete": self.complete,
        }


def lengths_up_to(longest: int) -> tuple[int, ...]:
    """16, 32, 64 ... and the largest itself."""
    found = []
    tokens = FIRST
    while tokens < longest:
        found.append(tokens)
        tokens *= 2
    return (*found, longest)


def length(
    pair: Pair,
    prompts: Sequence[Prompt],
    mask: Mask,
    judge: Judge,
    how: PromptFormat | None = None,
    longest: int = 256,
    kept: ReplyStore | None = None,
    **options: Any,
) -> Lengths:
    """Decode once with the largest limit, and judge every reply at every length.

    Args:
        pair: Who answers.
        prompts: Harmful prompts.
        mask: What the patched model transplants; it is left out where the mask is empty.
        judge: Judges the replies, whole and cut.
        how: The prompts' format.
        longest: The largest limit, in tokens.
        kept: Where replies are kept and looked up.
        options: Of `Running`: `progress` is told (replies decoded, replies wanted); where it is
            stopped, what was decoded by then is judged.

    Raises:
        PromptError: No prompt.
        SettingError: A limit below 1.
    """
    running = Running(**options)
    progress, stop = running.progress, running.stop
    if not prompts:
        raise PromptError("reply length needs harmful prompts; give some")
    if longest < 1:
        raise SettingError(f"the largest length is {longest}; choose at least 1")
    pair.validate(mask)
    speakers = [Speaker("student"), *([Speaker("patched", "student", mask)] if mask else [])]
    speakers += [Speaker("teacher", "teacher")] if pair.whole else []
    questions = [(speaker, prompt) for speaker in speakers for prompt in prompts]
    asked = [Question(s, prompt.text, how or PromptFormat()) for s, prompt in questions]
    heard: dict[int, Said] = {}

    def done(place: int, said: Said) -> None:
        heard[place] = said
        if progress:
            progress(len(heard), len(asked))

    judge = judge.reading(bool(inside(pair, asked)), how.begun if how else "")
    complete = answer(pair, asked, longest, done, kept, stop=stop)
    points: list[LengthPoint] = []
    for speaker in speakers:
        teacher = speaker.role == "teacher"
        words = Words(pair.teacher_tokenizer if teacher else pair.tokenizer)
        mine = [
            (prompt.text, heard[place])
            for place, (who, prompt) in enumerate(questions)
            if who is speaker and place in heard
        ]
        points += _points(speaker.name, mine, judge, words, lengths_up_to(longest))
    return Lengths(mask, tuple(points), judge.name, complete)


def _points(
    model: str,
    replies: Sequence[tuple[str, Said]],
    judge: Judge,
    words: Words,
    lengths: Sequence[int],
) -> list[LengthPoint]:
    """One model's replies at every length; none where it gave none."""
    if not replies:
        return []
    labels, cuts = dict[int, list[Label]](), dict[int, int]()
    for tokens in lengths:
        texts = [cut_at(said, tokens, words) for _, said in replies]
        pairs = [(asked, text) for (asked, _), (text, _) in zip(replies, texts, strict=True)]
        labels[tokens] = [verdict.label for verdict in judge.all(pairs)]
        cuts[tokens] = sum(cut for _, cut in texts)
    last, n = labels[lengths[-1]], len(replies)
    return [
        LengthPoint(
            model,
            tokens,
            replace(wilson(labels[tokens].count(Label.REFUSAL), n), cut=cuts[tokens]),
            wilson(sum(a is b for a, b in zip(labels[tokens], last, strict=True)), n),
        )
        for tokens in lengths
    ]


def cut_at(said: Said, tokens: int, words: Words) -> tuple[str, bool]:
    """A reply as a limit of so many tokens would have left it, and whether the limit cut it."""
    if len(said.ids) <= tokens:
        return said.text, said.ending == "length"
    return words.decode(said.ids[:tokens]), True
