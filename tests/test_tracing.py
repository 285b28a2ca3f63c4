"""The causal trace against plain hooks on copies, and against planted truth."""

import threading

import numpy as np
import pytest
import torch
from plainly import close, outputs, put
from support import BASE, planted_models
from test_divergence import HOW, rough
from test_openers import by_hand

from dapa.core.records import Prompt, PromptError, SettingError
from dapa.localize.causes.corruption import embedding_sd, noised, with_noise, with_twins
from dapa.localize.causes.trace import causal_trace, token_trace
from dapa.localize.divergence.tokens import encoded
from dapa.model.decode.openers import find_openers
from dapa.planted.pairs import harmful_prompts, harmless_prompts
from dapa.planted.planting import random_planting
from dapa.prompts.format import PromptFormat


def twins(count, seed=0):
    pairs = zip(harmful_prompts(count, seed), harmless_prompts(count, seed), strict=True)
    return [Prompt(bad, twin=good) for bad, good in pairs]


@pytest.mark.parametrize("model_type", BASE)
def test_every_cell_agrees_with_hooks_on_a_plain_teacher(model_type):
    pair, _, teacher = rough(model_type)
    openers, prompts = find_openers(pair, "teacher"), twins(2, seed=4)
    found = causal_trace(pair, prompts, HOW, window=2, rows=7)
    for i, prompt in enumerate(prompts):
        ids, other = (encoded(pair, text, HOW).ids for text in (prompt.text, prompt.twin))
        changed = [t for t, (a, b) in enumerate(zip(ids, other, strict=True)) if a != b]
        last = len(ids) - 1
        groups = {
            "changed": changed,
            "after": [t for t in range(changed[0], last) if t not in changed],
            "header": [],
            "last": [last],
            "all": range(len(ids)),  # those before the first changed one are the same anyway
        }
        clean, plain = outputs(pair, teacher, ids), by_hand(teacher, other, openers)
        for k, kind in enumerate(found.kinds):
            for layer in range(3):
                for j, group in enumerate(found.groups):
                    value = found.per_prompt[i, k, layer, j]
                    if not groups[group]:
                        assert np.isnan(value)
                        continue
                    places = {
                        (at, kind): {t: clean[at, kind][t] for t in groups[group]}
                        for at in (layer - 1, layer)
                        if at >= 0
                    }
                    wanted = put(pair, teacher, places, openers, other) - plain
                    assert close(value, wanted), (kind, layer, group)


@pytest.mark.parametrize("seed", range(4))
def test_the_layers_above_the_detector_are_the_planted_ones(seed):
    planting = random_planting(seed, "distractors")
    pair = planted_models(BASE[seed], planting, seed).pair()
    found = causal_trace(pair, twins(3, seed), HOW)
    mlp, last = found.values[0], found.groups.index("last")
    for group in (last, found.groups.index("all")):
        needed, others = (
            mlp[list(planting.needed), group],
            np.delete(mlp[:, group], planting.needed),
        )
        assert needed.min() > 10 * np.abs(others).max()
    attention = found.values[1, :, last]
    assert attention[0] == pytest.approx(found.whole.value, rel=1e-3), "the detector"
    assert np.abs(attention[1:]).max() < 0.05
    assert np.nanmax(np.abs(found.values[:, :, :last])) < 0.05, "nothing is read but the last token"


def test_a_window_restores_its_layers_together(planted_pair):
    alone = causal_trace(planted_pair, twins(2), HOW, kinds=["mlp"], groups=["last"])
    wide = causal_trace(planted_pair, twins(2), HOW, window=2, kinds=["mlp"], groups=["last"])
    assert alone.values[0, [1, 2], 0].max() < 1 < 5 < wide.values[0, 2, 0]  # an AND of 1 and 2
    assert "window 2" in wide.provenance


