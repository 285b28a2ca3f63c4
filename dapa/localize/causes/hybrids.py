"""Hybrids of whole parts: one model runs, and taps swap in the other model's modules.

A part is all layers' gates, the rest of their MLPs, their attention, the norms, or embeddings and
head. The model that owns the norms runs; at the tap of a part that the other model owns, the other
model's module is called on the same input and its output goes on. No weight is copied, nothing is
mutated, and other threads see nothing of it. It knows no prompts as text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from dapa.core.records import Site
from dapa.model.decode.branches import branched
from dapa.model.decode.log_odds import Ids, log_odds_of, next_logits, padded
from dapa.model.decode.openers import Openers, Role
from dapa.model.families import Family, submodule
from dapa.model.pair import Pair
from dapa.model.scaling import scaled
from dapa.model.transplant import Tap, masked, watching

GATE, REST, ATTENTION, NORMS, ENDS = "gate", "rest", "attention", "norms", "ends"
PARTS = (GATE, REST, ATTENTION, NORMS, ENDS)
"""Together the whole model; `norms` holds every parameter that no other part claims."""


@dataclass(frozen=True)
class PartSize:
    """How much of a model a part is, and whether the two models differ there."""

    parameters: int
    differs: bool


def kinds_of(family: Family, part: str) -> tuple[str, ...]:
    """The kinds of tap that a part is swapped at."""
    inside = [kind for kind, path in family.sites if path.startswith(family.mlp)]
    if part == GATE:
        return tuple(kind for kind in inside if kind == "gate")
    if part == REST:
        return tuple(kind for kind in inside if kind != "gate")
    return ("attention",) if part == ATTENTION else ()


def part_sizes(pair: Pair) -> dict[str, PartSize]:
    """Each part's parameters in the student, and whether the teacher's are others."""
    theirs = dict(pair.teacher.named_parameters())
    counts, differs = dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, False)
    ends = {
        id(module.weight)
        for module in (pair.student.get_input_embeddings(), pair.student.get_output_embeddings())
    }
    wrapper = "student"  # the name under which a TransplantModule keeps the student's module
    for name, mine in pair.student.named_parameters():
        plain = ".".join(step for step in name.split(".") if step != wrapper)
        part = ENDS if id(mine) in ends else _part(pair.family, plain)
        counts[part] += mine.numel()
        other = theirs.get(plain)
        same = other is not None and other.shape == mine.shape
        differs[part] |= not (same and _equal(mine, cast(Tensor, other)))
    return {part: PartSize(counts[part], differs[part]) for part in PARTS}


def _part(family: Family, name: str) -> str:
    inside = name.removeprefix(f"{family.layers}.").partition(".")[2]  # below one decoder layer
    if inside.startswith(f"{family.attention}."):
        return ATTENTION
    for part in (GATE, REST):
        paths = [family.site_path(kind) for kind in kinds_of(family, part)]
        if any(inside.startswith(f"{path}.") for path in paths):
            return part
    return NORMS


def _equal(mine: Tensor, theirs: Tensor) -> bool:
    return mine.data_ptr() == theirs.data_ptr() or torch.equal(mine, theirs)


@torch.inference_mode()
def hybrid_log_odds(
    pair: Pair,
    ids: Mapping[Role, Ids],
    teachers: Collection[str],
    openers: Mapping[Role, Openers],
) -> Sequence[float]:
    """Refusal log-odds of prompts under a hybrid, (prompts,).

    Args:
        pair: The two models.
        ids: The same prompts in each model's tokens; the owner of the embeddings reads its own.
        teachers: The parts that are the teacher's; all others are the student's.
        openers: Of each model's vocabulary; those of the head's owner count.
    """
    runner: Role = "teacher" if NORMS in teachers else "student"
    ends: Role = "teacher" if ENDS in teachers else "student"
    foreign = [part for part in PARTS if (part in teachers) != (runner == "teacher")]
    swapped = {kind for part in foreign for kind in kinds_of(pair.family, part)}

    def swap(tap: Tap, module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any) -> Any:
        if tap.role != runner or tap.kind not in swapped:
            return None
        with watching(None):
            return _counterpart(pair, tap)(*args, **kwargs)

    with watching(swap if swapped else None):
        if ends == runner:
            logits = next_logits(pair, ids[ends], None, runner, openers[ends])
        else:
            logits = _between_other_ends(pair, runner, ids[ends], openers[ends])
    return cast("list[float]", log_odds_of(logits, openers[ends]).double().tolist())


def _counterpart(pair: Pair, tap: Tap) -> nn.Module:
    """The other model's module at a tap."""
    other = "teacher" if tap.role == "student" else "student"
    if tap.kind == "attention":
        return cast(nn.Module, submodule(pair.layer(other, tap.layer), pair.family.attention))
    site = pair.sites[Site(tap.layer, tap.kind)]
    return site.teacher if other == "teacher" else site.student


def _between_other_ends(pair: Pair, runner: Role, ids: Ids, openers: Openers) -> Tensor:
    """The runner's layers and norms between the other model's embeddings and head."""
    body, ends = (
        (pair.student, pair.teacher) if runner == "student" else (pair.teacher, pair.student)
    )
    inputs, keep = branched(body, padded(ids, pair.device), openers.nodes)
    embedded = ends.get_input_embeddings()(inputs.pop("input_ids"))
    with masked(None):
        states = body.get_decoder()(inputs_embeds=embedded, **inputs, use_cache=False)
        logits: Tensor = ends.get_output_embeddings()(states.last_hidden_state[:, -keep:])
    return scaled(ends, logits)
