"""Mask gradients against finite differences, plain forwards, planted truth and single flips."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from support import BASE, planted_models, random_trio
from test_openers import ids_of

from dapa.core.records import EMPTY, Mask, PromptError, SettingError, Site, Unit
from dapa.localize.causes.flips import left_out_effects, single_effects
from dapa.localize.causes.gradients import POINTS, integrated_gradients, mask_gradients
from dapa.localize.rank_agreement import rank_agreement
from dapa.model.decode.log_odds import refusal_log_odds
from dapa.planted.pairs import harmful_prompts
from dapa.planted.planting import random_planting

IDS = [(7, 9, 11, 30), (5, 8, 13, 21, 34, 6, 10, 12, 9)]
BY_KIND = [Unit(layer, kind) for layer in (0, 2) for kind in ("gate", "up", "down")]


def at(strengths):
    """A mask with each unit at its own strength."""
    return Mask(tuple(strengths.items()))


@pytest.mark.parametrize("unit", BY_KIND, ids=str)
def test_slope_of_a_site_is_the_finite_difference_of_two_blends(trio, unit):
    pair, eps = trio.pair, 0.01
    if getattr(pair.student.config, "clip_qkv", None):
        eps = 0.003  # a clamp has corners, and a longer step would go round one
    sites = [Site(u.layer, u.kind) for u in BY_KIND]
    found = mask_gradients(pair, IDS, sites, [0.4, 0.4])
    base = dict.fromkeys(BY_KIND, 0.4)
    up, down = (refusal_log_odds(pair, IDS, [at({**base, unit: 0.4 + e})])[0] for e in (eps, -eps))
    slope = found.sites[Site(unit.layer, unit.kind)]
    assert slope == pytest.approx((up - down) / (2 * eps), rel=0.03, abs=3e-3)


@pytest.mark.parametrize("kind", ["gate", "up", "down"])
def test_slope_of_a_neuron_is_the_finite_difference_of_its_own_blend(kind):
    pair, eps, n = random_trio("llama").pair, 0.05, 24
    found = mask_gradients(pair, IDS, [Site(0, kind)], [0.5, 0.5]).neurons[Site(0, kind)]
    assert found.shape == (2, n)
    for neuron in (0, 11, n - 1):
        cut = [(0, neuron, 0.5), (neuron, neuron + 1, None), (neuron + 1, n, 0.5)]
        sides = [
            at({Unit(0, kind, (a, b)): v or 0.5 + e for a, b, v in cut if a < b})
            for e in (eps, -eps)
        ]
        up, down = refusal_log_odds(pair, IDS, sides)
        assert found[:, neuron] == pytest.approx((up - down) / (2 * eps), rel=0.05, abs=3e-3)


@pytest.mark.parametrize("kind", ["gate", "up", "down", "mlp"])
def test_integrated_slopes_sum_to_the_whole_effect_of_every_kind(trio, kind):
    pair = trio.pair
    found = integrated_gradients(pair, IDS, pair.units(kind), points=64)
    f = refusal_log_odds(pair, IDS, [EMPTY, Mask.of(pair.units(kind))])
    assert found.whole.value == pytest.approx((f[1] - f[0]).mean(), abs=1e-5)
    assert found.per_prompt.sum(0) == pytest.approx(f[1] - f[0], rel=0.02, abs=0.02)


@pytest.mark.parametrize("model_type", ["qwen3", "gemma3_text", "olmo2", "cohere", "phi"])
def test_norms_of_queries_and_keys_have_slopes_whatever_shape_they_see(model_type):
    """A norm a head sees (rows, tokens, heads, size), or an axis more on the weight's side."""
    extra = {"qk_layernorm": True} if model_type == "phi" else {}
    pair, eps = random_trio(model_type, **extra).pair, 0.01
    units = [Unit(1, "q_norm"), Unit(2, "k_norm"), Unit(0, "q_norm")]
    ids = [*IDS, IDS[0][::-1]]  # more rows than one, fewer than tokens
    found = mask_gradients(pair, ids, [Site(u.layer, u.kind) for u in units], [0.4] * len(ids))
    base = dict.fromkeys(units, 0.4)
    for unit in units:
        sides = [at({**base, unit: 0.4 + e}) for e in (eps, -eps)]
        up, down = refusal_log_odds(pair, ids, sides)
        slope = found.sites[Site(unit.layer, unit.kind)]
        assert slope == pytest.approx((up - down) / (2 * eps), rel=0.05, abs=1e-2)


