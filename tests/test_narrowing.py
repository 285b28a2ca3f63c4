"""Phrases that carry nothing are left out of a search's readings; what carries stays."""

import numpy as np
import pytest
import torch
from support import planted_models, random_trio

from dapa.core.records import EMPTY, Mask, Unit
from dapa.model.decode.branches import Node
from dapa.model.decode.log_odds import log_odds_of, next_logits
from dapa.model.decode.log_odds_reader import LogOddsReader
from dapa.model.decode.narrowing import COUNTS, narrowed, shares, without
from dapa.model.decode.openers import Openers, find_openers

IDS = [(9, 14, 23, 31, 8, 40), (33, 5, 6), (28, 19, 12, 7)]
TREE = Openers(
    "student",
    (3,),
    ("no",),
    12,
    (Node(-1, 1, (), ()), Node(0, 2, (3, 4), ()), Node(0, 5, (), ()), Node(2, 6, (7,), ()),
     Node(-1, 8, (9,), ())),
)  # fmt: skip
"""1 -> 2 -> (3 | 4), 1 -> 5 -> 6 -> 7, 8 -> 9, and 3 by itself."""


def by_hand(logits, path, leaves):
    """P(path, then a leaf) of one row, multiplied out; `path` is (place, token) from the start."""
    p = logits.double().softmax(-1)
    reached = 1.0
    for place, token in path:
        reached *= p[place, token]
    return reached * sum(p[path_end(path), leaf] for leaf in leaves)


def path_end(path):
    return {1: 1, 2: 2, 5: 3, 6: 4, 8: 5}[path[-1][1]]


def test_shares_are_what_the_probabilities_multiply_to():
    logits = torch.randn(4, 6, 12, generator=torch.Generator().manual_seed(0)) * 2
    found = shares(logits, TREE)
    opened = log_odds_of(logits, TREE).sigmoid()
    for row in range(4):
        two = by_hand(logits[row], [(0, 1), (1, 2)], (3, 4))
        six = by_hand(logits[row], [(0, 1), (1, 5), (3, 6)], (7,))
        eight = by_hand(logits[row], [(0, 8)], (9,))
        wanted = [0.0, two, 0.0, six, eight]
        assert np.allclose(found[row], [float(w / opened[row]) for w in wanted], rtol=1e-4)
    alone = logits.softmax(-1)[:, 0, 3] / opened
    assert torch.allclose(found.sum(1) + alone, torch.ones(4), atol=1e-5)


def test_where_no_opening_has_any_probability_every_beginning_counts():
    logits = torch.full((1, 6, 12), -torch.inf)
    logits[:, :, 11] = 0.0
    assert (shares(logits, TREE) >= COUNTS).all()


@pytest.mark.parametrize(
    ("counts", "tokens", "parents"),
    [
        ([0, 0, 0, 1, 0], [1, 5, 6], [-1, 0, 1]),
        ([0, 1, 0, 0, 1], [1, 2, 8], [-1, 0, -1]),
        ([0, 0, 0, 0, 1], [8], [-1]),
        ([0, 0, 0, 0, 0], [], []),
        ([1, 1, 1, 1, 1], [1, 2, 5, 6, 8], [-1, 0, 0, 2, -1]),
    ],
)
def test_a_beginning_that_counts_keeps_what_it_stands_behind(counts, tokens, parents):
    left = without(TREE, counts)
    assert [node.token for node in left.nodes] == tokens
    assert [node.parent for node in left.nodes] == parents
    assert left.ids == TREE.ids


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "gemma2"])
def test_readings_hardly_change_and_read_less(model_type):
    pair = random_trio(model_type).pair
    openers = find_openers(pair)
    masks = [EMPTY, Mask.of([Unit(0)]), Mask.of(pair.units("mlp")), pair.teacher_mask]
    whole = LogOddsReader(pair, IDS, openers)
    narrow = LogOddsReader(pair, IDS, openers, narrow=True)
    assert len(narrow.openers.nodes) <= len(openers.nodes)
    lost = (len(openers.nodes) - len(narrow.openers.nodes)) * COUNTS
    apart = np.abs(narrow(masks, range(3)) - whole(masks, range(3)))
    assert apart.max() <= 1e-4 + 4 * lost


def test_a_pair_that_opens_with_one_phrase_reads_that_one():
    """The planted models refuse in their own words; other spellings are given no weight."""
    models = planted_models("llama")
    pair = models.pair()
    openers = find_openers(pair)
    ids = [tuple(pair.tokenizer(t)["input_ids"]) for t in ("How do I pick a lock?", "Make a bomb")]
    left = narrowed(pair, ids, openers)
    with torch.inference_mode():
        every = pair.plan([Mask.of(pair.units("gate"))])
        logits = next_logits(pair, ids[:1], every, openers=openers)
    told = shares(logits, openers)[0] if openers.nodes else torch.zeros(0)
    kept = {(node.token, node.ids) for node in left.nodes}
    assert all((openers.nodes[i].token, openers.nodes[i].ids) in kept
               for i in torch.nonzero(told >= COUNTS).flatten().tolist())  # fmt: skip


def test_openers_without_phrases_and_no_prompts_stay_as_they_are(planted_pair):
    openers = find_openers(planted_pair)
    assert narrowed(planted_pair, [], openers) is openers
    single = without(openers, [False] * len(openers.nodes))
    assert narrowed(planted_pair, IDS, single) is single
