"""Which prompts a search left out when it chose a mask: the only ones that are held out of it."""

from __future__ import annotations

from collections.abc import Sequence

from dapa.core.records import Mask, Prompt, SettingError, Unit
from dapa.measure.evaluation_settings import Parts
from dapa.model.pair import Pair
from dapa.model.template import render
from dapa.prompts.format import Turn
from dapa.prompts.sets import PromptSet
from dapa.search.confidence.plan import PromptParts
from dapa.search.confidence.record import chose_more
from dapa.search.engine.report import SearchReport
from dapa.search.settings import CONFIDENT, SearchSettings
from dapa.search.setup import dealt, divided, each_once
from dapa.store.database import digest
from dapa.store.runs import Run


def mask_of_run(run: Run) -> Mask:
    """The set that a stored search found; SettingError where the run found none."""
    units = (run.result or {}).get("units") if run.kind == "search" else None
    if not units:
        raise SettingError(
            f"run {run.id} found no set; name a finished search, as `runs list` does"
        )
    return Mask.of(Unit.parse(name) for name in units)


def split_of_run(run: Run, prompts: PromptSet, mask: Mask, pair: Pair) -> Parts | None:
    """The search and held-out parts of these very prompts; None where a run searched others.

    Args:
        run: The stored search.
        prompts: The set as it is read now; what the run kept of its prompts tells a changed one.
        mask: What is measured; its strengths may differ from the run's.
        pair: Renders the prompts: those that it reads alike were one prompt to the search too.

    Raises:
        SettingError: The run found no set, or another one than the mask's.
    """
    found = mask_of_run(run)
    if set(found.units) != set(mask.units):
        raise SettingError(
            f"run {run.id} found {found.key}, not {mask.key or 'an empty set'}: its held-out "
            "prompts say nothing of another set; leave --run out, or the layers"
        )
    settings = SearchSettings.from_dict(run.settings)
    how = settings.format()

    def rendered(asked: Sequence[Prompt]) -> list[str]:
        return [render(pair, [Turn("user", prompt.text)], how) for prompt in asked]

    kept = (run.settings.get("made") or {}).get("prompts")
    if settings.claim in CONFIDENT:
        return _certified(run, dealt(prompts, rendered, 0, settings), kept)
    for most in dict.fromkeys((settings.certify, None)):  # older runs held out all that were left
        parts = divided(prompts, settings.seed, settings.prompt_limit, settings.lock, most)
        once = each_once(parts, rendered)[0]
        for one in (once, parts):  # version 0.1 asked alike prompts each
            if digest([prompt.text for prompt in one.every]) == kept:
                return (*one.search, *one.reserve), one.held_out
    return None


def _certified(run: Run, parts: PromptParts, kept: object) -> Parts | None:
    """The prompts that chose and those that certified, of a confidence search."""
    if digest([prompt.text for prompt in (*parts.asked, *parts.locked)]) != kept:
        return None
    record = SearchReport.from_dict(run.result or {}).confidence
    chose = set(parts.choose)
    if record is not None and chose_more(record):
        chose |= set(parts.more)
    search = tuple(prompt for i, prompt in enumerate(parts.asked) if i in chose)
    return search, tuple(parts.asked[i] for i in parts.certify if i not in chose)