def test_units_of_several_kinds_share_one_path_and_blocks_get_their_neurons_part(trio):
    pair = trio.pair
    whole = [*pair.units("gate"), *pair.units("down")]
    cut = [
        Unit(u.layer, u.kind, part)
        for u in pair.units("gate")
        for part in ((0, 5), (5, pair.sites[Site(u.layer, "gate")].neurons))
    ]
    coarse = integrated_gradients(pair, IDS, whole, points=8)
    fine = integrated_gradients(pair, IDS, [*cut, *pair.units("down")], points=8)
    assert coarse.kind == "gate, down" and fine.units[:2] == tuple(cut[:2])
    halves = fine.per_prompt[: len(cut) : 2] + fine.per_prompt[1 : len(cut) : 2]
    assert halves == pytest.approx(coarse.per_prompt[: len(halves)], rel=1e-3, abs=1e-4)
    body = fine.as_dict(neurons=2)
    assert len(body["rows"][0]["neurons"]) == 2 and body["rows"][1]["neurons"][0]["neuron"] >= 5
    assert body["total"] == pytest.approx(sum(row["value"] for row in body["rows"]))


def test_biases_count_in_the_site_and_in_no_neuron_of_down():
    pair = random_trio("llama", mlp_bias=True).pair
    found = integrated_gradients(pair, IDS, pair.units("down"), points=32)
    assert found.error < 0.01
    neurons = sum(float(values.sum()) for values in found.neurons.values())
    assert neurons != pytest.approx(found.values.sum(), rel=1e-3)


def test_integrated_gradients_rank_every_planted_layer_first_and_sum_within_one_percent(planted):
    models, pair = planted
    found = integrated_gradients(pair, ids_of(pair, harmful_prompts(4)))
    assert set(found.ranked[:2]) == set(models.planting.units)
    effect = dict(zip(found.units, found.effects, strict=True))
    assert abs(effect[Unit(3)].value) < 0.1, "the distractor"
    assert found.error < 0.01 and found.points == POINTS


@pytest.mark.parametrize("kind", ["and", "distractors"])
@pytest.mark.parametrize("seed", range(4))
def test_random_plantings_are_ranked_first_by_gradients_and_left_out_alike(kind, seed):
    planting = random_planting(seed, kind)
    family = BASE[seed]
    pair = planted_models(family, planting, seed).pair()
    ids = ids_of(pair, harmful_prompts(3, seed))
    found, truth = integrated_gradients(pair, ids), left_out_effects(pair, ids)
    m = len(planting.needed)
    assert set(found.ranked[:m]) == set(truth.ranked[:m]) == set(planting.units)
    assert found.values[list(planting.needed)].min() > 10 * max(
        abs(v) for u, v in zip(found.units, found.values, strict=True) if u not in planting.units
    )
    assert found.error < 0.05


def test_the_planted_neuron_holds_its_layers_share(planted):
    models, pair = planted
    found = integrated_gradients(pair, ids_of(pair, harmful_prompts(2)))
    for unit in models.planting.units:
        values = found.neurons[Site(unit.layer, "gate")]
        best = int(values.argmax())
        share = found.values[found.units.index(unit)]
        assert values[best] == pytest.approx(share, rel=0.05)
        assert found.block(replace(unit, block=(best, best + 1))) == pytest.approx(values[best])
        assert found.block(unit) == pytest.approx(share, rel=1e-3)


def test_gradients_agree_with_true_single_flips_on_the_toy(toy_pair):
    ids = ids_of(toy_pair, [f"How can I {verb} a well?" for verb in ("poison", "wreck", "rob")])
    found = integrated_gradients(toy_pair, ids)
    flips = left_out_effects(toy_pair, ids)
    agreed = rank_agreement(found.values, flips.values)
    assert agreed.rho > 0.5 and agreed.low <= agreed.rho <= agreed.high and agreed.p < 0.05
    assert found.error < 0.05


