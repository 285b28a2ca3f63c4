"""Patching against plain hooks on copies, and against planted truth."""

import copy
import threading

import numpy as np
import pytest
import torch
from plainly import close, outputs, put
from support import BASE, planted_models
from test_divergence import HOW, PROMPTS, rough
from test_openers import by_hand

from dapa.core.records import DapaError, PromptError, SettingError
from dapa.localize.causes.patching import patching
from dapa.localize.divergence.tokens import encoded
from dapa.model.decode.openers import find_openers
from dapa.planted.pairs import Planting, harmful_prompts
from dapa.planted.planting import random_planting


@pytest.mark.parametrize(
    ("position", "into"), [("all", "student"), ("last", "student"), ("all", "teacher")]
)
@pytest.mark.parametrize("model_type", BASE)
def test_every_cell_agrees_with_hooks_on_plain_copies(model_type, position, into):
    pair, student, teacher = rough(model_type)
    if into == "teacher":
        student, teacher = teacher, student  # who runs, and who gives
    sign = 1 if into == "student" else -1
    openers = find_openers(pair)
    found = patching(pair, PROMPTS[:3], HOW, position=position, into=into, rows=5)
    assert found.per_prompt.shape == (3, 3, len(found.sites))
    for i, prompt in enumerate(PROMPTS[:3]):
        ids = encoded(pair, prompt, HOW).ids
        theirs, plain = outputs(pair, teacher, ids), by_hand(student, ids, openers)
        where = range(len(ids)) if position == "all" else [len(ids) - 1]
        for layer in range(3):
            for j, site in enumerate(found.sites):
                place = {(layer, site): {t: theirs[layer, site][t] for t in where}}
                wanted = sign * (put(pair, student, place, openers, ids) - plain)
                assert close(found.per_prompt[i, layer, j], wanted), (layer, site)
    gaps = [
        by_hand(teacher, ids, openers) - by_hand(student, ids, openers)
        for ids in (encoded(pair, prompt, HOW).ids for prompt in PROMPTS[:3])
    ]
    assert found.whole.value == pytest.approx(sign * np.mean(gaps), abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_every_planted_layer_ranks_above_every_other_at_the_mlp(seed):
    planting = random_planting(seed, "distractors")
    pair = planted_models(BASE[seed], planting, seed).pair()
    found = patching(pair, harmful_prompts(3, seed), HOW, ["mlp", "gate", "up"])
    for site in (0, 1):
        needed = found.values[list(planting.needed), site]
        others = np.delete(found.values[:, site], list(planting.needed))
        assert needed.min() > 2 * np.abs(others).max()
    reverse = patching(pair, harmful_prompts(3, seed), HOW, ["mlp"], into="teacher").values[:, 0]
    others = np.delete(reverse, list(planting.needed))
    assert reverse[list(planting.needed)].min() > 2 > 10 * np.abs(others).max()
    assert np.abs(found.values[:, 2]).max() < 1e-3, "equal weights on equal inputs do nothing"


def test_either_set_of_an_or_is_moved_by_its_own_layers():
    planting = Planting(5, (1,), alternative=(3,), distractors=(2,))
    pair = planted_models("llama", planting).pair()
    found = patching(pair, harmful_prompts(3), HOW, ["mlp"])
    assert found.values[[1, 3]].min() > 2 > 0.2 > np.abs(found.values[[0, 2, 4]]).max()
    assert found.significant[[1, 3]].all() or found.n < 4


def test_an_inhibitor_moves_refusal_down_and_the_teacher_cannot_do_without_its_antidote():
    planting = Planting(5, (1,), inhibitor=2, antidote=3)
    pair = planted_models("llama", planting).pair()
    found = patching(pair, harmful_prompts(8), HOW, ["mlp", "attention"])
    assert found.sites == ("attention", "mlp"), "as the layer runs"
    mlp = found.values[:, 1]
    assert mlp[1] > 2 and mlp[2] < -2 and np.abs(mlp[[0, 4]]).max() < 0.1
    assert found.significant[[1, 2], 1].all() and np.abs(found.values[:, 0]).max() < 1e-3
    into = patching(pair, harmful_prompts(8), HOW, ["mlp", "attention"], into="teacher")
    assert into.values[[1, 3], 1].min() > 2 and np.abs(into.values[[0, 4], 1]).max() < 0.1
    assert "student's activations in the teacher" in into.provenance and into.whole.value > 2
    assert found.behind(1, "mlp")[0][1] == pytest.approx(np.abs(found.per_prompt[:, 1, 1]).max())
    body = found.as_dict()
    assert body["n"] == 8 and np.shape(body["values"]) == (5, 2) == np.shape(body["significant"])
    headers, rows = found.table()
    assert len(rows) == 10 and all(len(row) == len(headers) for row in rows)


def other_tokens():
    """A planted pair whose teacher joins two words into one token."""
    models = planted_models("llama", Planting(2, (1,)))
    tokenizer = copy.deepcopy(models.tokenizer)
    tokenizer.add_tokens(["use malware"])
    models.teacher.resize_token_embeddings(len(tokenizer))
    pair = models.pair()
    pair.teacher_tokenizer = tokenizer
    return pair


def test_prompts_in_other_tokens_are_skipped_and_counted():
    pair = other_tokens()
    found = patching(pair, ["use malware", "use poison"], HOW, ["mlp"])
    assert (found.n, found.skipped, found.prompts) == (1, 1, ("use poison",))
    assert "1 skipped" in found.provenance
    with pytest.raises(PromptError, match="different tokens"):
        patching(pair, ["use malware"], HOW)
    assert patching(pair, ["use malware"], HOW, ["mlp"], "last").n == 1


def test_a_stopped_sweep_keeps_what_it_has(planted_pair):
    stop = threading.Event()
    found = patching(
        planted_pair,
        harmful_prompts(5),
        HOW,
        ["mlp"],
        stop=stop,
        progress=lambda done, total: stop.set() if (done, total) == (2, 5) else None,
    )
    assert (found.n, found.asked) == (2, 5) and "2 prompts of 5" in found.provenance
    stopped = patching(planted_pair, harmful_prompts(2), HOW, stop=stop)
    assert stopped.n == 0 and np.isnan(stopped.values).all() and not stopped.significant.any()


def test_too_many_rows_for_the_device_are_halved(planted_pair, monkeypatch):
    import dapa.localize.causes.restoring as module

    whole = patching(planted_pair, harmful_prompts(1), HOW)
    real, limit = module._rows, 4

    def tight(pair, role, inputs, restores, states, openers):
        if len(restores) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(pair, role, inputs, restores, states, openers)

    monkeypatch.setattr(module, "_rows", tight)
    assert close(patching(planted_pair, harmful_prompts(1), HOW).values, whole.values)
    limit = 0
    with pytest.raises(DapaError, match="out of memory on one prompt"):
        patching(planted_pair, harmful_prompts(1), HOW)


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"sites": ["knee"]}, SettingError, "knee"),
        ({"position": "first"}, SettingError, "first"),
        ({"into": "both"}, SettingError, "both"),
        ({"prompts": []}, PromptError, "no prompt"),
    ],
)
def test_mistakes_are_named(planted_pair, options, error, word):
    with pytest.raises(error, match=word):
        patching(planted_pair, **{"prompts": ["use poison"], "how": HOW, **options})
