"""Derived places, attention sinks, dominant dimensions, significance and memory of divergence."""

import copy

import numpy as np
import pytest
import torch
from live import LiveBytes
from support import BASE, planted_models
from test_divergence import HOW, PROMPTS, capture, debiased, modules, rough, states

import dapa.localize.divergence.tally as tally
from dapa.core.records import Mask, PromptError, SettingError, Unit
from dapa.localize.divergence.divergence import divergence, token_map
from dapa.localize.divergence.maps import FEW
from dapa.localize.divergence.recording import (
    DERIVED,
    activation,
    find_sinks,
    map_sites,
    usual_sites,
)
from dapa.localize.divergence.significance import adjusted, bootstrap_p
from dapa.localize.divergence.tokens import batch, encoded
from dapa.planted.pairs import Planting, harmful_prompts, harmless_prompts
from dapa.prompts.format import PromptFormat


def inside(model_type, reading, prompt):
    """(layer, derived place) -> (student's states, teacher's states) of plain copies."""
    pair, student, teacher = rough(model_type)
    ids = encoded(pair, prompt, HOW).ids
    found = {}
    with torch.no_grad():
        ours, theirs = (capture(pair, model, ids)[0] for model in (student, teacher))
        parts = modules(pair, teacher)
        for layer in range(3):
            act = activation(pair, "student", layer)
            x = ours[layer, "mlp"][0][0]
            mine = [states(ours[layer, kind][2]) for kind in ("gate", "up")]
            if reading == "local":
                other = [parts[layer, kind](x) for kind in ("gate", "up")]
            else:
                other = [states(theirs[layer, kind][2]) for kind in ("gate", "up")]
            found[layer, "gate_act"] = tuple(act(g)[0] for g, _ in (mine, other))
            found[layer, "neurons"] = tuple((act(g) * u)[0] for g, u in (mine, other))
    return found


@pytest.mark.parametrize("reading", ["local", "total"])
@pytest.mark.parametrize("model_type", BASE)
def test_places_behind_the_activation_agree_with_plain_copies(model_type, reading):
    pair, *_ = rough(model_type)
    sites = ["gate", *DERIVED]
    found = divergence(pair, PROMPTS[:4], HOW, "l2", reading, sites=sites, batch_size=3)
    assert found.sites == ("gate", "gate_act", "neurons")
    for i, prompt in enumerate(PROMPTS[:4]):
        for (layer, site), (a, b) in inside(model_type, reading, prompt).items():
            a, b = a[-1].double().numpy(), b[-1].double().numpy()
            wanted = np.linalg.norm(b - a) / np.linalg.norm(a)
            value = found.per_prompt[i, layer, found.sites.index(site)]
            assert value == pytest.approx(wanted, rel=1e-3, abs=1e-6), (layer, site)


def test_places_behind_the_activation_are_equal_where_weights_are_and_follow_the_mask():
    models = planted_models("llama", Planting(4, (1,)))
    pair = models.pair()
    layers = models.student.model.layers
    found = divergence(pair, harmful_prompts(4), HOW, sites=["up", "neurons"])
    assert (found.values[:, 0] == 0).all() and (found.values[:, 1] > 0).all() and len(layers) == 4
    mask = Mask.of([Unit(1), Unit(2)])
    moved = divergence(pair, harmful_prompts(4), HOW, sites=["neurons", "gate_act"], mask=mask)
    assert [bool(row.any()) for row in moved.values] == [True, False, False, True]


def test_only_what_is_asked_for_is_on_the_map():
    pair, *_ = rough("llama")
    assert divergence(pair, PROMPTS, HOW).sites == usual_sites(pair)
    assert set(map_sites(pair)) - set(usual_sites(pair)) >= set(DERIVED)
    with pytest.raises(SettingError, match="choose from residual, .*gate_act"):
        divergence(pair, PROMPTS, HOW, sites=["knee"])


# -- sinks -------------------------------------------------------------------------------------


def with_a_sink(word="malware", times=40.0):
    """A planted pair in which one word carries a massive state."""
    models = planted_models("llama", Planting(3, (1,)))
    token = models.tokenizer.get_vocab()["▁" + word]
    for model in (models.student, models.teacher):
        model.get_input_embeddings().weight.data[token, -1] = 12.0 * times
    return models.pair()


