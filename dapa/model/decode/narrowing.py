"""Openers without the phrases that a pair's replies hardly ever open with.

Every beginning of a phrase is a token more in every reading, and most are other spellings ("I’m"
with a curly apostrophe) that a model gives next to no weight. A search reads thousands of times to
put sets in order, so it asks once, of the untouched student and of all that differs transplanted,
which beginnings count. Each that is left out makes an opening less likely by a hundredth at most,
as far as was looked: log-odds move by as much, and verdicts, which decide, read no openers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dapa.core.records import EMPTY, Mask, Unit
from dapa.model.decode.log_odds import log_odds_of, next_logits
from dapa.model.decode.openers import Openers
from dapa.model.pair import Pair
from dapa.model.room import within_memory

COUNTS = 1e-2
"""Share of an opening's probability from which on a beginning is read, in any reading looked at."""
_LOOKED = 8
"""Prompts that are looked at, evenly spaced, under both masks."""
_AT_ONCE = 4
"""Rows of a pass: each has logits for every beginning."""


def shares(logits: Tensor, openers: Openers) -> Tensor:
    """How much of an opening's probability each beginning's own openers make up, (rows, nodes).

    Args:
        logits: (rows, 1 + nodes, vocabulary), as `next_logits` gives them.
        openers: Of that vocabulary.
    """
    log_p = logits.float().log_softmax(-1)
    opened = torch.nn.functional.logsigmoid(log_odds_of(logits, openers))
    reached: list[Tensor] = []
    own = []
    for place, node in enumerate(openers.nodes):
        before = reached[node.parent] if node.parent >= 0 else torch.zeros_like(opened)
        reached.append(before + log_p[:, node.parent + 1, node.token])
        leaves = log_p[:, place + 1][:, list(node.ids)].logsumexp(-1)  # -inf where it has none
        own.append((reached[-1] + leaves - opened).exp())
    return torch.stack(own, 1).nan_to_num(1.0)  # where no opening has any probability, all count


def narrowed(pair: Pair, ids: Sequence[tuple[int, ...]], openers: Openers) -> Openers:
    """The student's openers with those beginnings alone that count on these prompts.

    Args:
        pair: Whose student is read.
        ids: Rendered prompts in the student's tokens.
        openers: Of `find_openers`.

    Raises:
        OutOfMemory: Not even one row fits into memory.
    """
    if not openers.nodes or not ids:
        return openers
    step = max(1, len(ids) // _LOOKED)
    every = Mask.of(Unit(site.layer, site.module) for site in pair.live)
    work = [(mask, prompt) for prompt in ids[::step][:_LOOKED] for mask in (EMPTY, every)]

    def looked(rows: Sequence[tuple[Mask, tuple[int, ...]]]) -> Tensor:
        plan = pair.plan([mask for mask, _ in rows])
        with torch.inference_mode():
            logits = next_logits(pair, [prompt for _, prompt in rows], plan, openers=openers)
            return shares(logits, openers).amax(0).cpu()

    parts = [work[i : i + _AT_ONCE] for i in range(0, len(work), _AT_ONCE)]
    told = [x for part in parts for x in within_memory(pair, part, looked, lambda r: len(r[1]))]
    found = torch.stack(told).amax(0)
    return without(openers, [bool(share >= COUNTS) for share in found])


def without(openers: Openers, counts: Sequence[bool]) -> Openers:
    """Those beginnings that count, and what they stand behind; a place for each of `nodes`."""
    keep = list(counts)
    for place in range(len(keep) - 1, -1, -1):  # a beginning stands behind its own beginning
        parent = openers.nodes[place].parent
        if keep[place] and parent >= 0:
            keep[parent] = True
    places = {old: new for new, old in enumerate(i for i, kept in enumerate(keep) if kept)}
    nodes = tuple(
        replace(openers.nodes[old], parent=places.get(openers.nodes[old].parent, -1))
        for old in places
    )
    return replace(openers, nodes=nodes)
