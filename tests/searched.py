"""Finished searches of planted pairs, made once: what tables beside a search are tested on."""

import tempfile
from functools import lru_cache

from dapa.core.records import Prompt
from dapa.model.pair import Pair
from dapa.planted.pairs import Planting, harmful_prompts, harmless_prompts, plant
from dapa.prompts.sets import PromptSet
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.store.runs import Store

AND = Planting(6, (1, 4), distractors=(3,))
OR = Planting(5, (1, 3), alternative=(2,))
CATEGORIES = ("fraud", "weapons", "")
HARMLESS = tuple(Prompt(text) for text in harmless_prompts(6))


def prompt_set(count: int = 24) -> PromptSet:
    """Harmful prompts in three categories, every other one held out."""
    texts = harmful_prompts(count)
    prompts = [
        Prompt(text, CATEGORIES[i // 2 % 3], split="held_out" if i % 2 else "search")
        for i, text in enumerate(texts)
    ]
    return PromptSet("planted", "harmful", tuple(prompts))


@lru_cache
def planted_pair(planting: Planting = AND) -> Pair:
    """Held here: a search that has ended lets go of its pair."""
    return plant(planting).pair()


@lru_cache
def searched(planting: Planting = AND) -> SearchJob:
    """A search of a planted Llama pair, run to its end."""
    pair = planted_pair(planting)
    settings = SearchSettings(max_new_tokens=12)
    job = SearchJob(pair, prompt_set(), settings, Store(tempfile.mkdtemp()))
    job.run()
    return job
