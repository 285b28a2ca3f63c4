"""Divergence against an independent computation: plain copies, one prompt at a time, scipy."""

import copy
from functools import cache

import numpy as np
import pytest
import torch
from scipy.spatial import distance
from scipy.special import log_softmax, rel_entr
from support import BASE

from dapa.core.records import Mask, Unit
from dapa.localize.divergence import tally
from dapa.localize.divergence.divergence import divergence, token_map
from dapa.localize.divergence.metrics import metrics
from dapa.localize.divergence.recording import sites_of_pair
from dapa.localize.divergence.tokens import encoded
from dapa.model.families import submodule
from dapa.planted.pairs import Planting, harmful_prompts, plant
from dapa.prompts.format import PromptFormat

torch.set_num_threads(1)
HOW = PromptFormat()
PROMPTS = ["use malware", *harmful_prompts(5, seed=3), "how do I get poison step by step at home"]
EQUAL = 2  # the layer whose gates are equal


@cache
def rough(model_type):
    """A pair with random weights everywhere, and unwrapped copies of both models."""
    models = plant(Planting(3, (1,)), model_type)
    generator = torch.Generator().manual_seed(5)
    for ours, theirs in zip(models.student.parameters(), models.teacher.parameters(), strict=True):
        noise = torch.randn(ours.shape, generator=generator)
        change = torch.randn(ours.shape, generator=generator)
        size = 0.1 if ours.ndim == 1 else 0.15
        ours.copy_((ours if ours.ndim == 1 else 0) + size * noise)
        theirs.copy_(ours + 0.5 * size * change)
    family = models.family
    gates = [
        submodule(submodule(m, family.layers)[EQUAL], family.site_path("gate")).weight
        for m in (models.student, models.teacher)
    ]
    gates[1].copy_(gates[0])
    copies = copy.deepcopy(models.student), copy.deepcopy(models.teacher)
    return models.pair(), *copies


def modules(pair, model):
    """(layer, site) -> module of an unwrapped model."""
    found = {}
    for layer, block in enumerate(submodule(model, pair.family.layers)):
        found[layer, "residual"] = block
        found[layer, "attention"] = submodule(block, pair.family.attention)
        found[layer, "mlp"] = submodule(block, pair.family.mlp)
        for kind, path in pair.family.sites:
            if kind not in ("q_norm", "k_norm"):  # a map has no place for what heads have
                found[layer, kind] = submodule(block, path)
    return found


def capture(pair, model, ids):
    """(layer, site) -> (args, kwargs, output) of a plain pass over one unpadded prompt."""
    seen, handles = {}, []
    for key, part in modules(pair, model).items():

        def look(_, args, kwargs, output, key=key):
            seen[key] = (args, kwargs, output)

        handles.append(part.register_forward_hook(look, with_kwargs=True))
    try:
        out = model(torch.tensor([ids]), use_cache=False, output_hidden_states=True)
    finally:
        for handle in handles:
            handle.remove()
    for layer in range(pair.n_layers - 1):  # the last one is normed in transformers' list
        assert torch.equal(states(seen[layer, "residual"][2]), out.hidden_states[layer + 1])
    return seen, out.logits[0]


def states(output):
    return output[0] if isinstance(output, tuple) else output


@cache
def reference(model_type, reading):
    """Per prompt: (layer, site) -> (student's states, teacher's states), (tokens, d) each."""
    pair, student, teacher = rough(model_type)
    found = []
    with torch.no_grad():
        for prompt in PROMPTS:
            ids = encoded(pair, prompt, HOW).ids
            ours, _ = capture(pair, student, ids)
            theirs, _ = capture(pair, teacher, ids)
            row = {}
            for key, part in modules(pair, teacher).items():
                args, kwargs, output = ours[key]
                other = part(*args, **kwargs) if reading == "local" else theirs[key][2]
                row[key] = tuple(states(x)[0].double().numpy() for x in (output, other))
            found.append(row)
    return found


def lens(pair, model, h):
    normed = submodule(model, pair.family.norm)(torch.tensor(h, dtype=torch.float32))
    return log_softmax(model.get_output_embeddings()(normed).double().numpy(), axis=-1)


def one(model_type, reading, metric, a, b):
    """The metric of two states by scipy and numpy."""
    pair, student, teacher = rough(model_type)
    if metric == "cosine":
        return distance.cosine(a, b)
    if metric == "l2":
        return np.linalg.norm(b - a) / np.linalg.norm(a)
    p = lens(pair, student, a)
    q = lens(pair, teacher if reading == "total" else student, b)
    return rel_entr(np.exp(p), np.exp(q)).sum() / np.log(2)


