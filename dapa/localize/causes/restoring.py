"""One prompt, many rows, each with other activations put in their places: what refusal becomes.

The interventions go through the taps that the pair installed at load, in this context alone. All
rows hold the same prompt, so nothing is padded. It knows no prompts as text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dapa.localize.divergence.recording import states_of
from dapa.model.decode.branches import branched
from dapa.model.decode.log_odds import log_odds_of, past_blanks
from dapa.model.decode.openers import Openers, Role
from dapa.model.decode.serving import row_capacity
from dapa.model.pair import Pair
from dapa.model.room import within_memory
from dapa.model.transplant import Tap, Watcher, masked, watching

Floats = NDArray[np.float64]
Place = tuple[int, str]
"""(layer, kind of tap)."""


@dataclass(frozen=True)
class Restore:
    """What one row has put in its place."""

    places: tuple[Place, ...]
    positions: tuple[int, ...]
    """Tokens, by index."""


def record(
    pair: Pair, role: Role, ids: tuple[int, ...], kinds: Collection[str]
) -> dict[Place, Tensor]:
    """What one model's taps put out on one prompt, each (length, d)."""
    seen: dict[Place, Tensor] = {}

    def keep(tap: Tap, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        if tap.role == role and tap.kind in kinds:
            seen[tap.layer, tap.kind] = states_of(output)[0].clone()

    tokens = torch.tensor([ids], device=pair.device)
    _forward(pair, role, {"input_ids": tokens}, keep)
    return seen


def blanks(pair: Pair, role: Role, ids: tuple[int, ...]) -> tuple[int, ...]:
    """The blank tokens that a model's reply opens with; refusal is read behind them."""
    return past_blanks(pair, [ids], role=role)[0][len(ids) :]


def restored_log_odds(
    pair: Pair,
    role: Role,
    inputs: tuple[int, ...] | Tensor,
    restores: Sequence[Restore],
    states: dict[Place, Tensor],
    openers: Openers,
    rows: int | None = None,
) -> Floats:
    """Refusal log-odds of one prompt under each restoration, (restores,).

    Args:
        pair: The two models.
        role: Which one runs; the student runs unmasked.
        inputs: Token ids, or embeddings (length, d).
        restores: What each row has put in its place; nothing is the prompt as it is.
        states: What is put there, as from `record`.
        openers: Of the running model's vocabulary.
        rows: Rows of one pass at most.

    Raises:
        OutOfMemory: Not even one row fits into memory.
    """
    capacity = row_capacity(pair, rows)
    parts = [
        part
        for i in range(0, len(restores), capacity)
        for part in within_memory(
            pair,
            restores[i : i + capacity],
            lambda some: _rows(pair, role, inputs, some, states, openers),
            lambda _: len(inputs),
        )
    ]
    return np.concatenate([np.zeros(0), *parts])


def _rows(
    pair: Pair,
    role: Role,
    inputs: tuple[int, ...] | Tensor,
    restores: Sequence[Restore],
    states: dict[Place, Tensor],
    openers: Openers,
) -> Floats:
    length, count = len(inputs), len(restores)
    where: dict[Place, Tensor] = {}  # (rows, length), true where a row is restored
    for row, restore in enumerate(restores):
        for place in restore.places:
            if place not in where:
                where[place] = torch.zeros(count, length, dtype=torch.bool)
            where[place][row, list(restore.positions)] = True
    placed = {place: here.to(pair.device)[..., None] for place, here in where.items()}

    def put(tap: Tap, module: Any, args: Any, kwargs: Any, output: Any) -> Any:
        here = placed.get((tap.layer, tap.kind)) if tap.role == role else None
        if here is None:
            return None
        ours = states_of(output)
        new = torch.where(here, states[tap.layer, tap.kind].to(ours.dtype), ours[:, :length])
        new = torch.cat([new, ours[:, length:]], 1)  # beginnings of replies stay as they are
        return (new, *output[1:]) if isinstance(output, tuple) else new

    if isinstance(inputs, Tensor):
        named = {"inputs_embeds": inputs.expand(count, *inputs.shape)}
    else:
        named = {"input_ids": torch.tensor([inputs], device=pair.device).expand(count, -1)}
    logits = _forward(pair, role, named, put, openers)
    found: Floats = log_odds_of(logits, openers).double().cpu().numpy()
    return found


def _forward(
    pair: Pair,
    role: Role,
    inputs: dict[str, Tensor],
    watcher: Watcher,
    openers: Openers | None = None,
) -> Tensor:
    """Logits as `next_logits` gives them, of rows that are all of one length."""
    model = pair.student if role == "student" else pair.teacher
    with torch.inference_mode(), masked(None), watching(watcher):
        named, keep = branched(model, inputs, openers.nodes if openers else ())
        logits: Tensor = model(**named, use_cache=False, logits_to_keep=keep).logits
    return logits[:, -keep:]


Progress = Callable[[int, int], None]
"""(prompts done, prompts in all)."""
