"""The metrics by themselves: their zeros, their invariances, their statistics."""

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from dapa.localize.divergence.metrics import _hsic, cka, cosine, kl, l2, metrics

RNG = np.random.default_rng(0)


def distance(x, y):
    sums = cka(torch.tensor(x), torch.tensor(y), torch.ones(1, len(x)))
    return float(metrics["cka"].finish(sums.numpy())[0])


def hsic(k, l, w):  # noqa: E741
    return float(_hsic(torch.tensor(k)[None], torch.tensor(l)[None], torch.tensor(w)[None]))


@pytest.mark.parametrize("measure", [cosine, l2, kl])
def test_equal_states_are_at_no_distance(measure):
    x = torch.randn(3, 2, 50, generator=torch.Generator().manual_seed(1)) * 7.3
    assert torch.equal(measure(x, x.clone()), torch.zeros(3, 2))


def test_cosine_keeps_its_digits_for_close_states():
    x = torch.zeros(1000)
    x[0], y = 1.0, torch.zeros(1000)
    y[0], y[1] = 1.0, 1e-4
    assert float(cosine(x, y)) == pytest.approx(0.5e-8, rel=1e-3)
    assert float(cosine(x, -x)) == pytest.approx(2.0)


def test_zero_states_have_a_meaning():
    zero, one = torch.zeros(4), torch.ones(4)
    assert float(cosine(zero, zero)) == float(l2(zero, zero)) == 0.0
    assert float(cosine(zero, one)) == float(cosine(one, zero)) == 1.0
    assert float(l2(one, zero)) == 1.0
    assert l2(zero, one).isnan()


def test_half_precision_states_are_measured_in_single():
    x = torch.randn(100, generator=torch.Generator().manual_seed(2)).bfloat16()
    y = (x.float() * 1.01).bfloat16()
    assert cosine(x, y).dtype == torch.float32
    assert float(l2(x, y)) == pytest.approx(0.01, rel=0.2)


def test_kl_is_never_negative_and_ignores_a_shift_of_logits():
    generator = torch.Generator().manual_seed(3)
    p, q = torch.randn(200, 40, generator=generator), torch.randn(200, 40, generator=generator)
    assert (kl(p, q) >= 0).all() and (kl(p, p + 1e-6 * q) >= 0).all()
    assert torch.allclose(kl(p, q), kl(p + 5, q - 3), atol=1e-4)
    sure, unsure = torch.tensor([50.0, 0.0]), torch.tensor([0.0, 0.0])
    assert float(kl(sure, unsure)) == pytest.approx(1.0)  # one bit


def test_cka_knows_rotations_and_scale():
    x = RNG.normal(size=(20, 6))
    y = x @ RNG.normal(size=(6, 6)) + RNG.normal(size=(20, 6))
    turn = ortho_group.rvs(6, random_state=1)
    assert distance(x, x) == 0.0
    assert distance(x, 3 * x @ turn + 5) == pytest.approx(0, abs=1e-12)
    assert distance(x, y) == pytest.approx(distance(-2 * x @ turn, y + 1), abs=1e-12)
    assert distance(x, y) == pytest.approx(distance(y, x))


def test_cka_is_debiased():
    found = [distance(RNG.normal(size=(12, 300)), RNG.normal(size=(12, 300))) for _ in range(50)]
    assert np.mean(found) == pytest.approx(1.0, abs=0.03)  # the biased one says about 0.05


def test_cka_is_undefined_without_spread_or_prompts():
    x = RNG.normal(size=(8, 5))
    same = np.tile(RNG.normal(size=5) * 100, (8, 1)) * (1 + 1e-15)
    assert np.isnan(distance(x, same)) and np.isnan(distance(same, same))
    assert np.isnan(distance(x[:3], x[:3]))


def test_weighted_hsic_is_the_mean_over_quadruples_of_different_prompts():
    k, l = (np.tril(RNG.normal(size=(6, 6)), -1) for _ in range(2))  # noqa: E741
    k, l, w = k + k.T, l + l.T, RNG.integers(0, 4, size=6).astype(float)  # noqa: E741
    two, three, four = (
        sum(np.prod(w[list(p)]) * f(*p) for p in permutations(range(6), n))
        / sum(np.prod(w[list(p)]) for p in permutations(range(6), n))
        for n, f in (
            (2, lambda i, j: k[i, j] * l[i, j]),
            (3, lambda i, j, q: k[i, j] * l[i, q]),
            (4, lambda i, j, q, r: k[i, j] * l[q, r]),
        )
    )
    assert hsic(k, l, w) == pytest.approx(two - 2 * three + four)
    equal = np.ones(6)
    plain = np.mean(
        [k[i, j] * (l[i, j] - 2 * l[i, q] + l[q, r]) for i, j, q, r in permutations(range(6), 4)]
    )
    assert hsic(k, l, equal) == pytest.approx(plain)


def test_every_metric_names_itself_and_its_source():
    assert {"cosine", "l2", "kl", "cka"} <= set(metrics)
    for name in metrics:
        assert metrics[name].measure.__doc__ and metrics[name].title
    assert "2405.01012" in cka.__doc__
