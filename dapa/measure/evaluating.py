"""Fill the one table: ask, judge, keep, then measure what needs no reply."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dapa.core.records import EMPTY, Mask, Prompt, PromptError, SettingError, Verdict
from dapa.core.running import Running
from dapa.judges.base import Judge
from dapa.judges.harm import Harm, HarmJudge
from dapa.judges.reply_parts import answer_text
from dapa.measure.decoded import Question, Speaker, answer, inside
from dapa.measure.evaluation import WRAP, Evaluation, Judged, ordered, speakers_of
from dapa.measure.evaluation_settings import Purpose
from dapa.measure.perplexity import STRIDE, WINDOW, Perplexity, perplexity
from dapa.measure.utility import Drift, Utility
from dapa.measure.wraps import wraps as all_wraps
from dapa.model.pair import Pair
from dapa.model.substitution import Substituted
from dapa.prompts.format import PromptFormat
from dapa.search.engine.control import Halted
from dapa.store.database import digest
from dapa.store.replies import ReplyStore, Said

CHUNK = 32
"""Replies that a judge is given at a time."""
PERPLEXITY = "perplexity"
"""Under what the store keeps them."""
KL_PROMPTS = 64
"""Harmless prompts that KL is measured on at most."""
Tasks = Callable[[Pair, Speaker], Mapping[str, Any]]
"""lm-eval tasks of one column; see `lmtasks`."""


@dataclass(frozen=True, eq=False)
class TablePlan:
    """Everything that an evaluation is told; what is left out is not measured."""

    mask: Mask = EMPTY
    """What the patched model transplants."""
    saved: Mapping[str, Mask] = field(default_factory=dict)
    """Further columns by name."""
    wraps: Sequence[str] = ()
    """Wraps of the harmful prompts, by name."""
    text: tuple[str, str] | None = None
    """(name, text) for perplexity."""
    kl: bool = False
    tasks: Tasks | None = None
    how: PromptFormat = field(default_factory=PromptFormat)
    max_new_tokens: int = 64
    rows: int | None = None

    def __post_init__(self) -> None:
        """SettingError for names that are taken or unknown."""
        for name in self.saved:
            if not name.strip() or name in ("student", "patched", "teacher"):
                raise SettingError(f"a mask cannot be called {name!r}; give it another name")
        for name in self.wraps:
            all_wraps[name]


@dataclass(frozen=True, kw_only=True)
class AskOptions(Running):
    """What filling the table takes besides; `progress` is told (replies judged, replies wanted)."""

    how: PromptFormat = PromptFormat()
    """The prompts' format, where no plan brings one."""
    max_new_tokens: int = 64
    """The token limit of every reply, where no plan brings one."""
    harm: HarmJudge | None = None
    """The second axis."""
    kept: ReplyStore | None = None
    """Where replies are kept, and looked up."""
    told: Callable[[Sequence[Judged]], None] | None = None
    """Told of replies as they are judged."""
    phase: Callable[[str], None] | None = None
    """Told what is measured after the replies."""


