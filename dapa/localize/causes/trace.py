"""Causal trace on the teacher: which layer's output, at which tokens, brings refusal back.

The teacher runs on a corrupted prompt and does not refuse; then the outputs of one kind of module
in a window of layers are put back to what they were on the harmful prompt, at one group of tokens.
What refusal log-odds regain is the effect (Meng et al. 2022, arXiv 2202.05262, section 2; the
choices of corruption, window and log-odds follow Zhang and Nanda 2023, arXiv 2309.16042).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dapa.core.records import Prompt, PromptError, SettingError
from dapa.core.running import Running
from dapa.core.settings import check_seed
from dapa.core.statistics import mean_interval
from dapa.localize.causes.corruption import (
    Corrupted,
    embedding_sd,
    noised,
    with_noise,
    with_twins,
)
from dapa.localize.causes.flips import effect_of
from dapa.localize.causes.restoring import Restore, blanks, record, restored_log_odds
from dapa.localize.causes.trace_records import Floats, TokenTrace, TraceMap
from dapa.localize.divergence.significance import bootstrap_p
from dapa.localize.divergence.tokens import token_texts
from dapa.model.decode.openers import Openers, find_openers
from dapa.model.pair import Pair
from dapa.prompts.format import PromptFormat
from dapa.writing.unit_names import TOKEN_GROUPS

KINDS = ("mlp", "attention")
CORRUPTIONS = ("twin", "noise")


@dataclass(frozen=True, kw_only=True)
class TraceOptions(Running):
    """What a trace takes besides what it measures; its seed is of the noise and the bootstrap."""

    harmless: Sequence[str] = ()
    """Where prompts have no twin of their own, it is looked for here."""
    draws: int = 3
    """Draws of noise a prompt."""
    multiple: float = 3.0
    """The noise's standard deviation in those of the embeddings."""


def causal_trace(
    pair: Pair,
    prompts: Sequence[Prompt],
    how: PromptFormat,
    corruption: str = "twin",
    window: int = 1,
    kinds: Sequence[str] = KINDS,
    groups: Sequence[str] = tuple(TOKEN_GROUPS),
    **options: Any,
) -> TraceMap:
    """Trace refusal through the teacher.

    Args:
        pair: Whose teacher runs.
        prompts: Harmful requests, with their twins where they have some.
        how: How a request is rendered.
        corruption: `twin`: the run to be restored reads an equal-length harmless twin; `noise`: it
            reads the prompt with Gaussian noise on the request's embeddings.
        window: Layers restored at once, around each; even ones reach one further down.
        kinds: Taps whose outputs are restored: mlp, attention or residual.
        groups: Names in `sentences.TOKEN_GROUPS`.
        options: Of `TraceOptions`.

    Raises:
        SettingError: A choice that does not exist.
        PromptError: No prompt, or none with a twin of equal length.
        NoOpeners: The teacher's vocabulary has no refusal opener.
    """
    asked = TraceOptions(**options)
    harmless, draws, multiple, seed = asked.harmless, asked.draws, asked.multiple, asked.seed
    rows, progress, stop = asked.rows, asked.progress, asked.stop
    _check(pair, corruption, window, kinds, groups, draws, multiple, seed)
    if not prompts:
        raise PromptError("there is no prompt to measure on; choose a prompt set with some")
    noise = corruption == "noise"
    ready: Sequence[Corrupted | None]
    ready = with_noise(pair, prompts, how) if noise else with_twins(pair, prompts, how, harmless)
    usable = [one for one in ready if one is not None]
    if not usable:
        raise PromptError(
            f"none of {len(prompts)} prompts has a harmless twin of equal length in tokens; give a "
            "set with a twin column or harmless prompts that differ in a word, or corrupt by noise"
        )
    openers = find_openers(pair, "teacher")
    layers = tuple(range(pair.n_layers))
    sd = multiple * embedding_sd(pair, usable) if noise else 0.0
    generator = torch.Generator().manual_seed(seed)
    shape = (len(kinds), len(layers), len(groups))
    found, ends, names, skipped = [], [], [], 0
    for i, one in enumerate(ready):
        if stop is not None and stop.is_set():
            break
        if one is None:
            skipped += 1
            continue
        one = one.behind(blanks(pair, "teacher", one.clean.ids))
        places = [
            (_around(layer, window, kind, pair.n_layers), one.positions(group))
            for kind in kinds
            for layer in layers
            for group in groups
        ]
        effects, clean, corrupt = _restored(
            pair, one, places, kinds, openers, sd, draws if noise else 1, generator, rows
        )
        found.append(effects.reshape(shape))
        ends.append((clean, corrupt))
        names.append(one.prompt)
        if progress:
            progress(i + 1, len(prompts))
    per_prompt = np.array(found).reshape(len(found), *shape)
    values, low, high = mean_interval(per_prompt, axis=0)
    p = bootstrap_p(per_prompt, seed=seed) if len(found) else np.full(shape, np.nan)
    sides = np.array(ends).reshape(len(ends), 2).T
    return TraceMap(
        kinds=tuple(kinds),
        layers=layers,
        groups=tuple(groups),
        per_prompt=per_prompt,
        prompts=tuple(names),
        clean=effect_of(sides[0]),
        corrupt=effect_of(sides[1]),
        whole=effect_of(sides[0] - sides[1]),
        corruption=corruption,
        window=window,
        draws=draws if noise else 1,
        multiple=multiple if noise else 0.0,
        sd=sd,
        skipped=skipped,
        asked=len(prompts),
        pair=pair.spec.title,
        seed=seed,
        values=values,
        low=low,
        high=high,
        p=p,
    )