def song(x, y):
    """Unbiased HSIC in closed form (Song et al. 2012, eq. 5)."""
    k, l = (g - np.diag(np.diag(g)) for g in (x @ x.T, y @ y.T))  # noqa: E741
    n = len(x)
    return (
        np.trace(k @ l)
        + k.sum() * l.sum() / ((n - 1) * (n - 2))
        - 2 / (n - 2) * (k.sum(0) @ l.sum(0))
    ) / (n * (n - 3))


def debiased(x, y):
    return 1 - song(x, y) / np.sqrt(song(x, x) * song(y, y))


@pytest.mark.parametrize("metric", ["cosine", "l2", "kl"])
@pytest.mark.parametrize("reading", ["local", "total"])
@pytest.mark.parametrize("model_type", BASE)
def test_last_token_agrees_with_unpadded_copies(model_type, reading, metric):
    pair, *_ = rough(model_type)
    every = sites_of_pair(pair)
    found = divergence(pair, PROMPTS, HOW, metric, reading, batch_size=3, sites=every)
    assert found.per_prompt.shape == (len(PROMPTS), 3, len(every))
    for i, row in enumerate(reference(model_type, reading)):
        for (layer, site), (ours, theirs) in row.items():
            value = found.per_prompt[i, layer, found.sites.index(site)]
            if metric == "kl" and site != "residual":
                assert np.isnan(value)
                continue
            wanted = one(model_type, reading, metric, ours[-1], theirs[-1])
            assert value == pytest.approx(wanted, rel=1e-3, abs=2e-6), (layer, site)


@pytest.mark.parametrize("reading", ["local", "total"])
@pytest.mark.parametrize("model_type", BASE)
def test_all_tokens_are_averaged_without_the_first(model_type, reading):
    pair, *_ = rough(model_type)
    every = sites_of_pair(pair)
    found = divergence(pair, PROMPTS, HOW, "l2", reading, "all", batch_size=4, sites=every)
    for i, row in enumerate(reference(model_type, reading)):
        for (layer, site), (a, b) in row.items():
            each = np.linalg.norm(b - a, axis=1) / np.linalg.norm(a, axis=1)
            value = found.per_prompt[i, layer, found.sites.index(site)]
            assert value == pytest.approx(each[1:].mean(), rel=1e-3, abs=1e-6), (layer, site)


@pytest.mark.parametrize("reading", ["local", "total"])
@pytest.mark.parametrize("model_type", [*BASE, "cohere"])
def test_cka_agrees_with_the_closed_form_over_prompts(model_type, reading):
    pair, *_ = rough(model_type)
    found = divergence(pair, PROMPTS, HOW, "cka", reading, batch_size=3, sites=sites_of_pair(pair))
    rows = reference(model_type, reading)
    for key in rows[0]:
        x, y = (np.stack([row[key][side][-1] for row in rows]) for side in (0, 1))
        value = found.values[key[0], found.sites.index(key[1])]
        if np.ptp(x, axis=0).max() < 1e-9:  # the last token alone, before any attention
            continue
        assert value == pytest.approx(debiased(x, y), abs=2e-4), key
    told = ~np.isnan(found.values)
    beside = int(model_type == "cohere")  # there layer 0's MLP reads the last token alone
    assert (found.low[told] <= found.high[told]).all() and told[beside:, :6].all()
    assert told[0, :2].all() and (told[0, :6].all() or beside)


