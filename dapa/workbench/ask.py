"""Ask the models, judge what they say, measure it in one table: the wing of `dapa.measure`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dapa.chat.conversation import Exchange, PaneName, Voice, converse, panes_of
from dapa.core.records import EMPTY, DapaError, Label, Mask, Prompt, PromptError, Verdict
from dapa.judges.base import Judge, judges
from dapa.judges.choose import Panel, panel, read_options
from dapa.judges.remembered import remembered
from dapa.judges.rules.judge import rules
from dapa.measure.agreement import HUMAN, Agreement, agreement
from dapa.measure.chosen import mask_of_run, split_of_run
from dapa.measure.decoded import Question, Speaker, answer, inside
from dapa.measure.dose import Dose, dose
from dapa.measure.evaluating import evaluate
from dapa.measure.evaluation import Evaluation
from dapa.measure.evaluation_settings import EvaluationSettings, Parts, Purpose, evaluation_sets
from dapa.measure.other_sites import Site, other_sites
from dapa.measure.reproduce import reproduce
from dapa.measure.reproduce_records import Reproduced
from dapa.measure.run_evaluation import (
    perplexity_text,
    run_evaluation,
    stored_replies,
)
from dapa.model.decode.sampling import Decoding
from dapa.model.pair import Pair
from dapa.model.pair_loading import load_pair
from dapa.model.presets import Preset
from dapa.model.spec import PairSpec
from dapa.prompts.format import PromptFormat, Turn
from dapa.prompts.replies import Written, ruled_replies
from dapa.prompts.sets import PromptSet
from dapa.search.job import SearchJob
from dapa.search.priors import few
from dapa.search.settings import SearchSettings
from dapa.store.replies import ReplyStore
from dapa.workbench.holding import Holding, is_toy


class Asking(Holding):
    """Chat, judges, evaluation."""

    def chat(
        self,
        turns: Mapping[PaneName, Sequence[Turn]],
        mask: Mask,
        how: PromptFormat | None = None,
        decoding: Decoding | None = None,
        seed: int = 0,
        stop: threading.Event | None = None,
        judge: Judge | None = None,
        pair: Pair | None = None,
    ) -> Iterator[Exchange]:
        """Ask the panes named in `turns`; yields after every round of tokens.

        `pair` is whom to ask, for who must know it whatever is loaded meanwhile; the loaded one.
        """
        pair = pair or self.pair
        voice = Voice(how or PromptFormat(), decoding or Decoding(), seed)
        return converse(
            pair, turns, mask, judge or rules(), voice, stop, lambda role: self._openers(pair, role)
        )

    def generate(
        self, prompt: str, mask: Mask, how: PromptFormat | None = None, **options: Any
    ) -> Exchange:
        """One request to all three (without the teacher in lean memory), to the end."""
        turns = {name: [Turn("user", prompt)] for name in panes_of(self.pair)}
        *_, exchange = self.chat(turns, mask, how, **options)
        return exchange

    def replies(
        self,
        prompts: Sequence[str],
        mask: Mask,
        how: PromptFormat | None = None,
        max_new_tokens: int = 48,
        teacher: bool = True,
    ) -> dict[str, list[tuple[str, str, Verdict]]]:
        """Prompt -> (who, reply, the rules' verdict) of student, patched and teacher.

        Greedy, and kept in the store: the same again decodes nothing. The patched model is left out
        where the mask is empty, and the teacher where it is not asked for.
        """
        pair, judge = self.pair, rules()
        speakers = [Speaker("student")]
        if mask.entries:
            pair.validate(mask)
            speakers.append(Speaker("patched", "student", mask))
        if teacher:
            speakers.append(Speaker("teacher", "teacher"))
        form = how or PromptFormat()
        asked = [Question(speaker, prompt, form) for prompt in prompts for speaker in speakers]
        judge = judge.reading(bool(inside(pair, asked)), form.begun)
        found: dict[int, str] = {}
        answer(
            pair, asked, max_new_tokens, lambda i, said: found.update({i: said.text}),
            ReplyStore(self.store),
        )  # fmt: skip
        told: dict[str, list[tuple[str, str, Verdict]]] = {}
        for i, question in enumerate(asked):
            text = found.get(i, "")
            line = (question.speaker.name, text, judge(question.text, text))
            told.setdefault(question.text, []).append(line)
        return told

    @staticmethod
    def panel(
        names: Sequence[str] = ("rules",),
        options: Sequence[str] = (),
        harm: str | None = None,
        harm_options: Sequence[str] = (),
    ) -> Panel:
        """The judges called `names`, options as `KEY=VALUE` texts; see `judges.choose`.

        An endpoint's address is for whoever starts the program to give, never for a visitor.
        """
        return panel(names, read_options(options), harm, read_options(harm_options))

    def remembering(self, judge: Judge) -> Judge:
        """The same judge, asked once about each text: its words are kept in the store."""
        return remembered(judge, ReplyStore(self.store))

    def ruled(self) -> tuple[Written, ...]:
        """The replies that people ruled on in the chat, with their word."""
        return ruled_replies(self.store.ratings("ruling"))

    def agreement(
        self, rows: Sequence[Written], names: Sequence[str], options: Sequence[str] = ()
    ) -> Agreement:
        """Judges against each other, and against people where the rows have a person's word."""
        pairs = [(row.prompt, row.reply) for row in rows]
        said: dict[str, Sequence[Verdict | Label | None]] = {
            judge.name: judge.all(pairs) for judge in self.panel(names, options).judges
        }
        if any(row.human for row in rows):
            said[HUMAN] = [row.human for row in rows]
        return agreement(said)

    def evaluation_sets(
        self, harmful: str | Path | None = None, harmless: str | Path | None = None
    ) -> dict[Purpose, tuple[Prompt, ...]]:
        """The sets that `evaluate` asks; see `evaluations.evaluation_sets`."""
        first, second = (None if f is None else str(f) for f in (harmful, harmless))
        return evaluation_sets(self._find, EvaluationSettings(prompts=first, harmless=second))

    def evaluate(
        self,
        mask: Mask = EMPTY,
        sets: Mapping[Purpose, Sequence[Prompt]] | None = None,
        judge: str = "rules",
        **options: Any,
    ) -> Evaluation:
        """Prompt sets through the three models, kept in no run; options as in `measure`."""
        self.pair.validate(mask)
        return evaluate(
            self.pair,
            self.evaluation_sets() if sets is None else sets,
            mask,
            judges[judge](),
            **options,
        )

    @property
    def has_skill(self) -> bool:
        """Is there a set of skill prompts that suits the loaded pair?"""
        return bool(self.asked_sets(EvaluationSettings()).get("skill"))

    def skill(self, mask: Mask, **options: Any) -> Evaluation:
        """The skill prompts that an evaluation asks, and no others; kept in no run.

        Raises:
            PromptError: No skill prompts suit the loaded pair.
        """
        asked = self.asked_sets(EvaluationSettings()).get("skill")
        if not asked:
            raise PromptError("no skill prompts suit this pair; give a set of them in Evaluate")
        return self.evaluate(mask, {"skill": asked}, **options)

    def elsewhere(self, job: SearchJob, stop: threading.Event | None = None) -> tuple[Site, ...]:
        """Where refusal may lie instead, for a search that found nothing: other kinds of site."""
        texts = few([prompt.text for prompt in job.prompts])
        settings = job.settings
        return other_sites(self.pair, settings.kind, texts, settings.format(), stop)

    def evaluation(
        self,
        settings: EvaluationSettings,
        progress: Callable[[str, float | None], None] | None = None,
        stop: threading.Event | None = None,
        run_id: str | None = None,
        sets: Mapping[Purpose, Sequence[Prompt]] | None = None,
        pair: Pair | None = None,
    ) -> Evaluation:
        """The whole table, kept as a run with every reply; the same again decodes nothing.

        `pair` is whom to ask, whatever is loaded by then; its `sets` must be given with it.
        """
        asked = self.asked_sets(settings) if sets is None else sets
        pair = pair or self.pair
        toy = is_toy(pair)
        return run_evaluation(pair, self.store, settings, asked, toy, progress, stop, run_id)

    def asked_sets(self, settings: EvaluationSettings) -> dict[Purpose, tuple[Prompt, ...]]:
        """What an evaluation with these settings asks, by what it measures."""
        find = partial(self._find, column=settings.prompt_column)
        if not settings.run:
            return evaluation_sets(find, settings)
        mask, run = Mask.parse(settings.mask), settings.run
        divide = partial(self.parts_of, run, mask)
        return evaluation_sets(find, settings, divide=divide)

    def of_run(self, settings: EvaluationSettings) -> EvaluationSettings:
        """The same with the run's own set and prompts where none are named."""
        if not settings.run:
            return settings
        run = self.store.run(settings.run)
        if not settings.mask:
            settings = replace(settings, mask=mask_of_run(run).key)
        chosen = SearchSettings.from_dict(run.settings)
        if settings.prompts is None and chosen.prompts is not None:
            column = settings.prompt_column or chosen.prompt_column
            settings = replace(settings, prompts=chosen.prompts, prompt_column=column)
        return settings

    def found_by(self, run_id: str, mask: Mask) -> bool:
        """Did this stored search find the mask's units on the loaded pair?"""
        try:
            run = self.store.run(run_id)
            found = mask_of_run(run)
            spec = PairSpec(**SearchSettings.from_dict(run.settings).pair)
        except (DapaError, TypeError):  # another store's run, no search, or one of a newer version
            return False
        same = (spec.student, spec.teacher) == (self.pair.spec.student, self.pair.spec.teacher)
        return same and self.made(run) and set(found.units) == set(mask.units)

    def parts_of(self, run_id: str, mask: Mask, prompts: PromptSet) -> Parts | None:
        """How a stored search divided prompts; see `measure.chosen.split_of_run`."""
        return split_of_run(self.store.run(run_id), prompts, mask, self.pair)

    def resume_evaluation(self, run_id: str, **options: Any) -> Evaluation:
        """A stored evaluation, started again: what it had asked is answered from the store."""
        settings = EvaluationSettings.from_dict(self.store.run(run_id).settings)
        if self._pair is None:
            self.load_again(settings.pair)
        return self.evaluation(settings, run_id=run_id, **options)

    def reproduce(
        self,
        chosen: Sequence[Preset],
        settings: SearchSettings,
        text: str | None = None,
        **options: Any,
    ) -> Reproduced:
        """Pairs through search and table, one after the other; the loaded pair stays as it is.

        Args:
            chosen: The pairs.
            settings: How each is searched.
            text: As in `EvaluationSettings`.
            options: As in `measure.reproduce`.
        """

        def prompts(pair: Pair) -> PromptSet:
            return Holding(self.run_dir, pair).prompts(
                settings.prompts, "harmful", settings.prompt_column
            )

        def words(pair: Pair) -> tuple[str, str] | None:
            return perplexity_text(pair, text, Holding(self.run_dir, pair).is_toy)[0]

        load = partial(load_pair, workers=settings.beside)
        return reproduce(chosen, load, prompts, self.store, settings, text=words, **options)

    def evaluation_replies(
        self, run_id: str, model: str | None = None, measure: str | None = None
    ) -> list[dict[str, Any]]:
        """The replies behind a stored evaluation's cell; see `evaluations.stored_replies`."""
        return stored_replies(self.store, run_id, model, measure)

    def dose(self, prompts: Sequence[Prompt], mask: Mask, **options: Any) -> Dose:
        """Strength against DSR, a set beside a sham; options as in `measure.dose`."""
        return dose(self.pair, prompts, mask, self.store, **options)