def token_trace(
    pair: Pair,
    prompt: Prompt,
    how: PromptFormat,
    corruption: str = "twin",
    window: int = 1,
    kinds: Sequence[str] = KINDS,
    **options: Any,
) -> TokenTrace:
    """Trace refusal through the teacher along one prompt, token by token.

    Arguments and errors are those of `causal_trace`.
    """
    asked = TraceOptions(**options)
    harmless, draws, multiple = asked.harmless, asked.draws, asked.multiple
    seed, rows = asked.seed, asked.rows
    _check(pair, corruption, window, kinds, (), draws, multiple, seed)
    noise = corruption == "noise"
    ready = with_noise(pair, [prompt], how) if noise else with_twins(pair, [prompt], how, harmless)
    one = ready[0]
    if one is None:
        raise PromptError(
            f"{prompt.text[:60]!r} has no harmless twin of equal length in tokens; give one that "
            "differs in a word, or corrupt by noise"
        )
    one = one.behind(blanks(pair, "teacher", one.clean.ids))
    layers = tuple(range(pair.n_layers))
    tail = one.positions("all")
    places = [
        (_around(layer, window, kind, pair.n_layers), (token,))
        for kind in kinds
        for layer in layers
        for token in tail
    ]
    sd = multiple * embedding_sd(pair, [one]) if noise else 0.0
    generator = torch.Generator().manual_seed(seed)
    openers = find_openers(pair, "teacher")
    effects, clean, corrupt = _restored(
        pair, one, places, kinds, openers, sd, draws if noise else 1, generator, rows
    )
    values = np.zeros((len(kinds), len(layers), len(one.clean.ids)))
    values[:, :, list(tail)] = effects.reshape(len(kinds), len(layers), len(tail))
    texts = list(token_texts(pair.teacher_tokenizer, one.clean.ids))
    for i, other in enumerate(token_texts(pair.teacher_tokenizer, one.twin_ids)):
        if one.twin_ids[i] != one.clean.ids[i]:
            texts[i] = f"{texts[i]} → {other.strip()}"
    told = f"the twin {one.twin!r}" if one.twin else f"noise, sd {sd:.3g}, {draws} draws"
    return TokenTrace(
        kinds=tuple(kinds),
        layers=layers,
        tokens=tuple(texts),
        values=values,
        whole=clean - corrupt,
        corruption=told,
        prompt=one.prompt,
        twin=one.twin,
        window=window,
        pair=pair.spec.title,
        seed=seed,
    )


def _restored(
    pair: Pair,
    one: Corrupted,
    places: Sequence[tuple[tuple[tuple[int, str], ...], tuple[int, ...]]],
    kinds: Sequence[str],
    openers: Openers,
    sd: float,
    draws: int,
    generator: torch.Generator,
    rows: int | None,
) -> tuple[Floats, float, float]:
    """Effects of every restoration on one prompt, and its clean and corrupted log-odds."""
    states = record(pair, "teacher", one.clean.ids, kinds)
    some = [i for i, (_, positions) in enumerate(places) if positions]
    restores = [Restore((), ()), *(Restore(*places[i]) for i in some)]
    clean = restored_log_odds(pair, "teacher", one.clean.ids, restores[:1], {}, openers)
    runs: list[Floats] = []
    for _ in range(draws):
        inputs: tuple[int, ...] | Tensor = one.twin_ids
        if not one.twin:
            inputs = noised(pair, one, sd, generator)
        runs.append(restored_log_odds(pair, "teacher", inputs, restores, states, openers, rows))
    f = np.mean(runs, axis=0)
    effects = np.full(len(places), np.nan)
    effects[some] = f[1:] - f[0]
    return effects, float(clean[0]), float(f[0])


def _around(layer: int, window: int, kind: str, layers: int) -> tuple[tuple[int, str], ...]:
    start = layer - window // 2
    return tuple((i, kind) for i in range(start, start + window) if 0 <= i < layers)


def _check(
    pair: Pair,
    corruption: str,
    window: int,
    kinds: Sequence[str],
    groups: Sequence[str],
    draws: int,
    multiple: float,
    seed: int,
) -> None:
    check_seed(seed)
    if corruption not in CORRUPTIONS:
        raise SettingError(
            f"corruption {corruption!r} is not known; choose {' or '.join(CORRUPTIONS)}"
        )
    if not 1 <= window <= pair.n_layers:
        raise SettingError(f"a window of {window} layers; choose 1 to {pair.n_layers}")
    for kind in kinds:
        if kind not in (*KINDS, "residual"):
            raise SettingError(f"{kind!r} is not traced; choose from mlp, attention, residual")
    for group in groups:
        if group not in TOKEN_GROUPS:
            raise SettingError(
                f"{group!r} is no group of tokens; choose from {', '.join(TOKEN_GROUPS)}"
            )
    if draws < 1:
        raise SettingError(f"{draws} draws of noise are too few; choose 1 or more")
    if not 0 < multiple < 1000:
        raise SettingError(f"noise of {multiple:g} embedding sd; choose above 0 and below 1000")
