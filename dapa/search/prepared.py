"""A search of a pair, ready to run: units, prompts by what they do, driver, a run in the store.

Nothing is decoded here. What a started search is, for whoever watches and steers it, is `job`'s.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial

from dapa.core.owner import Owner
from dapa.core.records import Mask, Prompt
from dapa.model.pair import Pair
from dapa.model.template import digests_of, render, today
from dapa.prompts.format import Turn
from dapa.prompts.sets import PromptSet
from dapa.search.algorithms.limited import Kl
from dapa.search.algorithms.questions import NEED_ONE
from dapa.search.archive import StoreArchive, ranked_once
from dapa.search.confidence.plan import PromptParts
from dapa.search.engine.confided import Confided
from dapa.search.engine.confident import ConfidenceDriver
from dapa.search.engine.contract import Workload
from dapa.search.engine.control import Control
from dapa.search.engine.driver import Driver
from dapa.search.engine.inquiry import StoppedBy
from dapa.search.engine.oracle import oracle
from dapa.search.engine.workers.hiring import crew_of
from dapa.search.held import Held
from dapa.search.priors import Led, Prior, Ranking, few, rank
from dapa.search.settings import CONFIDENT, SearchSettings, method_of
from dapa.search.setup import (
    batched,
    dealt,
    digest_then,
    divided_as,
    found_elsewhere,
    gpus,
    made_of,
    odds_of,
    refuse_changes,
    searched_units,
)
from dapa.store.database import digest
from dapa.store.looks import look
from dapa.store.runs import Store
from dapa.writing.confidence import exact_sentence, plan_sentence
from dapa.writing.unit_names import kind_told, searched_text


class PreparedSearch:
    """What is searched, with what, and under which run of the store."""

    def __init__(
        self,
        pair: Pair,
        harmful: PromptSet,
        settings: SearchSettings,
        store: Store,
        run_id: str | None = None,
        kl: Kl | None = None,
        kept: str | None = None,
    ) -> None:
        """Prepare: render the prompts and enter the run in the store. Nothing is decoded yet.

        Args:
            pair: Whose student is searched.
            harmful: Prompts; its split decides which of them search and which are held out.
            settings: What the user chose.
            store: Where verdicts and the result are kept.
            run_id: A stored run to resume; a new one if None.
            kl: What a mask costs on harmless prompts; needed where the settings limit it.
            kept: The digest of the prompts of a run that is done again in another store; of one
                that is resumed it is known.

        Raises:
            DapaError: Units, prompts or settings that make no search; a run to resume whose
                model files, libraries, prompts (as rendered, too) or judge changed.
        """
        stored = store.run(run_id) if run_id else None
        date = stored.settings.get("date") if stored else settings.date
        claim = settings.resolved(bool(pair.spec.planted))
        settings = replace(settings, date=str(date or today()), claim=claim)
        self.settings = settings
        self.store = store
        self._pair, self.owner = Held(pair), Owner.read(pair.spec)
        self._digest = digest_then(pair, stored.settings.get("made", {})) if stored else pair.digest
        units = searched_units(pair, *settings.cut)
        self.control = Control()
        self.crew = crew_of(pair, settings.workers, settings.ray, settings.worker_timeout)
        """Who decodes besides this process; None where nobody does."""
        self.units, self.total = tuple(units), len(units)
        others = [k for k, layers in pair.differs.items() if layers and k != settings.kind]
        self.others = tuple(sorted(others, key=lambda kind: (kind != "mlp", kind != "layer")))
        """Other kinds of site that differ, the whole MLP and the whole layer first."""
        self.offers = [f"--sites {kind}" for kind in self.others[:1]]
        """What a search that found nothing is told to try: one way on, not a list to read."""
        self.parts: PromptParts | None = None
        """A confidence search's prompts by what they do; None of an exact one."""
        self.confident = claim in CONFIDENT
        kept = stored.settings.get("made", {}).get("prompts") if stored else kept
        every, texts = self._divide(harmful, kept)
        made = made_of(pair, every, texts)
        algorithm = "weighted" if self.confident else settings.algorithm
        make = partial(
            rank, settings.prior, pair, self.units, few([prompt.text for prompt in self.prompts]),
            settings.format(), self.control.stopping,
        )  # fmt: skip
        if self.confident:
            plain = replace(settings, pair={})  # which only a resumed run has
            key = digest(self._digest, made, [str(unit) for unit in units], plain.decisive())
            make = partial(ranked_once, store, key, make)
        led_by = make if algorithm in NEED_ONE else None
        self._led = Led(algorithm, settings.seed, led_by, settings.best_of)
        archive = StoreArchive(store, self._digest, texts) if self.confident else None
        self._driver: Driver | ConfidenceDriver | None = (
            self._searching(made, kl, run_id) if archive is None else self._certifying(archive)
        )
        body = {**asdict(settings), "pair": asdict(pair.spec), "rendered": digests_of(texts)}
        how = claim if self.confident else self.method.partition(" (")[0]
        title = f"{pair.spec.name or pair.spec.title}: {searched_text(settings.kind)}, {how}"
        if stored is not None:
            refuse_changes(stored, made)
            run = store.reopen(stored.id)
        else:
            run = store.new_run("search", title, body | {"made": made})
        self.id, self.title = run.id, title
        if archive is not None:
            archive.run = run.id
        self._set = [prompt.text for prompt in harmful.prompts]

    def _divide(
        self, harmful: PromptSet, kept: str | None
    ) -> tuple[tuple[Prompt, ...], tuple[str, ...]]:
        """Give the prompts their parts; all that the run asks, and the same as the models read it.

        `kept` is the digest of what a run that is resumed, or done again, asked.

        Sets `prompts`, `held_out`, `locked`, `split_note`, and the reserve or the parts.
        """
        settings = self.settings
        self._reserve: tuple[Prompt, ...] = ()
        if self.confident:
            parts = self.parts = dealt(harmful, self._rendered, self.total, settings)
            self.prompts = tuple(parts.asked[i] for i in parts.choose)
            self.held_out = tuple(parts.asked[i] for i in parts.certify)
            self.locked, self.split_note = parts.locked, parts.plan.note
            every = (*parts.asked, *parts.locked)
            return every, tuple(self._rendered(every))
        asked, texts = divided_as(harmful, settings, self._rendered, kept)
        self.prompts, self.held_out, self.split_note = asked.search, asked.held_out, asked.note
        self.locked, self._reserve = asked.locked, asked.reserve
        return asked.every, texts

    def _searching(self, made: Mapping[str, str], kl: Kl | None, run_id: str | None) -> Driver:
        """The exact mode: an algorithm asks which masks reach a threshold."""
        settings, pair = self.settings, self._pair.get()
        algorithm, how, exact = settings.algorithm, settings.format(), settings.canonical
        return Driver(
            self._led,
            self.units,
            self.split,
            held_out=self.rest,
            locked=self._asked(self.locked) if self.locked else None,
            reserve=self._asked(self._reserve) if self._reserve else None,
            settings=settings,
            control=self.control,
            algorithm=algorithm,
            prepare=self._led.prepare if algorithm in NEED_ONE else None,
            kl=kl,
            screen=odds_of(pair, self.prompts, how, self.units) if settings.screen else None,
            canonical=self._asked(self.prompts, canonical=True)
            if (batched(pair) if exact is None else exact)
            else None,
            elsewhere=found_elsewhere(self.store, settings, made, run_id),
            devices=gpus(pair),
            offers=self.offers,
        )

    def _certifying(
        self, archive: StoreArchive, control: Control | None = None
    ) -> ConfidenceDriver:
        """The confidence mode: choose freely, certify once."""
        settings, pair, parts = self.settings, self._pair.get(), self.parts
        assert parts is not None, "a confidence search has its prompts' parts"
        return ConfidenceDriver(
            self.units,
            self._asked(parts.asked),
            Confided(
                plan=parts.plan,
                choose=parts.choose,
                more=parts.more,
                certify=parts.certify,
                kinds=[prompt.category for prompt in parts.asked],
                prepare=self._ranked,
                odds=odds_of(pair, parts.asked, settings.format(), self.units, self.crew),
                archive=archive,
                locked=self._asked(self.locked)
                if self.locked and settings.claim == "confidence"  # a first look spends none
                else None,
                settings=settings,
                control=control or self.control,
                offers=self.offers,
                looked=lambda: self.looked("search"),
                devices=gpus(pair),
            ),
        )

    def _ranked(self) -> Prior:
        self._led.prepare()
        assert self._led.ranking is not None, "it was just made"
        return self._led.ranking.values

    @property
    def pair(self) -> Pair:
        """Whose student is searched; PairError where it ended and another pair was loaded since."""
        return self._pair.get(f"load it again, then open the run {self.id} from Runs in Search")

    def of(self, pair: Pair) -> bool:
        """Is it a search of this very pair, as it was loaded?"""
        return self._pair.holds(pair)

    def suits(self, pair: Pair) -> bool:
        """Is what it found true of this pair: the same weights, words and templates?"""
        return self._digest in (pair.digest, pair.parts.get("weights"))

    @property
    def ranking(self) -> Ranking | None:
        """The prior, once it was made."""
        return self._led.ranking

    @property
    def split(self) -> Workload:
        """The search prompts with who decodes and remembers them."""
        return self._asked(self.prompts)

    @property
    def rest(self) -> Workload | None:
        """The held-out prompts likewise; None where there are none."""
        return self._asked(self.held_out) if self.held_out else None

    def choosing(self, stop: threading.Event | None = None) -> ConfidenceDriver:
        """A driver that answers this confidence search's choosing anew, from its memory."""
        parts = self.parts
        assert parts is not None, "an exact search chooses and certifies in one"
        texts = self._rendered((*parts.asked, *parts.locked))
        archive = StoreArchive(self.store, self._digest, texts)
        return self._certifying(archive, StoppedBy(stop))

    def looked(self, who: str) -> int:
        """Count a look at the held-out prompts; how many there are by now, on this pair."""
        # another seed, or the other form, deals the same set out anew: parts may hold the same
        texts = self._set if self.confident else [prompt.text for prompt in self.held_out]
        if not texts:
            return 0
        # opened again it is the same job: nothing that it tells could be chosen by. A stored one's
        # settings name the pair, a new one's do not yet; the look is of this pair in any case
        asked = {k: v for k, v in self.settings.decisive().items() if k != "date"} | {"pair": {}}
        return look(self.store, self.pair.digest, texts, f"{who} {digest(asked, sorted(texts))}")

    def _asked(self, prompts: Sequence[Prompt], canonical: bool = False) -> Workload:
        how, limit = self.settings.format(), self.settings.max_new_tokens
        pair = self._pair.get().known_as(self._digest)
        crew = self.crew
        return oracle(pair, prompts, how, limit, self.store, canonical=canonical, crew=crew)

    def _rendered(self, prompts: Sequence[Prompt]) -> list[str]:
        how, pair = self.settings.format(), self._pair.get()
        return [render(pair, [Turn("user", prompt.text)], how) for prompt in prompts]

    @property
    def full(self) -> Mask:
        """Every unit that it may transplant."""
        return Mask.of(self.units)

    @property
    def origin(self) -> str:
        """One line that says where its numbers come from."""
        count, held = len(self.prompts), len(self.held_out)
        seed = self.settings.seed
        locked = f", {len(self.locked)} locked" if self.locked else ""
        thinks = " · thinking" if self.settings.thinking else ""
        effort = self.settings.effort
        thinks += f" · reasoning effort {effort}" if effort else ""
        return (
            f"{self.title} · {count} search and {held} held-out prompts{locked} · seed {seed}"
            f"{thinks} · "
            f"{self.id}"
        )

    @property
    def method(self) -> str:
        """How it searches, for people."""
        return method_of({"claim": self.settings.claim, "algorithm": self.settings.algorithm})

    @property
    def shows(self) -> str:
        """What it can show with the prompts at hand, known before it starts."""
        if self.parts is not None:
            return plan_sentence(self.parts.plan.as_dict())
        return exact_sentence(len(self.prompts))

    @property
    def unit_kind(self) -> str:
        """What a unit is, for sentences: the kind of site, or `block` where sites are cut."""
        return kind_told(self.units, self.settings.kind)
