"""The facade: owns the pair, the store and the background jobs.

Screen, command line and Python all ask here, so whatever one can do the others can too. A pair is
swapped whole: a load that fails or is cancelled leaves the previous pair in place.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from dapa.conversation import Exchange, PaneName, converse, panes_of
from dapa.evaluations import (
    EvaluationSettings,
    evaluation_sets,
    perplexity_text,
    run_evaluation,
    stored_replies,
)
from dapa.judges.base import Judge, judges
from dapa.judges.choose import Panel, panel, read_options
from dapa.judges.remembered import remembered
from dapa.judges.rules import rules
from dapa.localize.directions import DirectionMap, refusal_directions
from dapa.localize.divergence import DivergenceMap, TokenMap, divergence, token_map
from dapa.localize.effects import (
    Effects,
    Interactions,
    WhatIfs,
    interactions,
    left_out_effects,
    single_effects,
    what_if,
)
from dapa.localize.gap import GapBudget, gap_budget
from dapa.localize.gradients import GradientMap, integrated_gradients
from dapa.localize.patching import PatchMap, patching
from dapa.localize.projection import Projection, project
from dapa.localize.summary import Summary, summary
from dapa.localize.traces import TokenTrace, TraceMap
from dapa.localize.tracing import causal_trace, token_trace
from dapa.localize.weights import WeightMap, weight_map
from dapa.measure.agreement import HUMAN, Agreement, agreement
from dapa.measure.baselines import Baselines, baselines
from dapa.measure.categories import CategoryMap, categories
from dapa.measure.dose import Dose, dose
from dapa.measure.evaluating import evaluate
from dapa.measure.evaluation import Evaluation, Purpose
from dapa.measure.necessity import Necessity, necessity
from dapa.measure.placebos import Placebos, placebos
from dapa.measure.reproduce import reproduce
from dapa.measure.reproduced import Reproduced
from dapa.measure.utility import Utility, utility_of
from dapa.model.compatibility import Report, check
from dapa.model.loading import Progress, open_checkpoint
from dapa.model.machine import choose_device, choose_dtype
from dapa.model.memory import MemoryEstimate, estimate_memory, parse_memory
from dapa.model.openers import Openers, Role, find_openers
from dapa.model.pair import Pair, PairSpec, Share, load_pair
from dapa.model.presets import DEFAULT, Preset, preset, presets, released_layers
from dapa.model.prompting import PromptFormat, Turn
from dapa.model.sampling import Decoding
from dapa.prompts import PromptSet, bundled, read_prompts
from dapa.records import EMPTY, Label, Mask, PairError, Prompt, Unit, Verdict
from dapa.replyfiles import Written, ruled_replies
from dapa.replystore import ReplyStore
from dapa.search.estimate import Estimate, estimate
from dapa.search.job import SearchJob, SearchSettings
from dapa.search.pareto import Point, pareto
from dapa.search.priors import few, opening_ids, weight_distance
from dapa.search.stability import Stability, stability
from dapa.store import FILE as RUN_FILE
from dapa.store import Store

RUN_DIR = Path("runs")
TOY_SETS = {
    "harmful": "toy_harmful",
    "harmless": "toy_twins",
    "borderline": "toy_borderline",
    "skill": "toy_skill",
}
GENERAL_SETS = {
    "harmful": "general_harmful",
    "harmless": "general_twins",
    "borderline": "general_borderline",
}


class Workbench:
    """One pair, one store, any number of jobs and conversations at once."""

    def __init__(self, run_dir: Path | str = RUN_DIR, pair: Pair | None = None) -> None:
        """Remember where the run store is; `store` opens it."""
        self.run_dir = Path(run_dir)
        self._pair = pair
        self._loading = threading.Lock()
        self._jobs: dict[str, SearchJob] = {}
        self._known_openers: WeakKeyDictionary[Pair, dict[Role, Openers]] = WeakKeyDictionary()

    @cached_property
    def store(self) -> Store:
        """The run store in `run_dir`, made if missing; StoreError if it cannot be used."""
        return Store(self.run_dir)

    # -- the pair ---------------------------------------------------------------------------

    @property
    def pair(self) -> Pair:
        """The loaded pair; PairError if there is none yet."""
        if self._pair is None:
            raise PairError("no pair is loaded; choose one first")
        return self._pair

    @property
    def loaded(self) -> bool:
        """Is there a pair?"""
        return self._pair is not None

    @staticmethod
    def spec(
        name: str | None = None,
        student: str | None = None,
        teacher: str | None = None,
        dtype: str = "auto",
        device: str = "auto",
        memory: str = "auto",
    ) -> PairSpec:
        """What to load, from a preset's name or from two models; DapaError if neither is whole."""
        parse_memory(memory)
        if student is not None or teacher is not None:
            if name:
                raise PairError("give a pair's name or a student and a teacher, not both")
            if not (student and teacher):
                missing = "teacher" if student else "student"
                raise PairError(f"a pair needs two models; name the {missing} too")
            return PairSpec(student, teacher, "", dtype, device, memory)
        return preset(DEFAULT if name is None else name).spec(dtype, device, memory)

    @staticmethod
    def presets() -> Mapping[str, Any]:
        """Every named pair."""
        return presets()

    def check(self, spec: PairSpec) -> Report:
        """The compatibility report, before any model is built."""
        return check(open_checkpoint(spec.student), open_checkpoint(spec.teacher))

    def memory(self, spec: PairSpec) -> MemoryEstimate | None:
        """What the pair would take, from headers; None for two models that make no pair."""
        device = choose_device(spec.device)
        ours, theirs = open_checkpoint(spec.student), open_checkpoint(spec.teacher)
        return estimate_memory(ours, theirs, spec.memory, choose_dtype(spec.dtype, device), device)

    def load(self, spec: PairSpec, progress: Progress | None = None) -> Pair:
        """Load a pair and put it in the previous one's place once it is whole."""
        with self._loading:
            pair = load_pair(spec, progress)
            self._pair = pair
            gc.collect()  # models hold themselves in circles; the previous pair goes now
        return pair

    def share(self, mask: Mask) -> Share:
        """How much of the student the mask replaces."""
        self.pair.validate(mask)
        return self.pair.share(mask)

    def released(self) -> tuple[tuple[int, ...], bool]:
        """The released scripts' layers for this pair, and whether they were scaled by depth."""
        pair = self.pair
        return released_layers(pair.family.model_type, pair.spec.student, pair.n_layers)

    # -- prompts ----------------------------------------------------------------------------

    @property
    def is_toy(self) -> bool:
        """Does the loaded pair live in the toy world?"""
        return self.pair.spec.name.startswith("toy-")

    def sets(self) -> Mapping[str, str]:
        """Role -> the bundled set that suits this pair: the toy world's or the general one."""
        return TOY_SETS if self.is_toy else GENERAL_SETS

    def prompts(self, source: str | Path | None = None, role: str = "harmful") -> PromptSet:
        """A prompt set: a bundled one by name, a file, or this pair's default for the role."""
        if source is None:
            source = self.sets()[role]
        known = bundled()
        if str(source) in known:
            return known[str(source)]
        return read_prompts(source, role)

    def library(self) -> list[PromptSet]:
        """The bundled sets that suit this pair."""
        known = bundled()
        return [known[name] for name in self.sets().values() if name in known]

    # -- see, ask, measure ------------------------------------------------------------------

    def divergence(self, prompts: Sequence[str], **options: Any) -> DivergenceMap:
        """Where the two models part; options as in `localize.divergence.divergence`."""
        return divergence(self.pair, prompts, options.pop("how", PromptFormat()), **options)

    def token_map(self, prompt: str, **options: Any) -> TokenMap:
        """Where the two models part along one prompt; options as in `localize.divergence`."""
        return token_map(self.pair, prompt, options.pop("how", PromptFormat()), **options)

    def weights(
        self, spec: PairSpec | None = None, seed: int = 0, *how: Any, ranks: bool = True
    ) -> WeightMap:
        """How far the weights are apart, read from the files; the loaded pair's if none is named.

        `how` is the listener and the stop event of `localize.weights.weight_map`.
        """
        spec = spec or self.pair.spec
        sides = (open_checkpoint(spec.student), open_checkpoint(spec.teacher))
        return weight_map(*sides, spec.title, seed, *how, ranks=ranks)

    def gap(self, prompts: Sequence[str], **options: Any) -> GapBudget:
        """Where the refusal gap sits at all; options as in `localize.gap.gap_budget`."""
        return gap_budget(self.pair, prompts, options.pop("how", PromptFormat()), **options)

    def opening_ids(
        self, prompts: Sequence[str], units: Sequence[Unit], how: PromptFormat | None = None
    ) -> list[tuple[int, ...]]:
        """Prompts as tokens up to a reply's first word: what refusal log-odds are read behind."""
        return opening_ids(self.pair, prompts, how or PromptFormat(), units)

    def gradients(
        self, prompts: Sequence[str], units: Sequence[Unit], **options: Any
    ) -> GradientMap:
        """Each unit's share of the whole effect on refusal log-odds; `localize.gradients`."""
        ids = self.opening_ids(prompts, units, options.pop("how", None))
        return integrated_gradients(self.pair, ids, units, **options)

    def flips(
        self, prompts: Sequence[str], units: Sequence[Unit], **options: Any
    ) -> tuple[Effects, Effects]:
        """True single flips: each unit alone, and each left out; options as in `localize`."""
        ids = self.opening_ids(prompts, units, options.pop("how", None))
        return (
            single_effects(self.pair, ids, units, **options),
            left_out_effects(self.pair, ids, units, **options),
        )

    def interaction(
        self, prompts: Sequence[str], units: Sequence[Unit], **options: Any
    ) -> Interactions:
        """How far each two units' effects do not add up; options as in `localize.effects`."""
        ids = self.opening_ids(prompts, units, options.pop("how", None))
        return interactions(self.pair, ids, units, **options)

    def trace(self, prompts: Sequence[Prompt], **options: Any) -> TraceMap:
        """Which of the teacher's layers bring refusal back; options as in `localize.tracing`."""
        return causal_trace(self.pair, prompts, options.pop("how", PromptFormat()), **options)

    def token_trace(self, prompt: Prompt, **options: Any) -> TokenTrace:
        """The same along one prompt; options as in `localize.tracing.token_trace`."""
        return token_trace(self.pair, prompt, options.pop("how", PromptFormat()), **options)

    def patching(self, prompts: Sequence[str], **options: Any) -> PatchMap:
        """The teacher's activations in the student; options as in `localize.patching`."""
        return patching(self.pair, prompts, options.pop("how", PromptFormat()), **options)

    def directions(
        self, harmful: Sequence[str], harmless: Sequence[str], **options: Any
    ) -> DirectionMap:
        """Each pane along the refusal direction; options as in `localize.directions`."""
        how = options.pop("how", PromptFormat())
        return refusal_directions(self.pair, harmful, harmless, how, **options)

    def projection(
        self, harmful: Sequence[str], harmless: Sequence[str], **options: Any
    ) -> Projection:
        """Prompts in two dimensions, layer by layer; options as in `localize.projection`."""
        how = options.pop("how", PromptFormat())
        return project(self.pair, harmful, harmless, how, **options)

    def likely_mask(self, kind: str = "gate") -> Mask:
        """What the newest stored search of this pair found, else every unit that differs."""
        found = self.newest_found(kind)
        return Mask.of(found[1] if found else self.pair.units(kind))

    def what_if(
        self,
        prompt: str,
        mask: Mask,
        kind: str = "gate",
        how: PromptFormat | None = None,
        before: Sequence[Turn] = (),
    ) -> WhatIfs:
        """Refusal probability if just one unit of `kind` were flipped (E12), in one batch.

        `before` are the turns of a conversation that the prompt goes on with.
        """
        pair = self.pair
        units = pair.units(kind)
        pair.validate(mask)
        (ids,) = opening_ids(pair, [prompt], how or PromptFormat(), units, before)
        return what_if(pair, ids, mask, units, self._openers(pair, "student"))

    def summary(self, prompts: Sequence[Prompt], kind: str = "gate", **options: Any) -> Summary:
        """Every measure by layer, beside what the newest stored search of this pair found."""
        how = options.pop("how", PromptFormat())
        found = self.newest_found(kind)
        return summary(self.pair, prompts, how, kind, weigh=weight_distance, found=found, **options)

    def newest_found(self, kind: str) -> tuple[str, tuple[Unit, ...]] | None:
        """The newest stored search of the loaded pair over these sites: its run and its units.

        None where there is no such run; reading makes no run folder.
        """
        if not (self.run_dir / RUN_FILE).is_file():
            return None
        mine = _models(self.pair.spec.student, self.pair.spec.teacher)
        for run in self.store.runs():
            spec, units = run.settings.get("pair") or {}, (run.result or {}).get("units")
            theirs = _models(str(spec.get("student")), str(spec.get("teacher")))
            if units is not None and theirs == mine and run.settings.get("kind") == kind:
                return run.id, tuple(map(Unit.parse, units))
        return None

    def chat(
        self,
        turns: Mapping[PaneName, Sequence[Turn]],
        mask: Mask,
        how: PromptFormat | None = None,
        decoding: Decoding | None = None,
        seed: int = 0,
        stop: threading.Event | None = None,
        judge: Judge | None = None,
    ) -> Iterator[Exchange]:
        """Ask the panes named in `turns`; yields after every round of tokens."""
        pair = self.pair
        return converse(
            pair, turns, mask, judge or rules(), how, decoding, seed, stop,
            lambda role: self._openers(pair, role),
        )  # fmt: skip

    def _openers(self, pair: Pair, role: Role) -> Openers:
        """A model's refusal openers, found once per loaded pair: a vocabulary takes a moment."""
        known = self._known_openers.setdefault(pair, {})
        if role not in known:
            known[role] = find_openers(pair, role)
        return known[role]

    def generate(
        self, prompt: str, mask: Mask, how: PromptFormat | None = None, **options: Any
    ) -> Exchange:
        """One request to all three (without the teacher in lean memory), to the end."""
        turns = {name: [Turn("user", prompt)] for name in panes_of(self.pair)}
        *_, exchange = self.chat(turns, mask, how, **options)
        return exchange

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
        files = (None if f is None else str(f) for f in (harmful, harmless))
        return evaluation_sets(self._find, EvaluationSettings("", {}, *files))

    def _find(self, source: str | None, role: str) -> PromptSet | None:
        """A set for a role, None where nothing stands for it."""
        return None if source is None and role not in self.sets() else self.prompts(source, role)

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

    def evaluation(
        self,
        settings: EvaluationSettings,
        progress: Callable[[str, float | None], None] | None = None,
        stop: threading.Event | None = None,
        run_id: str | None = None,
        sets: Mapping[Purpose, Sequence[Prompt]] | None = None,
    ) -> Evaluation:
        """The whole table, kept as a run with every reply; the same again decodes nothing."""
        asked = evaluation_sets(self._find, settings) if sets is None else sets
        return run_evaluation(
            self.pair, self.store, settings, asked, self.is_toy, progress, stop, run_id
        )

    def asked_sets(self, settings: EvaluationSettings) -> dict[Purpose, tuple[Prompt, ...]]:
        """What an evaluation with these settings asks, by what it measures."""
        return evaluation_sets(self._find, settings)

    def resume_evaluation(self, run_id: str, **options: Any) -> Evaluation:
        """A stored evaluation, started again: what it had asked is answered from the store."""
        settings = EvaluationSettings.from_dict(self.store.run(run_id).settings)
        if self._pair is None:
            self.load(PairSpec(**settings.pair))
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
            return Workbench(self.run_dir, pair).prompts(settings.prompts, "harmful")

        def words(pair: Pair) -> tuple[str, str] | None:
            return perplexity_text(pair, text, Workbench(self.run_dir, pair).is_toy)[0]

        return reproduce(chosen, load_pair, prompts, self.store, settings, text=words, **options)

    def evaluation_replies(
        self, run_id: str, model: str | None = None, measure: str | None = None
    ) -> list[dict[str, Any]]:
        """The replies behind a stored evaluation's cell; see `evaluations.stored_replies`."""
        return stored_replies(self.store, run_id, model, measure)

    # -- search -----------------------------------------------------------------------------

    def search_job(self, settings: SearchSettings) -> SearchJob:
        """A search over the loaded pair, not started; `run()` it here or `start()` it aside."""
        harmful = self.prompts(settings.prompts, "harmful")
        job = SearchJob(self.pair, harmful, settings, self.store, kl=self._kl(settings))
        self._jobs[job.id] = job
        return job

    def _kl(self, settings: SearchSettings, pair: Pair | None = None) -> Utility | None:
        """What a search with a limit on KL measures it by: harmless prompts that it may choose by.

        Those that stand beside the result, for over-refusal, are others.
        """
        if settings.max_kl is None:
            return None
        prompts = self.prompts(settings.harmless, "harmless").split(settings.seed).search
        texts = few([prompt.text for prompt in prompts], 32)
        return Utility(pair or self.pair, texts, settings.format())

    def estimate(self, settings: SearchSettings, stop: threading.Event | None = None) -> Estimate:
        """What a search would cost here, before it starts: a short timing, then paper."""
        harmful = self.prompts(settings.prompts, "harmful")
        return estimate(self.pair, harmful, settings, self.store, stop)

    def jobs(self) -> list[SearchJob]:
        """This process's searches, newest last, for a screen that re-attaches."""
        return list(self._jobs.values())

    def resume_job(self, run_id: str) -> SearchJob:
        """A stored search, started again: what it had asked is answered from the store."""
        run = self.store.run(run_id)
        settings = SearchSettings.from_dict(run.settings)
        if self._pair is None:
            self.load(PairSpec(**settings.pair))
        harmful = self.prompts(settings.prompts, "harmful")
        job = SearchJob(self.pair, harmful, settings, self.store, run_id, self._kl(settings))
        self._jobs[job.id] = job
        return job

    # -- beside a finished search -----------------------------------------------------------

    def harmless(self, job: SearchJob, source: str | Path | None = None) -> tuple[Prompt, ...]:
        """Prompts for a search's over-refusal: the held-out ones of a set, or all of it.

        A search on the user's own file stands alone unless harmless prompts are given too.
        """
        if source is None and job.settings.prompts is not None:
            return ()
        prompts = self.prompts(source, "harmless").prompts
        return tuple(p for p in prompts if p.split == "held_out") or prompts

    def baselines(
        self, job: SearchJob, harmless: str | Path | None = None, **options: Any
    ) -> Baselines:
        """The found set beside everything simpler; options as in `measure.baselines`."""
        if "contrast" not in options and (harmless is not None or job.settings.prompts is None):
            other = self.prompts(harmless, "harmless").split(job.settings.seed).search
            options["contrast"] = other
        return baselines(job, self.harmless(job, harmless), **options)

    def placebos(
        self, job: SearchJob, harmless: str | Path | None = None, **options: Any
    ) -> Placebos:
        """Shams in the found set's place; options as in `measure.placebos`."""
        return placebos(job, self.harmless(job, harmless), **options)

    def dose(self, prompts: Sequence[Prompt], mask: Mask, **options: Any) -> Dose:
        """Strength against DSR, a set beside a sham; options as in `measure.dose`."""
        return dose(self.pair, prompts, mask, self.store, **options)

    def necessity(self, job: SearchJob, **options: Any) -> Necessity:
        """What the teacher loses without the found set; options as in `measure.necessity`."""
        return necessity(job, **options)

    def stability(self, job: SearchJob, **options: Any) -> Stability:
        """The same search again and again over one memory; options as in `search.stability`."""
        rules = job.settings.rules()
        seed = options.pop("seed", rules.seed)
        if job.ranking is not None:
            options.setdefault("prior", job.ranking.values)
        units, name = job.units, job.settings.algorithm
        options.setdefault("kl", self._kl(job.settings, job.pair))
        return stability(job.split, units, name, rules, seed=seed, **options)

    def categories(self, job: SearchJob, stop: threading.Event | None = None) -> CategoryMap:
        """Which layer carries which kind of harm, from the certificate's removals."""
        return categories(job, stop)

    def pareto(
        self,
        job: SearchJob,
        utility: bool = False,
        harmless: str | Path | None = None,
        stop: threading.Event | None = None,
    ) -> tuple[Point, ...]:
        """Every mask that the search judged in full, by share of parameters; the front marked.

        With `utility` the KL on harmless prompts is measured, and is a third side of the front.
        """
        measure = utility_of(job, self.harmless(job, harmless), stop) if utility else None
        return pareto(job.progress().trials, lambda mask: job.pair.share(mask).fraction, measure)


def _models(*names: str) -> tuple[str, ...]:
    """Two models' names such that one folder has one name."""
    return tuple(str(Path(name).resolve()) if Path(name).is_dir() else name for name in names)