def test_kl_of_the_total_reading_ends_in_the_models_own_predictions():
    pair, student, teacher = rough("llama")
    found = divergence(pair, PROMPTS, HOW, "kl", "total")
    for i, prompt in enumerate(PROMPTS):
        ids = torch.tensor([encoded(pair, prompt, HOW).ids])
        with torch.no_grad():
            p, q = (m(ids).logits[0, -1].double().log_softmax(-1) for m in (student, teacher))
        wanted = float((p.exp() * (p - q)).sum() / np.log(2))
        assert found.per_prompt[i, -1, 0] == pytest.approx(wanted, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("metric", [name for name in metrics if not metrics[name].lens])
@pytest.mark.parametrize("position", ["last", "all"])
def test_local_divergence_is_zero_exactly_where_gates_are_equal(metric, position):
    pair, *_ = rough("llama")
    gate = divergence(pair, PROMPTS, HOW, metric, "local", position, batch_size=3, sites=["gate"])
    assert gate.sites == ("gate",)
    assert [layer for layer in gate.layers if gate.values[layer, 0] == 0.0] == [EQUAL]


@pytest.mark.parametrize("model_type", BASE)
def test_equal_layers_of_a_planted_pair_are_zero_in_the_local_gate_map(model_type):
    models = plant(Planting(4, (1,)), model_type)
    layers = [submodule(m, models.family.layers) for m in (models.student, models.teacher)]
    for layer in (0, 3):
        ours, theirs = (submodule(x[layer], models.family.site_path("gate")) for x in layers)
        theirs.weight.copy_(ours.weight)
    pair = models.pair()
    found = divergence(pair, harmful_prompts(4), HOW, sites=["gate", "up", "down"])
    assert [i for i, value in enumerate(found.values[:, 0]) if value == 0.0] == [0, 3]
    assert (found.values[:, 1:] == 0.0).all()


def test_a_transplanted_gate_is_no_distance_away():
    pair, *_ = rough("llama")
    found = divergence(pair, PROMPTS, HOW, mask=Mask.of([Unit(1)]))
    plain = divergence(pair, PROMPTS, HOW)
    gate = found.sites.index("gate")
    assert found.values[1, gate] == 0.0 < plain.values[1, gate]
    assert np.array_equal(found.values[0], plain.values[0])


def test_settings_do_not_leak_and_batches_do_not_matter():
    pair, *_ = rough("gemma")
    before = divergence(pair, PROMPTS, HOW, batch_size=1)
    divergence(pair, PROMPTS, HOW, mask=Mask.of(Unit(i) for i in range(3)))
    after = divergence(pair, PROMPTS, HOW, batch_size=len(PROMPTS))
    assert np.allclose(before.per_prompt, after.per_prompt, rtol=1e-3, atol=1e-6)


def test_positions_are_found_in_ragged_prompts():
    pair, *_ = rough("llama")
    rows = reference("llama", "local")
    header = len(encoded(pair, PROMPTS[0], HOW).ids) - encoded(pair, PROMPTS[0], HOW).instruction
    assert header == 2  # the instruction's last word stands right before <assistant>
    for position, index in (("instruction", -2), (1, 1), ("-3", -3)):
        found = divergence(pair, PROMPTS, HOW, position=position, batch_size=3)
        for i, row in enumerate(rows):
            ours, theirs = row[1, "gate"]
            wanted = distance.cosine(ours[index], theirs[index])
            assert found.per_prompt[i, 1, 3] == pytest.approx(wanted, rel=1e-3)
    raw = divergence(pair, PROMPTS, PromptFormat("raw"), position="instruction")
    last = divergence(pair, PROMPTS, PromptFormat("raw"), position="last")
    assert np.array_equal(raw.per_prompt, last.per_prompt)


def test_the_instruction_ends_before_header_and_prefill():
    pair, *_ = rough("llama")
    plain, filled = (encoded(pair, "use malware", PromptFormat(m)) for m in ("template", "prefill"))
    assert filled.instruction == plain.instruction
    assert len(filled.ids) > len(plain.ids)


def test_token_map_holds_every_token_with_its_text():
    pair, *_ = rough("llama")
    found = token_map(pair, PROMPTS[0], HOW, sites=sites_of_pair(pair))
    assert found.tokens == ("<user>", " use", " malware", "<assistant>")
    for (layer, site), (ours, theirs) in reference("llama", "local")[0].items():
        wanted = [distance.cosine(a, b) for a, b in zip(ours, theirs, strict=True)]
        row = found.values[layer, found.sites.index(site)]
        assert row == pytest.approx(np.array(wanted), rel=1e-3, abs=2e-6)
    lensed = token_map(pair, PROMPTS[0], HOW, "kl", "total")
    assert np.isfinite(lensed.values[:, 0]).all() and np.isnan(lensed.values[:, 1:]).all()


def test_cka_over_blocks_adds_their_estimates(monkeypatch):
    monkeypatch.setattr(tally, "_BLOCK", 5)
    pair, *_ = rough("llama")
    prompts = harmful_prompts(10)
    found = divergence(pair, prompts, HOW, "cka", batch_size=3)
    states = []
    with torch.no_grad():
        for prompt in prompts:
            seen, _ = capture(pair, rough("llama")[1], encoded(pair, prompt, HOW).ids)
            args, _, ours = seen[1, "gate"]
            theirs = modules(pair, rough("llama")[2])[1, "gate"](*args)
            states.append((ours[0, -1].double().numpy(), theirs[0, -1].double().numpy()))
    x, y = (np.stack(side) for side in zip(*states, strict=True))
    drawn = np.random.default_rng((0, 10)).permutation(10)  # which prompts share a block
    sums = [sum(song(a[s], b[s]) for s in (drawn[:5], drawn[5:])) for a, b in
            ((x, y), (x, x), (y, y))]  # fmt: skip
    wanted = 1 - sums[0] / np.sqrt(sums[1] * sums[2])
    assert found.values[1, found.sites.index("gate")] == pytest.approx(wanted, abs=2e-4)
    assert found.per_prompt.shape[0] == found.n == 10
