"""Choosing the next token, against numpy and against transformers' own processors."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from dapa.core.records import SettingError
from dapa.core.settings import MAX_SEED, check_seed
from dapa.model.decode.sampling import Decoding, choose

SETTINGS = st.builds(
    Decoding,
    temperature=st.sampled_from([0.3, 0.7, 1.0, 1.8]),
    top_p=st.sampled_from([1.0, 0.95, 0.6, 0.2, 1e-6]),
    top_k=st.sampled_from([0, 1, 3, 7, 1000]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.8]),
)


def draws(logits, how, written, count, seed=0):
    """`count` rows of the same logits, each with its own seed."""
    generators = [torch.Generator().manual_seed(seed + i) for i in range(count)]
    return choose(logits.expand(count, -1), how, generators, [written] * count)


def processed(logits, how, written):
    """What transformers would draw from: probabilities, zero where a token is cut."""
    steps = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(how.repetition_penalty)])
    steps.append(TemperatureLogitsWarper(how.temperature))
    if how.top_k:
        steps.append(TopKLogitsWarper(how.top_k))
    if how.top_p < 1.0:
        steps.append(TopPLogitsWarper(how.top_p))
    return steps(torch.tensor([written]), logits[None].clone())[0].softmax(-1)


@given(how=SETTINGS, seed=st.integers(0, 10_000), written=st.lists(st.integers(0, 29), min_size=1))
def test_only_tokens_that_transformers_keeps_are_drawn(how, seed, written):
    logits = 2 * torch.randn(30, generator=torch.Generator().manual_seed(seed))
    kept = processed(logits, how, written)
    assert all(kept[token] > 0 for token in draws(logits, how, written, 40, seed))


@given(how=SETTINGS, seed=st.integers(0, MAX_SEED), written=st.lists(st.integers(0, 29)))
def test_a_draw_inverts_the_distribution_that_numpy_computes(how, seed, written):
    logits = 2 * torch.randn(30, generator=torch.Generator().manual_seed(seed % 1000))
    values = logits.double().numpy().copy()
    for token in set(written):
        factor = how.repetition_penalty
        values[token] = values[token] / factor if values[token] > 0 else values[token] * factor
    order = np.argsort(-values, kind="stable")[: how.top_k or None]
    p = np.exp((values[order] - values[order[0]]) / how.temperature)
    p /= p.sum()
    p = p[np.concatenate([[0.0], p.cumsum()[:-1]]) < how.top_p]
    u = float(torch.rand((), generator=torch.Generator().manual_seed(seed)))
    edges = np.concatenate([[0.0], p.cumsum() / p.sum()])
    (found,) = draws(logits, how, written, 1, seed)
    place = int(np.flatnonzero(order == found)[0])
    assert place < len(p)
    assert edges[place] - 1e-5 <= u <= edges[place + 1] + 1e-5


def test_draws_follow_the_distribution():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -6.0])
    how = Decoding(temperature=0.8, top_p=0.97)
    expected = processed(logits, how, [0]).numpy()
    counts = np.bincount(draws(logits, how, [], 4000), minlength=5) / 4000
    assert np.abs(counts - expected).max() < 0.025
    assert counts[expected == 0].sum() == 0


@given(seed=st.integers(0, 500))
def test_greedy_takes_the_likeliest_token_whatever_top_k_and_top_p(seed):
    logits = torch.randn(4, 30, generator=torch.Generator().manual_seed(seed))
    how = Decoding(top_p=0.1, top_k=2)
    assert choose(logits, how, [None] * 4, [[]] * 4) == logits.argmax(-1).tolist()


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-45])
def test_a_temperature_near_zero_is_greedy_and_finite(temperature):
    logits = torch.tensor([0.5, 3.0, 2.99, -400.0])
    assert set(draws(logits, Decoding(temperature=temperature), [], 20)) == {1}


def test_a_penalty_in_bfloat16_does_not_round_two_tokens_into_a_tie():
    logits = torch.tensor([[1.0, 1.0078125]], dtype=torch.bfloat16)
    how = Decoding(repetition_penalty=1.001)
    assert choose(logits, how, [None], [[0, 1]]) == [1]
    assert logits.tolist() == [[1.0, 1.0078125]], "the model's logits must stay as they are"


def test_the_generator_advances_so_that_one_seed_gives_a_whole_reply():
    logits = torch.zeros(1, 50)
    generator = torch.Generator().manual_seed(3)
    how = Decoding(temperature=1.0)
    drawn = [choose(logits, how, [generator], [[]])[0] for _ in range(30)]
    assert len(set(drawn)) > 10


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"max_new_tokens": 0}, "max new tokens is 0"),
        ({"max_new_tokens": 10**9}, "max new tokens is 1000000000"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top-p is 0.0"),
        ({"top_p": 1.01}, "top-p is 1.01"),
        ({"top_k": -1}, "top-k is -1"),
        ({"repetition_penalty": 0.0}, "repetition penalty is 0.0"),
    ],
)
def test_a_setting_out_of_range_is_named_with_what_is_allowed(setting, words):
    with pytest.raises(SettingError, match=f"{words}; choose"):
        Decoding(**setting)


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 10**30])
def test_a_seed_out_of_range_is_named(seed):
    with pytest.raises(SettingError, match=f"seed {seed} is out of range"):
        check_seed(seed)
    assert check_seed(0) == 0 and check_seed(MAX_SEED) == MAX_SEED
