"""A sweep's behaviour: stopping, memory, contrasts, JSON, and the user's mistakes."""

import copy
import threading

import numpy as np
import pytest
import torch
from scipy import stats
from test_divergence import EQUAL, HOW, PROMPTS, rough

import dapa.localize.divergence.sweep as module
from dapa.core.records import EMPTY, DapaError, Mask, PromptError, SettingError, Unit
from dapa.localize.divergence.divergence import divergence, token_map
from dapa.localize.divergence.recording import sites_of_pair
from dapa.planted.pairs import Planting, harmful_prompts, harmless_prompts, plant


def test_different_tokens_are_refused_where_tokens_are_compared():
    models = plant(Planting(2, (1,)))
    other = copy.deepcopy(models.tokenizer)
    other.add_tokens(["use malware"])
    models.teacher.resize_token_embeddings(len(other))
    pair = models.pair()
    pair.teacher_tokenizer = other
    for call in (
        lambda: token_map(pair, "use malware", HOW, reading="total"),
        lambda: divergence(pair, ["use malware"], HOW, reading="total", position="all"),
    ):
        with pytest.raises(PromptError, match="different tokens"):
            call()
    assert divergence(pair, ["use malware"], HOW, position="all").n == 1


def test_a_stopped_sweep_keeps_what_it_has_of_both_sets():
    pair, *_ = rough("llama")
    stop, seen = threading.Event(), []

    def progress(done, total):
        seen.append((done, total))
        if done >= 4:
            stop.set()

    bad, good = harmful_prompts(6), harmless_prompts(6)
    found = divergence(
        pair, bad, HOW, harmless=good, batch_size=2, progress=progress, stop=stop, twins=True
    )
    assert seen == [(2, 12), (4, 12)]
    assert (found.n, found.asked) == (2, 6)
    shortest = sorted(sorted(range(4), key=lambda i: len(bad[i].split()))[:2])
    assert found.prompts == tuple(bad[i] for i in shortest), "of the first two batches' prompts"
    for text, values in zip(found.prompts, found.per_prompt, strict=True):
        alone = divergence(pair, [text], HOW).per_prompt[0]
        assert np.allclose(values, alone, atol=1e-6, equal_nan=True)
    assert (found.contrast.n, found.contrast.n_harmless) == (2, 2)
    assert np.isfinite(found.values).all()
    nothing = divergence(pair, bad, HOW, "cka", harmless=good, stop=stop)
    assert nothing.n == 0 and np.isnan(nothing.values).all() and np.isnan(nothing.low).all()


def test_intervals_and_contrasts_agree_with_scipy():
    pair, *_ = rough("llama")
    bad, good = harmful_prompts(6), harmless_prompts(6)
    a = divergence(pair, bad, HOW, harmless=good)
    paired = divergence(pair, bad, HOW, harmless=good, twins=True)
    b = divergence(pair, good, HOW)
    x, y = a.per_prompt, b.per_prompt
    mean = stats.ttest_1samp(x, 0).confidence_interval(0.95)
    welch = stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.95)
    twin = stats.ttest_rel(x, y).confidence_interval(0.95)
    for found, wanted in ((a, mean), (a.contrast, welch), (paired.contrast, twin)):
        good_cells = np.isfinite(wanted.low)
        assert good_cells.any()
        assert np.allclose(found.low[good_cells], wanted.low[good_cells], atol=1e-9)
        assert np.allclose(found.high[good_cells], wanted.high[good_cells], atol=1e-9)
    assert np.allclose(a.contrast.values, x.mean(0) - y.mean(0))
    gate = a.sites.index("gate")
    assert a.contrast.low[EQUAL, gate] == a.contrast.high[EQUAL, gate] == 0.0


def test_cka_draws_twins_together():
    pair, *_ = rough("llama")
    twin = divergence(pair, PROMPTS, HOW, "cka", harmless=PROMPTS, twins=True).contrast
    apart = divergence(pair, PROMPTS, HOW, "cka", harmless=PROMPTS).contrast
    assert not twin.values.any() and not twin.low.any() and not twin.high.any()
    assert not apart.values.any()
    assert (apart.low <= 0).all() and (apart.high >= 0).all() and apart.high.max() > 0


