"""Shams are matched in effect: the outputs of their sites move as far, and spectra are kept."""

import numpy as np
import pytest
import torch
from searched import AND, HARMLESS, planted_pair, searched
from support import planted_models
from test_openers import ids_of

from dapa.core.records import Mask, Site, Unit
from dapa.measure.matching import CLOSE, Match, change_norms, match_of, scales
from dapa.measure.placebos import placebos, sham_view, shams
from dapa.model.families import submodule
from dapa.model.substitution import changed
from dapa.planted.pairs import harmless_prompts
from dapa.workbench.measurements.baselines import comparison_table, own_shams

MASK = Mask.of([Unit(1), Unit(4)])


def inputs_of(models, layer, ids):
    """What a plain, unwrapped student's gate sees, prompt by prompt: (tokens, d)."""
    seen = []
    gate = submodule(models.student, models.family.layers)[layer].mlp.gate_proj
    handle = gate.register_forward_hook(lambda module, args, out: seen.append(args[0][0]))
    with torch.no_grad():
        for prompt in ids:
            models.student(torch.tensor([prompt]))
    handle.remove()
    return torch.cat(seen).double().numpy()


def difference(models, layer):
    ours, theirs = (
        submodule(m, models.family.layers)[layer].mlp.gate_proj.weight.detach().double().numpy()
        for m in (models.student, models.teacher)
    )
    return theirs - ours


def rms(change, x):
    return float(np.sqrt(np.square(x @ change.T).sum(1).mean()))


@pytest.fixture(scope="module")
def prompts():
    return ids_of(planted_pair(), harmless_prompts(4))


def test_the_change_of_activations_is_that_of_plain_matrices(prompts):
    models = planted_models("llama", AND)
    real = changed(planted_pair(), MASK, lambda s, n, own, w: own)
    (found,) = change_norms(planted_pair(), prompts, [real])
    for layer in (1, 4):
        wanted = rms(difference(models, layer), inputs_of(models, layer, prompts))
        assert found[Site(layer, "gate")] == pytest.approx(wanted, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["permuted", "flipped"])
def test_a_sham_keeps_spectrum_norm_and_effect_of_the_difference(name, prompts):
    models, pair = planted_models("llama", AND), planted_pair()
    view = sham_view(pair, MASK, name, 3, prompts)
    for layer in (1, 4):
        site, real = Site(layer, "gate"), difference(models, layer)
        ours = pair.sites[site].student.weight.detach().double().numpy()
        sham = view.modules[site].weight.detach().double().numpy() - ours
        assert np.abs(sham - real).max() > 1e-3
        singular = [np.linalg.svd(d, compute_uv=False) for d in (real, sham)]
        assert singular[0] == pytest.approx(singular[1], abs=1e-5)
        x = inputs_of(models, layer, prompts)
        each = [np.linalg.norm(x @ d.T, axis=1) for d in (real, sham)]
        assert each[0] == pytest.approx(each[1], rel=1e-3, abs=1e-5), "at every token"


def test_another_layers_difference_is_scaled_to_the_same_effect(prompts):
    models, pair = planted_models("llama", AND), planted_pair()
    mask = Mask.of([Unit(1)])
    view = sham_view(pair, mask, "other-layer", 0, prompts)
    site = Site(1, "gate")
    ours = pair.sites[site].student.weight.detach().double().numpy()
    sham = view.modules[site].weight.detach().double().numpy() - ours
    x = inputs_of(models, 1, prompts)
    real, plain = rms(difference(models, 1), x), rms(sham, x)
    assert real > 0 and (plain == pytest.approx(real, rel=CLOSE) or plain < real / 5)


def test_entries_in_another_order_move_activations_far_less():
    """The misleading null: a sham of equal norm in weights, which does next to nothing.

    Inputs have a direction along which they are large, and the difference lies along it, as a
    fine-tune's does; permuting its entries, as the sham once did, spreads it over all directions.
    """
    rng = np.random.default_rng(0)
    d, neurons = 64, 128
    feature = rng.normal(size=d) / np.sqrt(d)
    x = rng.normal(size=(200, d)) * 0.1 + 5 * feature
    real = np.outer(rng.normal(size=neurons), feature)
    entries = rng.permutation(real.ravel()).reshape(real.shape)
    sham = shams["permuted"].make(
        torch.tensor(real), torch.tensor(real), torch.Generator().manual_seed(0)
    ).numpy()  # fmt: skip
    assert np.linalg.norm(entries) == pytest.approx(np.linalg.norm(real))
    assert rms(entries, x) / rms(real, x) < 0.25, "what stood there: a fifth of the effect"
    assert rms(sham, x) / rms(real, x) == pytest.approx(1.0)
    top = [np.linalg.svd(m, compute_uv=False)[0] for m in (real, entries, sham)]
    assert top[1] < 0.4 * top[0] and top[2] == pytest.approx(top[0])


def test_a_bias_goes_to_the_same_neurons_as_its_weight():
    own = torch.arange(12.0).view(6, 2)
    bias = own[:, 0].clone()
    made = [
        shams["permuted"].make(one, one, torch.Generator().manual_seed(5)) for one in (own, bias)
    ]
    assert torch.equal(made[0][:, 0], made[1])


def test_one_row_is_permuted_along_its_columns():
    own = torch.arange(8.0)[None]
    made = shams["permuted"].make(own, own, torch.Generator().manual_seed(0))
    assert not torch.equal(made, own) and torch.equal(made.sort().values, own)


def test_scales_leave_alone_what_cannot_be_matched_and_say_so():
    a, b, c = Site(1, "gate"), Site(2, "gate"), Site(3, "gate")
    told = scales({a: 2.0, b: 1.0, c: 1.0}, {a: 1.0, b: 0.0, c: 0.01})
    assert told == {a: 2.0, b: 1.0, c: 1.0}, "nothing to scale, and more than tenfold"
    match = match_of({a: 2.0, b: 1.0}, {a: 2.0, b: 0.0}, told)
    assert match == Match(0.0, 0.0, 1.0, pytest.approx(2**0.5), 2) and not match.holds
    assert match_of({a: 0.0}, {a: 1.0}, {}) is None
    assert Match(1.0, 0.97, 1.03, 1.0, 3).holds


def test_the_table_shows_how_well_each_sham_is_matched():
    found = placebos(searched(), HARMLESS, draws=1)
    table = comparison_table(own_shams(found))
    assert table.head[1].startswith("change of activations")
    for row, cells in zip(own_shams(found), table.rows, strict=True):
        assert row.match.sites == 2 and cells[1].startswith(f"{row.match.value:.2f}")
        assert row.match.holds or "not matched in effect" in row.note
        assert row.as_dict()["match"]["matched"] is row.match.holds
    named = {row.name: row for row in found.rows}
    assert named["permuted"].match.holds and named["flipped"].match.holds
    assert "other layer" in named["other-layer"].note
    assert named["student"].match is None and named["found"].as_dict()["match"] is None