def test_noise_is_scaled_by_the_embeddings_drawn_by_the_seed_and_only_on_the_request(planted_pair):
    pair = planted_pair
    (one,) = with_noise(pair, [Prompt("use malware")], HOW)
    assert one.changed == (1, 2) and one.twin_ids == one.clean.ids  # <user> use malware <assistant>
    table = pair.teacher.get_input_embeddings().weight
    ids = [one.clean.ids[i] for i in one.changed]
    sd = float(table[ids].double().std())
    assert embedding_sd(pair, [one]) == pytest.approx(sd)
    plain = table[list(one.clean.ids)]
    draws = [noised(pair, one, 2 * sd, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    off = draws[0] - plain
    assert not off[[0, 3]].any() and float(off[[1, 2]].std()) == pytest.approx(2 * sd, rel=0.15)


def test_a_noisy_trace_averages_its_draws_and_states_its_sd():
    pair, _, teacher = rough("llama")
    openers, prompt = find_openers(pair, "teacher"), Prompt("use malware")
    found = causal_trace(
        pair, [prompt], HOW, "noise", kinds=["mlp"], groups=["last"], draws=2, multiple=0.5, seed=5
    )
    (one,) = with_noise(pair, [prompt], HOW)
    sd = 0.5 * embedding_sd(pair, [one])
    assert found.sd == pytest.approx(sd) and (found.draws, found.multiple) == (2, 0.5)
    assert f"sd {sd:.3g} (0.5 x the embeddings')" in found.provenance
    generator, ids = torch.Generator().manual_seed(5), one.clean.ids
    clean = outputs(pair, teacher, ids)
    values = []
    for _ in range(2):
        embedded = noised(pair, one, sd, generator)
        hook = teacher.get_input_embeddings().register_forward_hook(
            lambda module, args, out, embedded=embedded: torch.cat(
                [embedded[None], out[:, len(embedded) :]], 1
            )  # what is read behind the prompt is embedded as it is
        )
        try:
            place = {(1, "mlp"): {3: clean[1, "mlp"][3]}}
            restored = put(pair, teacher, place, openers, ids)
            values.append(restored - by_hand(teacher, ids, openers))
        finally:
            hook.remove()
    assert close(found.per_prompt[0, 0, 1, 0], np.mean(values))


def test_prompts_without_an_equal_length_twin_are_skipped_and_counted(planted_pair):
    prompts = [
        Prompt("use malware", twin="use software"),
        Prompt("use malware", twin="use software now"),
        Prompt("use malware"),
        Prompt("use malware", twin="use malware"),
    ]
    found = causal_trace(planted_pair, prompts, HOW)
    assert (found.n, found.skipped, found.asked) == (1, 3, 4)
    assert "3 without an equal-length twin skipped" in found.provenance
    with pytest.raises(PromptError, match="none of 1 prompts has a harmless twin"):
        causal_trace(planted_pair, prompts[1:2], HOW)


def test_a_twin_is_looked_for_among_harmless_prompts_that_differ_in_little(planted_pair):
    pool = ["hide chairs in one day", "show me how to build bread", "use chairs", "use bread"]
    prompts = [Prompt("use malware"), Prompt("please find poison"), Prompt("get poison in one day")]
    near, none, far = with_twins(planted_pair, prompts, HOW, pool)
    assert near.twin == "use chairs" and near.changed == (2,)
    assert none is None
    assert far.twin == "hide chairs in one day" and far.changed == (1, 2)


def test_groups_are_told_apart_where_the_header_has_several_tokens(planted_pair):
    how = PromptFormat("prefill")
    (one,) = with_twins(planted_pair, [Prompt("use malware now", twin="use software now")], how)
    ids = one.clean.ids
    groups = [one.positions(g) for g in ("changed", "after", "header", "last", "all")]
    assert groups[0] == (2,) and groups[1] == (3,) and groups[3] == (len(ids) - 1,)
    assert groups[2] == tuple(range(4, len(ids) - 1)) and groups[4] == tuple(range(2, len(ids)))
    (raw,) = with_twins(
        planted_pair, [Prompt("use malware", twin="use software")], PromptFormat("raw")
    )
    assert raw.positions("last") == (1,) == raw.changed and raw.positions("after") == ()


def test_refusal_is_read_behind_the_blanks_that_a_reply_opens_with(planted_pair, monkeypatch):
    import dapa.localize.causes.trace as module

    (one,) = with_twins(planted_pair, twins(1), HOW)
    longer = one.behind((7, 8))
    assert longer.clean.ids == (*one.clean.ids, 7, 8) and longer.twin_ids == (*one.twin_ids, 7, 8)
    assert longer.positions("last") == (len(one.clean.ids) + 1,)
    assert longer.positions("header") == (len(one.clean.ids) - 1, len(one.clean.ids))
    plain = causal_trace(planted_pair, twins(1), HOW)
    monkeypatch.setattr(module, "blanks", lambda pair, role, ids: (30,))
    assert not close(causal_trace(planted_pair, twins(1), HOW).clean.value, plain.clean.value)


def test_along_one_prompt_the_tokens_sum_up_the_picture(planted_pair):
    prompt = Prompt("use malware now", twin="use software now")
    along = token_trace(planted_pair, prompt, HOW)
    assert along.tokens == ("<user>", " use", " malware → software", " now", "<assistant>")
    over = causal_trace(planted_pair, [prompt], HOW)
    assert close(along.values[:, :, -1], over.values[:, :, over.groups.index("last")])
    assert close(along.values[:, :, 2], over.values[:, :, over.groups.index("changed")])
    assert not along.values[:, :, :2].any() and along.whole == pytest.approx(over.whole.value)
    assert "software" in along.provenance and np.shape(along.as_dict()["values"]) == (2, 4, 5)
    headers, rows = along.table()
    assert len(rows) == 40 and all(len(row) == len(headers) for row in rows)
    with pytest.raises(PromptError, match="no harmless twin"):
        token_trace(planted_pair, Prompt("use malware"), HOW)
    assert token_trace(planted_pair, Prompt("use malware"), HOW, "noise").twin == ""


def test_a_stopped_trace_keeps_what_it_has_and_its_json_has_no_nan(planted_pair):
    stop = threading.Event()
    found = causal_trace(planted_pair, twins(4), HOW, stop=stop, progress=lambda *_: stop.set())
    assert found.n == 1 and "stopped at 1 of 4" in found.provenance
    body = found.as_dict()
    assert body["values"][0][0][2] is None and body["p"][0][0][0] is None
    headers, rows = found.table()
    assert len(rows) == 40 and all(len(row) == len(headers) for row in rows)
    assert found.behind("mlp", 1, "last") == [(found.prompts[0], found.per_prompt[0, 0, 1, 3])]
    assert found.behind("mlp", 1, "header") == []


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"corruption": "magic"}, SettingError, "magic"),
        ({"window": 0}, SettingError, "window of 0"),
        ({"window": 9}, SettingError, "1 to 4"),
        ({"kinds": ["gate"]}, SettingError, "gate"),
        ({"groups": ["first"]}, SettingError, "first"),
        ({"draws": 0}, SettingError, "0 draws"),
        ({"multiple": -1.0}, SettingError, "-1"),
        ({"prompts": []}, PromptError, "no prompt"),
    ],
)
def test_mistakes_are_named(planted_pair, options, error, word):
    with pytest.raises(error, match=word):
        causal_trace(planted_pair, **{"prompts": twins(1), "how": HOW, **options})