def test_json_has_exactly_the_agreed_keys_and_null_where_undefined():
    pair, *_ = rough("llama")
    found = divergence(pair, PROMPTS, HOW, "kl", harmless=PROMPTS)
    plain = found.as_dict()
    agreed = ["metric", "reading", "sites", "layers", "values", "low", "high", "n"]
    assert list(plain) == [*agreed, "share"]
    assert plain["sites"] == ["residual", "attention", "mlp", "gate", "up", "down"]
    assert plain["layers"] == [0, 1, 2] and plain["n"] == len(PROMPTS)
    for key in ("values", "low", "high"):
        assert [len(row) for row in plain[key]] == [6, 6, 6]
        assert all(row[0] is not None and row[1:] == [None] * 5 for row in plain[key])
    minus = found.as_dict(contrast=True)
    assert list(minus) == [*agreed, "share", "p", "q", "significant"]
    assert minus["values"][0][0] == 0.0 and minus["significant"] == [[False] * 6] * 3
    assert "7 prompts" in found.provenance and "minus 7 harmless" in found.provenance


def test_prompts_behind_a_cell_come_furthest_first():
    pair, *_ = rough("llama")
    found = divergence(pair, PROMPTS, HOW)
    behind = found.behind(1, "gate")
    values = [value for _, value in behind]
    assert values == sorted(values, reverse=True)
    assert sorted(prompt for prompt, _ in behind) == sorted(PROMPTS)


def test_a_batch_too_large_for_the_device_is_halved(monkeypatch):
    pair, *_ = rough("llama")
    whole = divergence(pair, PROMPTS, HOW, "cka")
    real, sizes = module.compare_local, []

    def tight(pair, tokens, plan, sites, see):
        sizes.append(len(tokens.ids))
        real(pair, tokens, plan, sites, see)  # memory may run out after some cells were seen
        if len(tokens.ids) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "compare_local", tight)
    limit = 2
    halved = divergence(pair, PROMPTS, HOW, "cka")
    assert sizes[0] == len(PROMPTS) and sum(n for n in sizes if n <= 2) == len(PROMPTS)
    assert halved.prompts == whole.prompts
    assert np.allclose(whole.values, halved.values, atol=1e-4)
    limit = 0
    with pytest.raises(DapaError, match="out of memory on one prompt"):
        divergence(pair, PROMPTS, HOW)


def test_total_reading_of_all_tokens_waits_in_small_batches(monkeypatch):
    pair, *_ = rough("llama")
    whole = divergence(pair, PROMPTS, HOW, reading="total", position="all")
    monkeypatch.setattr(module, "_MOST_WAITING", 1)
    small = divergence(pair, PROMPTS, HOW, reading="total", position="all")
    assert np.allclose(whole.per_prompt, small.per_prompt, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"metric": "euclid"}, SettingError, "choose one of cosine"),
        ({"reading": "both"}, SettingError, "local or total"),
        ({"position": "first"}, SettingError, "token's index"),
        ({"position": True}, SettingError, "token's index"),
        ({"position": 99}, PromptError, "token 99 does not exist"),
        ({"sites": ["gates"]}, SettingError, "'gates' is not a site"),
        ({"batch_size": 0}, SettingError, "batch size 0"),
        ({"mask": Mask.of([Unit(9)])}, SettingError, "layer 9"),
        ({"prompts": []}, PromptError, "no prompt"),
        ({"prompts": ["use poison", " "]}, PromptError, "empty"),
        ({"harmless": ["x"], "twins": True}, SettingError, "do not pair up"),
    ],
)
def test_mistakes_are_named_before_anything_runs(options, error, words):
    pair, *_ = rough("llama")
    options = {"prompts": PROMPTS, "how": HOW, **options}
    with pytest.raises(error, match=words):
        divergence(pair, **options)


def test_one_token_has_no_cka():
    pair, *_ = rough("llama")
    with pytest.raises(SettingError, match="choose cosine, l2"):
        token_map(pair, "use poison", HOW, "cka")
    assert sites_of_pair(pair)[0] == "residual"
    assert divergence(pair, PROMPTS, HOW, mask=EMPTY).mask == ""