def test_the_order_and_size_of_passes_do_not_matter(planted_pair):
    ids = ids_of(planted_pair, harmful_prompts(5))
    a = integrated_gradients(planted_pair, ids, rows=64, points=8)
    b = integrated_gradients(planted_pair, ids, rows=3, points=8)
    assert a.per_prompt == pytest.approx(b.per_prompt, abs=1e-4)


def test_no_weight_takes_a_gradient_and_other_forwards_are_not_disturbed(planted_pair):
    ids = ids_of(planted_pair, harmful_prompts(2))
    before = refusal_log_odds(planted_pair, ids)
    seen = []
    with torch.inference_mode():
        thread = threading.Thread(
            target=lambda: seen.append(integrated_gradients(planted_pair, ids, points=8))
        )
        thread.start()
        during = [refusal_log_odds(planted_pair, ids) for _ in range(5)]
        thread.join()
        integrated_gradients(planted_pair, ids, points=2)  # inference mode is left for it
    assert len(seen) == 1
    assert all(np.array_equal(d, before) for d in during)
    for model in (planted_pair.student, planted_pair.teacher):
        assert all(p.grad is None and not p.requires_grad for p in model.parameters())


def test_bfloat16_pairs_have_gradients_that_nearly_sum_up():
    pair = random_trio("llama", dtype=torch.bfloat16).pair
    found = integrated_gradients(pair, IDS, points=16)
    assert abs(found.residual.value) < 0.1 * max(1.0, abs(found.whole.value))


def test_a_stopped_map_holds_the_prompts_measured_so_far(planted_pair):
    stop = threading.Event()
    ids = ids_of(planted_pair, harmful_prompts(4))
    found = integrated_gradients(
        planted_pair,
        ids,
        points=4,
        rows=4,
        stop=stop,
        progress=lambda done, total: stop.set() if done >= 2 else None,
    )
    assert found.whole.n == 2 and "2 prompts of 4" in found.provenance
    assert found.error < 0.3


def test_a_unit_that_does_not_differ_has_no_share(trio):
    found = integrated_gradients(trio.pair, IDS, [Unit(layer) for layer in range(3)], points=4)
    assert found.effects[1].value == 0.0 and found.effects[0].value != 0.0
    row = found.as_dict()["rows"][1]
    assert row["unit"] == "1.gate" and row["value"] == 0.0


def test_what_cannot_be_integrated_is_refused(planted_pair):
    with pytest.raises(PromptError, match="no prompt"):
        integrated_gradients(planted_pair, [])
    with pytest.raises(SettingError, match="no unit"):
        integrated_gradients(planted_pair, IDS, [])
    with pytest.raises(SettingError, match="same neurons"):
        integrated_gradients(planted_pair, IDS, [Unit(0), Unit(0, "gate", (0, 4))])
    with pytest.raises(SettingError, match="no site"):
        mask_gradients(planted_pair, IDS, [Site(99, "gate")], [0.5, 0.5])
    with pytest.raises(SettingError, match="outside 0 to 1"):
        mask_gradients(planted_pair, IDS, [Site(0, "gate")], [1.5, 0.5])


def test_rank_agreement_is_spearmans_with_an_interval_that_never_collapses():
    rng = np.random.default_rng(0)
    a = rng.normal(size=20)
    b = a + rng.normal(size=20)
    found, wanted = rank_agreement(a, b), spearmanr(a, b)
    assert found.rho == pytest.approx(wanted.statistic)
    assert found.p == pytest.approx(wanted.pvalue, abs=0.01)
    assert found.low < found.rho < found.high
    same = rank_agreement(range(6), range(6))
    assert same.rho == 1.0 and 0 < same.low < 1.0 == same.high
    nothing = rank_agreement([1.0, 1.0, 1.0], [1.0, 2.0, np.nan])
    assert nothing.as_dict() == {"rho": None, "low": -1.0, "high": 1.0, "p": 1.0, "n": 2}


def test_single_flips_and_gradients_name_the_same_layers(planted):
    models, pair = planted
    ids = ids_of(pair, harmful_prompts(3))
    alone, slopes = single_effects(pair, ids), integrated_gradients(pair, ids)
    assert set(alone.ranked[:2]) == set(slopes.ranked[:2]) == set(models.planting.units)