def test_sinks_are_the_first_token_and_those_that_stick_out_with_ragged_padding():
    pair = with_a_sink()
    texts = ["use malware", "find bread now at home", "get malware in one day"]
    tokens = batch([encoded(pair, text, HOW) for text in texts], "all", pair.device)
    out = find_sinks(pair, "student", tokens, None)
    told = [
        [int(i) for i in row.nonzero().flatten() - int((here == 0).sum())]
        for row, here in zip(out, tokens.attention, strict=True)
    ]
    assert told == [[0, 2], [0], [0, 2]]
    (alone,) = find_sinks(pair, "student", batch([encoded(pair, "use", PromptFormat("raw"))],
                                                 "all", pair.device), None)  # fmt: skip
    assert not alone.any(), "a prompt of one token keeps it"


@pytest.mark.parametrize("metric", ["l2", "cka"])
@pytest.mark.parametrize("reading", ["local", "total"])
def test_sinks_are_left_out_of_the_mean_over_tokens_unless_asked_for(metric, reading):
    pair = with_a_sink()
    prompts = [
        "use malware now",
        "find malware at home",
        "get poison",
        "hide malware",
        "use poison",
    ]
    each = [token_map(pair, p, HOW, "l2", reading, sites=["gate"]) for p in prompts]
    assert [m.sinks for m in each] == [(0, 2), (0, 2), (0,), (0, 2), (0,)]
    options = {"metric": metric, "reading": reading, "position": "all", "sites": ["gate"]}
    found = divergence(pair, prompts, HOW, **options, batch_size=2)
    counted = sum(len(m.tokens) for m in each)
    assert found.sinks == (8, counted) and f"8 sinks of {counted} tokens" in found.provenance
    whole = divergence(pair, prompts, HOW, **options, sink=True)
    assert whole.sinks is None and not np.allclose(whole.values, found.values)
    assert divergence(pair, prompts, HOW, sites=["gate"]).sinks is None
    if metric == "l2":
        for i, one in enumerate(each):
            kept = [t for t in range(len(one.tokens)) if t not in one.sinks]
            wanted = one.values[:, 0, kept].mean(axis=1)
            assert found.per_prompt[i, :, 0] == pytest.approx(wanted, rel=1e-3, abs=1e-6)


# -- dominant dimensions -------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", BASE)
@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_the_share_of_a_few_dimensions_agrees_with_numpy(model_type, metric):
    pair, *_ = rough(model_type)
    found = divergence(pair, PROMPTS, HOW, metric, batch_size=3, sites=["gate_act", "neurons"])
    for (layer, site), _ in inside(model_type, "local", PROMPTS[0]).items():
        shares = []
        for prompt in PROMPTS:
            a, b = (
                x[-1].double().numpy() for x in inside(model_type, "local", prompt)[layer, site]
            )
            if metric == "cosine":
                a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
            parts = np.sort((b - a) ** 2)
            shares.append(parts[-FEW:].sum() / parts.sum() if parts.any() else np.nan)
        value = found.share[layer, found.sites.index(site)]
        wanted = np.nan if np.isnan(shares).all() else np.nanmean(shares)
        assert value == pytest.approx(wanted, rel=1e-3, nan_ok=True)


def test_a_rogue_dimension_is_told():
    pair = with_a_sink()
    plain = divergence(pair, ["use poison", "find bread"], HOW, "l2", position=2, sites=["gate"])
    assert plain.share.max() < 0.9
    models = planted_models("llama", Planting(3, (1,)))
    models.teacher.model.layers[0].mlp.gate_proj.weight.data[5] *= 1000
    loud = divergence(models.pair(), ["use poison", "find bread"], HOW, "l2", sites=["gate"])
    assert loud.share[0, 0] > 0.99 > loud.share[1, 0]
    lens = divergence(pair, ["use poison"], HOW, "kl")
    assert np.isnan(lens.share).all() and lens.as_dict()["share"][0][0] is None


