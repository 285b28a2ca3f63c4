"""A pooled metric over more than one block, on a file sorted by kind: blocks are drawn, not cut."""

import numpy as np
import pytest
import torch
from support import planted_models
from test_divergence import HOW

from dapa.core.records import EMPTY
from dapa.localize.divergence import tally
from dapa.localize.divergence.sweep import Sweep

KINDS, EACH, WIDTH = 4, 56, 24


def whole_distance(x, y):
    """1 - debiased CKA over all prompts at once, by the closed form of Song et al., in numpy."""

    def hsic(a, b):
        n = len(a)
        k, l = a @ a.T, b @ b.T  # noqa: E741
        np.fill_diagonal(k, 0.0)
        np.fill_diagonal(l, 0.0)
        trace, ones = np.trace(k @ l), np.ones(n)
        both = (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
        return (trace + both - 2 / (n - 2) * (ones @ k @ l @ ones)) / (n * (n - 3))

    return 1 - hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))


def sorted_states(seed):
    """States of a file sorted by kind: kinds lie alike in both models, prompts within do not."""
    rng = np.random.default_rng(seed)
    means = 1.45 * np.repeat(rng.normal(size=(KINDS, WIDTH)), EACH, axis=0)
    shared = rng.normal(size=(KINDS * EACH, WIDTH))
    x, y = (means + shared + 1.14 * rng.normal(size=shared.shape) for _ in range(2))
    return x - x.mean(0), y - y.mean(0)


def swept(x, y, seed=None):
    """What a sweep makes of these states; without a seed, in blocks cut as the file comes."""
    pair = planted_models("llama").pair()
    sweep = Sweep(pair, HOW, "cka", "local", "last", EMPTY, ["gate"], False)
    order = list(range(len(x))) if seed is None else sweep.order([None] * len(x), 16, seed)
    assert sorted(order) == list(range(len(x)))
    counted = sweep.tally(len(x), (seed or 0, 0))
    for start in range(0, len(x), 16):
        rows = order[start : start + 16]
        counted.begin(torch.ones(len(rows), 1, dtype=torch.bool))
        counted.see(0, "gate", *(torch.tensor(side[rows])[:, None] for side in (x, y)))
        counted.commit()
    found = counted.summary().restored(order)
    return found.values[0, 0], found.low[0, 0], found.high[0, 0], found.per_prompt[:, 0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_a_file_sorted_by_kind_is_as_far_apart_as_a_shuffled_one(seed):
    x, y = sorted_states(seed)
    truth = whole_distance(x, y)
    value, low, high, each = swept(x, y, seed)
    assert low < truth < high and value == pytest.approx(truth, abs=0.06)
    assert np.corrcoef(each, single_block(x, y))[0, 1] > 0.8, "each prompt keeps its own value"


def single_block(x, y):
    """Pseudo-values by leaving each prompt out of the whole, in numpy."""
    n, whole = len(x), whole_distance(x, y)
    left = [whole_distance(np.delete(x, i, 0), np.delete(y, i, 0)) for i in range(n)]
    return n * whole - (n - 1) * np.array(left)


def test_blocks_cut_as_a_sorted_file_comes_mislead_with_a_narrow_interval():
    """The null that stood here once: what kinds share is in no block."""
    x, y = sorted_states(0)
    truth = whole_distance(x, y)
    value, low, high, _ = swept(x, y)
    assert truth == pytest.approx(0.34, abs=0.03) and value == pytest.approx(0.81, abs=0.03)
    assert high - low < 0.2 and low > truth + 0.3, "sure of a wrong number"


def test_one_block_is_the_whole_and_needs_no_drawing(monkeypatch):
    monkeypatch.setattr(tally, "_BLOCK", 300)
    x, y = sorted_states(1)
    value, *_ = swept(x, y, 5)
    assert value == pytest.approx(whole_distance(x, y), abs=1e-9)


def test_the_blocks_are_the_seeds():
    x, y = sorted_states(2)
    assert swept(x, y, 1)[0] == swept(x, y, 1)[0] != swept(x, y, 2)[0]