def evaluate(
    pair: Pair,
    sets: Mapping[Purpose, Sequence[Prompt]],
    mask: Mask,
    judge: Judge,
    plan: TablePlan | None = None,
    **options: Any,
) -> Evaluation:
    """Ask every prompt of every set of all columns, greedily, and judge the whole replies.

    Args:
        pair: Who answers.
        sets: What each set of prompts measures.
        mask: What the patched model transplants.
        judge: Judges whole replies.
        plan: Further columns, wraps, text, KL and tasks; it brings mask, format and limits itself.
        options: Of `AskOptions`.

    Raises:
        PromptError: A prompt that cannot be rendered, before anything is decoded.
    """
    asked_for = AskOptions(**options)
    harm, kept, told, phase = asked_for.harm, asked_for.kept, asked_for.told, asked_for.phase
    progress, stop = asked_for.progress, asked_for.stop
    plan = plan or TablePlan(
        mask, how=asked_for.how, max_new_tokens=asked_for.max_new_tokens, rows=asked_for.rows
    )
    speakers = speakers_of(plan.mask, plan.saved, pair.whole)
    for speaker in speakers:
        pair.validate(speaker.mask)
    questions = list(_questions(sets, speakers, plan))
    replies: list[Judged | None] = [None] * len(questions)
    heard: dict[int, Said] = {}
    waiting: list[int] = []
    count = 0

    def flush() -> None:
        nonlocal count
        places = list(waiting)
        waiting.clear()
        hows = [questions[i][2].how for i in places]
        starts = [(how in opened, how.begun) for how in hows]
        pairs = [(questions[i][1].text, heard[i].text) for i in places]
        words = _judged(judge, pairs, starts)
        harms: Sequence[Harm | None] = [None] * len(pairs)
        if harm is not None:
            harms = harm.all(
                [
                    (ask, answer_text(said, *start))
                    for (ask, said), start in zip(pairs, starts, strict=True)
                ]
            )
        fresh = []
        for i, word, second, (thinks, begun) in zip(places, words, harms, starts, strict=True):
            purpose, prompt, asked = questions[i]
            name, said = asked.speaker.name, heard[i]
            fresh.append(
                Judged(
                    *(name, purpose, prompt, said.text, word, len(said.ids), second),
                    cut=said.ending == "length",
                    begun=begun,
                    inside=thinks,
                )
            )
            replies[i] = fresh[-1]
        count += len(fresh)
        if told:
            told(fresh)
        if progress:
            progress(count, len(questions))

    def done(place: int, said: Said) -> None:
        heard[place] = said
        waiting.append(place)
        if len(waiting) >= CHUNK:
            flush()

    asked = [question[2] for question in questions]
    opened = inside(pair, asked)
    complete = answer(pair, asked, plan.max_new_tokens, done, kept, plan.rows, stop)
    flush()
    words: dict[str, Perplexity] = {}
    drifts: dict[str, Drift] = {}
    tasks: dict[str, Mapping[str, Any]] = {}
    notes: list[str] = []
    if not pair.whole:
        notes.append("The teacher was not asked: lean memory holds only some of its sites.")
    utility = _utility(pair, questions, heard, plan) if plan.kl else None
    for speaker in speakers:
        if stop is not None and stop.is_set():
            complete = False
            break
        if phase:
            phase(f"perplexity, KL and tasks of {speaker.name}")
        if plan.text is not None:
            try:
                words[speaker.name] = _read(pair, speaker, plan.text, kept, stop)
            except Halted:
                complete = False
                break
        if utility is not None:
            whole = Substituted(pair, "teacher", {}, "whole") if speaker.role == "teacher" else None
            try:
                drifts[speaker.name] = utility.drift(speaker.mask, whole)
            except PromptError as error:  # its vocabulary lacks a token of a reply
                notes.append(f"No KL for {speaker.name}: {error}.")
        if plan.tasks is not None:
            tasks[speaker.name] = plan.tasks(pair, speaker)
    return Evaluation(
        ordered(replies),
        plan.mask,
        complete,
        speakers,
        words,
        drifts,
        tasks,
        judge.reading(plan.how in opened, plan.how.begun).name,
        tuple(notes),
        limit=plan.max_new_tokens,
    )


def _judged(
    judge: Judge, pairs: Sequence[tuple[str, str]], starts: Sequence[tuple[bool, str]]
) -> list[Verdict]:
    """Verdicts in their order; `starts` says inside a thought? and which words went before."""
    found = dict[int, Verdict]()
    for each in sorted(set(starts)):
        places = [i for i, start in enumerate(starts) if start == each]
        said = judge.reading(*each).all([pairs[i] for i in places])
        found.update(zip(places, said, strict=True))
    return [found[i] for i in range(len(pairs))]


def _questions(
    sets: Mapping[Purpose, Sequence[Prompt]], speakers: Sequence[Speaker], plan: TablePlan
) -> list[tuple[str, Prompt, Question]]:
    """(measure, prompt, question) of every reply wanted, set by set and column by column."""
    found: list[tuple[str, Prompt, Question]] = []
    for speaker in speakers:
        for purpose, prompts in sets.items():
            for prompt in prompts:
                found.append((purpose, prompt, Question(speaker, prompt.text, plan.how)))
        for name in plan.wraps:
            wrap = all_wraps[name]
            for prompt in sets.get("dsr", ()):
                text, how = wrap.write(prompt.text), wrap.format(plan.how)
                found.append((WRAP + name, prompt, Question(speaker, text, how)))
    return found


def _read(
    pair: Pair,
    speaker: Speaker,
    text: tuple[str, str],
    kept: ReplyStore | None,
    stop: threading.Event | None,
) -> Perplexity:
    """A column's perplexity: a long text is read once, and kept; Halted where it was stopped."""
    name, words = text
    key = digest(pair.digest, speaker.role, speaker.mask.key, words, STRIDE, WINDOW)
    known = kept.store.rating(PERPLEXITY, key) if kept is not None else None
    if known is not None:
        return Perplexity(**{**known, "text": name})

    def going(share: float) -> None:
        if stop is not None and stop.is_set():
            raise Halted("stopped")

    found = perplexity(pair, words, speaker.mask, speaker.role, name, progress=going)
    if kept is not None:
        kept.store.rate(PERPLEXITY, key, found.as_dict())
    return found


def _utility(
    pair: Pair,
    questions: Sequence[tuple[str, Prompt, Question]],
    heard: Mapping[int, Said],
    plan: TablePlan,
) -> Utility | None:
    """KL on the student's replies to harmless prompts, which it has just given."""
    own = {
        prompt.text: heard[i].ids
        for i, (purpose, prompt, asked) in enumerate(questions)
        if purpose == "over_refusal" and asked.speaker.name == "student" and i in heard
    }
    texts = list(own)[:KL_PROMPTS]
    if not texts:
        return None
    utility = Utility(pair, texts, plan.how, plan.max_new_tokens)
    utility.replies = tuple(own[text] for text in texts)
    return utility