def test_of_a_pooled_metric_the_share_is_that_of_the_states_spread():
    pair, *_ = rough("llama")
    found = divergence(pair, PROMPTS, HOW, "cka", sites=["neurons"])
    sides = [inside("llama", "local", prompt)[1, "neurons"] for prompt in PROMPTS]
    x, y = (np.stack([side[k][-1].double().numpy() for side in sides]) for k in (0, 1))
    spread = np.sort(x.var(0) + y.var(0))
    assert found.share[1, 0] == pytest.approx(spread[-FEW:].sum() / spread.sum(), rel=1e-3)
    assert found.values[1, 0] == pytest.approx(debiased(x, y), abs=2e-4)


# -- significance --------------------------------------------------------------------------------


def test_a_contrast_of_means_is_tested_by_the_bootstrap_and_adjusted_over_cells():
    pair, *_ = rough("llama")
    bad, good = harmful_prompts(8), harmless_prompts(8)
    apart = divergence(pair, bad, HOW, harmless=good, seed=3)
    twins = divergence(pair, bad, HOW, harmless=good, twins=True, seed=3)
    other = divergence(pair, good, HOW).per_prompt
    assert np.array_equal(apart.contrast.p, bootstrap_p(apart.per_prompt, other, 3), equal_nan=True)
    paired = bootstrap_p(twins.per_prompt - other, seed=3)
    assert np.array_equal(twins.contrast.p, paired, equal_nan=True)
    assert np.array_equal(twins.contrast.q, adjusted(paired), equal_nan=True)
    assert np.array_equal(twins.contrast.significant, adjusted(paired) <= 0.05)


def test_only_what_harm_moves_is_told_from_zero():
    pair = planted_models("llama", Planting(4, (1, 2), distractors=(3,))).pair()
    found = divergence(
        pair, harmful_prompts(12), HOW, "l2", harmless=harmless_prompts(12), twins=True,
        sites=["gate", "up"],
    )  # fmt: skip
    assert found.contrast.significant[:, 0].all(), "every gate reads the flag"
    assert not found.contrast.significant[:, 1].any(), "equal weights are never apart"
    body = found.as_dict(contrast=True)
    assert body["significant"][1] == [True, False] and body["p"][0][1] == 1.0
    headers, rows = found.table(contrast=True)
    assert len(rows) == 8 and all(len(row) == len(headers) for row in rows)
    headers, rows = found.prompt_table("gate")
    assert len(rows) == 12 * 4 and rows[0][3] == pytest.approx(found.per_prompt[0, 0, 0])


def test_a_pooled_contrast_has_p_values_too():
    pair, *_ = rough("llama")
    bad, good = harmful_prompts(12), harmless_prompts(12)
    p = divergence(pair, bad, HOW, "cka", harmless=good).contrast.p
    same = divergence(pair, bad, HOW, "cka", harmless=bad, twins=True).contrast
    assert ((p >= 0) & (p <= 1)).all() and (same.p == 1).all() and not same.significant.any()


# -- tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", ["local", "total"])
def test_a_prompt_in_other_tokens_has_no_token_map(reading):
    models = planted_models("llama", Planting(2, (1,)))
    other = copy.deepcopy(models.tokenizer)
    other.add_tokens(["use malware"])
    models.teacher.resize_token_embeddings(len(other))
    pair = models.pair()
    pair.teacher_tokenizer = other
    with pytest.raises(PromptError, match="different tokens .from token 1 on, 4 against 3"):
        token_map(pair, "use malware", HOW, reading=reading)
    found = token_map(pair, "use poison", HOW, reading=reading)
    assert found.sinks == (0,) and "4 tokens" in found.provenance
    headers, rows = found.table()
    assert len(rows) == 2 * 6 * 4 and all(len(row) == len(headers) for row in rows)


# -- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "options"),
    [("cosine", {"position": "all", "reading": "total"}), ("cka", {})],
)
def test_five_hundred_prompts_take_no_more_memory_than_fifty(metric, options, monkeypatch):
    monkeypatch.setattr(tally, "_RESAMPLES", 20)  # they cost time, and memory of the host alone
    pair, *_ = rough("llama")
    peaks = []
    for count in (50, 500):
        with LiveBytes() as live:
            found = divergence(pair, harmful_prompts(count), HOW, metric, **options)
        assert found.n == count
        peaks.append(live.peak)
    assert peaks[0] > 10_000 and peaks[1] <= 1.2 * peaks[0]
